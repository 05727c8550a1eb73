"""Python packages of a job: put into its own folder, never installed.

Vertex AI runs `pip install` in a container that is thrown away. Here the environment belongs to the user, so
archives are unpacked next to the job (built first, when they must be), and what they require is compared with what is
installed.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import tarfile
import tempfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from edge_tasks.emulator.runtime import source_builds

# Files of a source distribution that are not code of its packages.
NOT_PACKAGES = frozenset({"build", "dist", "docs", "tests", "test", "examples"})
NOT_MODULES = frozenset({"setup.py", "conftest.py", "noxfile.py"})
# What every job finds without being installed here: see job_support.
PROVIDED = {"cloudml-hypertune": "0.1.0.dev6"}


class PackageError(Exception):
    """An archive cannot be used, or a requirement is not met."""


class Distribution(NamedTuple):
    """What an archive says about itself."""

    name: str
    version: str
    requirements: tuple[str, ...]


def unpack(archive: Path, site: Path) -> Distribution:
    """Unpack a wheel or a source distribution into `site`, ready to be imported from there."""
    site.mkdir(parents=True, exist_ok=True)
    try:
        if archive.name.endswith(".whl"):
            return _unpack_wheel(archive, site)
        if archive.name.endswith((".tar.gz", ".tgz", ".tar", ".tar.bz2", ".zip")):
            with tempfile.TemporaryDirectory(dir=site.parent) as folder:
                return _unpack_source(archive, Path(folder), site)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, UnicodeDecodeError) as error:
        raise PackageError(f"The package {archive.name} cannot be unpacked: {error}") from error
    raise PackageError(f"The package {archive.name} is neither a source distribution (.tar.gz) nor a wheel (.whl).")


def check(requirements: tuple[str, ...], wanted_by: str, site: Path) -> None:
    """Compare requirements with what is installed here or unpacked in `site`; name what does not fit."""
    unmet = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise PackageError(f"{wanted_by} asks for {text!r}, which is not a requirement: {error}") from None
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        unmet += _unmet(requirement, site, frozenset())
    if unmet:
        names = ", ".join(
            f"{r.name}{r.specifier} ({'not installed' if found is None else f'installed: {found}'})"
            for r, found in unmet
        )
        command = " ".join(dict.fromkeys(f"'{r.name}{r.specifier}'" for r, _ in unmet))
        raise PackageError(
            f"{wanted_by} requires {names}. The emulator runs jobs in its own Python environment and installs"
            f" nothing there. Install it yourself with: pip install {command}"
        )


def _unmet(requirement: Requirement, site: Path, seen: frozenset[str]) -> list[tuple[Requirement, str | None]]:
    """Return what does not fit, and the version that is there: the requirement itself, or what its extras ask for."""
    there = _installed(requirement.name, site)
    found = there.version if there is not None else PROVIDED.get(canonicalize_name(requirement.name))
    if found is None or not requirement.specifier.contains(found, prereleases=True):
        return [(requirement, found)]
    if there is None or str(requirement) in seen:
        return []
    unmet = []
    for wanted in map(Requirement, there.requires or ()):
        marker = wanted.marker
        if marker is None or marker.evaluate({"extra": ""}):
            continue
        if any(marker.evaluate({"extra": extra}) for extra in requirement.extras):
            unmet += _unmet(wanted, site, seen | {str(requirement)})
    return unmet


def _installed(name: str, site: Path) -> importlib.metadata.Distribution | None:
    """Return the distribution of a name in `site`, or else in this environment."""
    wanted = canonicalize_name(name)
    for found in importlib.metadata.distributions(path=[str(site)]):
        if canonicalize_name(found.metadata["Name"] or "") == wanted:
            return found
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _unpack_wheel(archive: Path, site: Path) -> Distribution:
    with zipfile.ZipFile(archive) as wheel:
        for member in wheel.infolist():
            path = PurePosixPath(member.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
                raise PackageError(f"The package {archive.name} would write outside its folder: {member.filename}")
        wheel.extractall(site)  # noqa: S202  (members were checked)
        metadata = next(n for n in [*wheel.namelist(), ""] if n.endswith(".dist-info/METADATA") or not n)
    if not metadata:
        raise PackageError(f"The package {archive.name} is not a wheel: it has no METADATA.")
    data = site / metadata.replace(".dist-info/METADATA", ".data")
    for part in ("purelib", "platlib"):
        if (data / part).is_dir():
            shutil.copytree(data / part, site, dirs_exist_ok=True)
    return _read_metadata((site / metadata).read_text(encoding="utf-8"), None)


def _unpack_source(archive: Path, folder: Path, site: Path) -> Distribution:
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as source:
            # ZipFile drops `..` and leading slashes by itself.
            source.extractall(folder)  # noqa: S202  (see above)
    else:
        if not hasattr(tarfile, "data_filter"):
            raise PackageError("This Python cannot unpack archives safely: update to 3.10.12, 3.11.4 or newer.")
        with tarfile.open(archive) as source:
            source.extractall(folder, filter="data")
    tops = [path for path in folder.iterdir() if path.is_dir()]
    top = tops[0] if len(tops) == 1 and not any(path.is_file() for path in folder.iterdir()) else folder
    if source_builds.is_needed(top):
        return _build(archive, folder, site)
    code = top / "src" if _holds_code(top / "src") else _package_folder(top)
    for path in sorted(code.iterdir()):
        if path.is_dir() and _is_package(path):
            shutil.copytree(path, site / path.name, dirs_exist_ok=True)
        elif path.suffix == ".py" and path.name not in NOT_MODULES:
            shutil.copy2(path, site)
    info = top / "PKG-INFO"
    eggs = [*top.glob("*.egg-info"), *top.glob("*/*.egg-info")]
    distribution = _read_metadata(info.read_text(encoding="utf-8") if info.is_file() else "", archive)
    egg_requires = eggs[0] / "requires.txt" if eggs else None
    if not distribution.requirements and egg_requires is not None and egg_requires.is_file():
        distribution = distribution._replace(requirements=_read_egg_requires(egg_requires.read_text(encoding="utf-8")))
    # So that importlib.metadata finds the package in the job as it would once installed.
    dist_info = site / f"{distribution.name.replace('-', '_')}-{distribution.version}.dist-info"
    dist_info.mkdir(exist_ok=True)
    (dist_info / "METADATA").write_text(
        info.read_text(encoding="utf-8")
        if info.is_file()
        else f"Metadata-Version: 2.1\nName: {distribution.name}\nVersion: {distribution.version}\n",
        encoding="utf-8",
    )
    for egg in eggs:
        if (egg / "entry_points.txt").is_file():
            shutil.copy2(egg / "entry_points.txt", dist_info)
    return distribution


def _build(archive: Path, folder: Path, site: Path) -> Distribution:
    built = folder / "built"
    try:
        source_builds.build(archive, built)
    except source_builds.BuildError as error:
        raise PackageError(f"The package {archive.name} cannot be installed: {error}") from error
    metadata = next(built.glob("*.dist-info/METADATA")).read_text(encoding="utf-8")
    # Next to what other archives have brought: they may share a namespace.
    shutil.copytree(built, site, dirs_exist_ok=True)
    return _read_metadata(metadata, archive)


def _package_folder(top: Path) -> Path:
    """Return where the packages lie: setup's `package_dir` is read from the names that setuptools notes."""
    for note in sorted(top.glob("*.egg-info/top_level.txt")) + sorted(top.glob("*/*.egg-info/top_level.txt")):
        for name in note.read_text(encoding="utf-8").split():
            if not (top / name).is_dir() and not (top / f"{name}.py").is_file():
                found = [*top.rglob(f"{name}/__init__.py"), *top.rglob(f"{name}.py")]
                if found:
                    first = min(found, key=lambda path: len(path.parts))
                    return first.parent.parent if first.name == "__init__.py" else first.parent
    return top


