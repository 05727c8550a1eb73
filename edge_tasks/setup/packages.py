"""Whether the packages that a repository asks for are those that this Python has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

_OWN = "vertex-edge"


def complaints(root: Path) -> list[str]:
    """Return a sentence for each package of requirements.txt, and of this package's own needs, that does not suit."""
    wanted = [*_file(root / "requirements.txt"), *_needs_of(_OWN)]
    return list(dict.fromkeys(sentence for requirement in wanted if (sentence := _complaint(requirement))))


def _complaint(requirement: Requirement) -> str | None:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    # A package that was installed from an address has the version it has.
    if requirement.url or requirement.specifier.contains(version, prereleases=True):
        return None
    users = ", ".join(_who_wants_less(requirement, version))
    return f"{requirement.name} is {version}, not {requirement.specifier}{f' ({users} needs that)' if users else ''}"


def _who_wants_less(requirement: Requirement, version: str) -> Iterator[str]:
    """Yield the installed packages that allow the version which is there and none that is wanted."""
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        for need in _parsed(distribution.requires or ()):
            if _plain(need.name) == _plain(requirement.name) and need.specifier and _plain(name) != _OWN:
                bounds = [spec for spec in need.specifier if spec.operator in ("<", "<=", "==", "~=")]
                lowest = [spec.version for spec in requirement.specifier if spec.operator in (">=", "==", "~=")]
                if bounds and lowest and not need.specifier.contains(lowest[0], prereleases=True):
                    yield f"{name}, installed too,"


def _file(path: Path) -> Iterable[Requirement]:
    if not path.is_file():
        return []
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in path.read_text(encoding="utf-8").splitlines())
    return list(_parsed(line for line in lines if line and not line.startswith("-")))


def _needs_of(distribution: str) -> Iterable[Requirement]:
    try:
        return list(_parsed(metadata.requires(distribution) or ()))
    except metadata.PackageNotFoundError:
        return []  # it runs from a folder that is on the path


def _parsed(lines: Iterable[str]) -> Iterator[Requirement]:
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue  # a job's package names the line
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
