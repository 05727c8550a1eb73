"""What vertex:edge and a repository need, compared with what is installed, which another package may have changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from edge_tasks.repo.requirements_txt import requirement_lines

_OURS = "vertex-edge"


@dataclass(frozen=True)
class Unfulfilled:
    """A package that is installed in a version which vertex:edge cannot use, and the packages that want it so."""

    package: str
    installed: str
    needed: str
    wanted_by: tuple[str, ...]


def unfulfilled() -> list[Unfulfilled]:
    """Return what of vertex:edge's requirements is installed in another version than it needs, or not at all."""
    try:
        return _unfulfilled(metadata.requires(_OURS) or ())
    except metadata.PackageNotFoundError:
        return []  # it runs from a folder that is on the path


def unfulfilled_of(file: Path) -> list[Unfulfilled]:
    """Return what of a requirements.txt is installed in another version, or not at all; none without the file."""
    # A package that is required by its address has the version it has.
    return _unfulfilled(line for _, line in requirement_lines(file) if "://" not in line)


def _unfulfilled(lines: Iterable[str]) -> list[Unfulfilled]:
    found = []
    for needed in _requirements(lines):
        installed = _version(needed.name)
        if installed is None or not needed.specifier.contains(installed, prereleases=True):
            wanted_by = tuple(_wanting(needed)) if installed else ()
            found.append(Unfulfilled(needed.name, installed or "not", str(needed.specifier), wanted_by))
    return found


def _wanting(needed: Requirement) -> Iterator[str]:
    """Yield the packages that cannot live with the oldest version which is needed."""
    oldest = next((one.version for one in needed.specifier if one.operator == ">="), None)
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        for wish in _requirements(distribution.requires or ()):
            same = canonicalize_name(wish.name) == canonicalize_name(needed.name)
            if same and name != _OURS and oldest and not wish.specifier.contains(oldest, prereleases=True):
                yield f"{name} {distribution.version}"


def _requirements(texts: Iterable[str]) -> Iterator[Requirement]:
    """Yield those that hold here, without those of extras."""
    for text in texts:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