def _holds_code(folder: Path) -> bool:
    if not folder.is_dir() or (folder / "__init__.py").is_file():
        return False
    return any(_is_package(path) or path.suffix == ".py" for path in folder.iterdir())


def _is_package(path: Path) -> bool:
    if not path.is_dir() or not path.name.isidentifier() or path.name in NOT_PACKAGES:
        return False
    return (path / "__init__.py").is_file() or any(path.rglob("*.py"))


def _read_metadata(text: str, archive: Path | None) -> Distribution:
    headers = HeaderParser().parsestr(text)
    name, version = headers.get("Name"), headers.get("Version")
    if not name and archive is not None:
        stem = re.sub(r"\.(tar\.gz|tgz|tar|tar\.bz2|zip)$", "", archive.name)
        name, _, guessed = stem.rpartition("-")
        version = version or guessed
    return Distribution(name or "package", version or "0", tuple(headers.get_all("Requires-Dist") or ()))


def _read_egg_requires(text: str) -> tuple[str, ...]:
    """Read requires.txt: sections `[extra:marker]`; those of extras are left out."""
    found, marker, skip = [], "", False
    for line in (line.strip() for line in text.splitlines()):
        section = re.fullmatch(r"\[([^:\]]*):?([^\]]*)\]", line)
        if section:
            skip, marker = bool(section.group(1)), section.group(2)
        elif line and not skip:
            found.append(f"{line} ; {marker}" if marker else line)
    return tuple(found)
