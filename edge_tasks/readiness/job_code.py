"""A training job's code, before it is sent: what it imports and opens, against what will be there.

All is read, nothing is run. Modules that the script reaches are looked at: what else lies in the folder, such as a
script that prepares data, runs elsewhere.
"""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from edge_tasks.domain import images
from edge_tasks.domain.imports import imported_modules
from edge_tasks.readiness import distributions
from edge_tasks.readiness.complaints import Complaint
from edge_tasks.readiness.own_parts import own_parts
from edge_tasks.readiness.syntax import called, nodes

_READERS = {"data_path", "data_uri", "open_data"}

# What pandas reads with a package of which it says so only when it is called, and which packages do.
_PANDAS = frozenset({"pd", "pandas"})
_ENGINES = {
    "read_parquet": ("pyarrow", "fastparquet"),
    "read_feather": ("pyarrow",),
    "read_orc": ("pyarrow",),
    "read_excel": ("openpyxl", "xlrd", "python-calamine", "odfpy", "pyxlsb"),
    "read_hdf": ("tables",),
}

# What is asked for of a package that is not installed here: pyarrow 25 takes NumPy 2, and Google's images for
# scikit-learn hold NumPy 1.26.
_FITTING = {"pyarrow": "pyarrow<25"}

# Folders that an image has as well, or a job; `gcs` is where Vertex AI mounts the buckets.
_OF_EVERY_MACHINE = frozenset(
    {"bin", "dev", "etc", "gcs", "lib", "lib64", "opt", "proc", "run", "sbin", "sys", "tmp", "usr", "var"}
)
# What lies at the root itself, such as /home or /data, may be a word of an address.
_LEVELS = 2


@dataclass(frozen=True)
class JobCode:
    """What is known of a job before it is sent.

    `files` are the contents of the model's folder that travel, by their path relative to it; `folder` is how messages
    call that folder; `requirements` is all that pip installs there, `data` what the train stage depends on.
    """

    folder: str
    script: str
    files: Mapping[str, bytes]
    requirements: Sequence[str]
    image: str
    data: Sequence[str]


def complaints(job: JobCode) -> list[Complaint]:
    """Return what would fail in the job. An image of which nothing is known is taken to hold all."""
    python = images.python_of(job.image)
    sources = dict(_reached(job))
    found: list[Complaint] = []
    if python is not None:
        held = images.held_for_training(job.image) | distributions.brought_by(job.requirements)
        for path, source in sources.items():
            found += _imports(job, path, source, held, python)
            found += _engines(job, path, source, held)
        found += _pythons(job, python)
    found += _contradictions(job)
    found += _own_parts(job, sources.get(job.script, ""))
    for path, source in sources.items():
        found += _data(job, path, source)
        if python is not None:
            found += _of_this_machine(job, path, source)
    return found


def _reached(job: JobCode) -> Iterator[tuple[str, str]]:
    """Yield path and source of the modules that the script imports, and of the script."""
    todo, done = [job.script], set()
    while todo:
        path = todo.pop()
        if path in done or path not in job.files:
            continue
        done.add(path)
        source = job.files[path].decode("utf-8", "replace")
        yield path, source
        for module in imported_modules(source):
            todo += _paths(job, module.name)


def _paths(job: JobCode, module: str) -> list[str]:
    """Return the files of the model's folder that importing `module` runs, or may run."""
    parts = module.split(".")
    top = [path for path in job.files if path == f"{parts[0]}.py"]
    return top or [path for path in job.files if path.startswith(f"{parts[0]}/") and path.endswith(".py")]


def _imports(job: JobCode, path: str, source: str, held: set[str], python: tuple[int, int]) -> Iterator[Complaint]:
    seen = set()
    for module in imported_modules(source):
        top = module.name.partition(".")[0]
        if module.optional or top in seen or top == "edge_tasks" or _paths(job, top):
            continue
        seen.add(top)
        where = f"{job.folder}/{path}:{module.line}"
        if distributions.is_of_python(top, python):
            continue
        came = distributions.since(top)
        if came:
            yield Complaint(
                where, f"imports `{top}`, which Python has since {came}", f"the image {job.image} has {_shown(python)}"
            )
        elif not any(package in held for package in distributions.packages_of(top)):
            yield Complaint(
                where,
                f"imports `{top}`, which nothing installs there",
                f"add `{distributions.suggestion(top)}` to requirements.txt",
            )


def _engines(job: JobCode, path: str, source: str, held: set[str]) -> Iterator[Complaint]:
    """Complain of files that pandas reads with a package that it does not require, and that no line imports."""
    for node in nodes(source):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in _PANDAS):
            continue
        packages = _ENGINES.get(node.attr, ())
        if packages and not held & set(packages):
            yield Complaint(
                f"{job.folder}/{path}:{node.lineno}",
                f"calls `{node.value.id}.{node.attr}`, which takes `{packages[0]}`, and nothing installs that there",
                f"add `{_suggestion(packages[0])}` to requirements.txt",
            )


def _suggestion(package: str) -> str:
    return distributions.suggestion(package) if distributions.installed(package) else _FITTING.get(package, package)


def _pythons(job: JobCode, python: tuple[int, int]) -> Iterator[Complaint]:
    """Complain of a package that is pinned to what is installed here, and does not take the image's Python."""
    for text in job.requirements:
        requirement = distributions.parsed(text)
        if requirement is None or (
            requirement.marker and not requirement.marker.evaluate({"extra": "", **_as(python)})
        ):
            continue
        version = distributions.installed(requirement.name)
        takes = distributions.python_of(requirement.name)
        pinned = {spec.version for spec in requirement.specifier if spec.operator == "=="}
        if version is None or version not in pinned or not takes:
            continue
        try:
            fits = SpecifierSet(takes).contains(f"{_shown(python)}.99")
        except InvalidSpecifier:
            continue
        if not fits:
            yield Complaint(
                "requirements.txt",
                f"asks for {requirement.name}=={version}, which takes Python {takes}",
                f"the image {job.image} has {_shown(python)}; choose another version, or another image",
            )


def _contradictions(job: JobCode) -> Iterator[Complaint]:
    """Complain of a package that is asked for in two versions."""
    pins: dict[str, tuple[str, str]] = {}
    for text in job.requirements:
        requirement = distributions.parsed(text)
        if requirement is None or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        name = canonicalize_name(requirement.name)
        pinned = [spec.version for spec in requirement.specifier if spec.operator == "==" and "*" not in spec.version]
        for version in pinned:
            if name in pins and not requirement.specifier.contains(pins[name][0], prereleases=True):
                yield Complaint(
                    "requirements.txt and edge.yaml", f"ask for `{pins[name][1]}` and for `{text}`", "keep one of them"
                )
            pins.setdefault(name, (version, text))


def _own_parts(job: JobCode, source: str) -> Iterator[Complaint]:
    """Complain of what the trained model would need of the script, after the training, where it is loaded."""
    features = f"{job.folder}/features.py"
    for part in own_parts(source):
        where = f"{job.folder}/{job.script}:{part.line}"
        if part.name:
            yield Complaint(
                where,
                f"makes `{part.name}` a part of the model, and {job.script} is not imported where the model serves",
                f"move it to a module next to {job.script}, such as {features}, and import it in {job.script}",
            )
        else:
            yield Complaint(
                where,
                "makes a lambda a part of the model, and no lambda can be saved with it",
                f"write it as a function of a module next to {job.script}, such as {features}",
            )


def _data(job: JobCode, path: str, source: str) -> Iterator[Complaint]:
    """Complain of data that is opened by its name, and is not among what travels."""
    for node in nodes(source):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        first = node.args[0]
        if called(node) not in _READERS or not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
            continue
        wanted = PurePosixPath(first.value)
        if not {str(wanted), *map(str, wanted.parents)} & set(job.data):
            up = "/".join([".."] * len(PurePosixPath(job.folder).parts))
            yield Complaint(
                f"{job.folder}/{path}:{node.lineno}",
                f"opens `{wanted}`, which does not travel with the job",
                f"add `- {up}/{wanted}` to `deps` of the stage `train` in {job.folder}/dvc.yaml",
            )


def _of_this_machine(job: JobCode, path: str, source: str) -> Iterator[Complaint]:
    """Complain of a file or folder of this machine by its whole path: a job on this machine would find it."""
    for node in nodes(source):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_of_this_machine(node.value):
            yield Complaint(
                f"{job.folder}/{path}:{node.lineno}",
                f"names `{node.value}` of this machine, which does not travel with the job",
                "put it into data/, run `dvc add`, name it in `deps` of the stage `train`, open it with `data_path`",
            )


def _is_of_this_machine(text: str) -> bool:
    if not text.startswith(("/", "~/")) or "\n" in text or text.strip("/").partition("/")[0] in _OF_EVERY_MACHINE:
        return False
    try:
        place = Path(text).expanduser()
        return len(place.parts) > _LEVELS and not place.is_relative_to(tempfile.gettempdir()) and place.exists()
    except (OSError, ValueError, RuntimeError):  # too long, not a path, nobody's home
        return False


def read_files(folder: Path, paths: Sequence[Path]) -> dict[str, bytes]:
    """Return the contents of `paths`, by their path relative to `folder`."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.suffix == ".py"}


def _as(python: tuple[int, int]) -> dict[str, str]:
    return {"python_version": _shown(python), "python_full_version": f"{_shown(python)}.0"}


def _shown(python: tuple[int, int]) -> str:
    return f"{python[0]}.{python[1]}"
