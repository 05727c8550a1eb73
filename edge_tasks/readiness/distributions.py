"""Which packages bring which modules: by what is installed here, and by what is known of the others."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement

from edge_tasks.serving.distributions import by_module

# Modules whose package has another name, for packages that are not installed here.
_KNOWN = {
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# Modules that came with a version of Python: https://docs.python.org/3/whatsnew/
_NEW_MODULES = {"tomllib": (3, 11), "annotationlib": (3, 14), "compression": (3, 14)}


def plain(name: str) -> str:
    """Return a package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def packages_of(module: str) -> list[str]:
    """Return the packages that bring the top-level module; a guess when none of them is installed here."""
    found = [plain(name) for name in by_module().get(module, ())]
    return list(dict.fromkeys(found)) or [plain(_KNOWN.get(module, module))]


def is_installed(module: str) -> bool:
    """Say whether a package that is installed here brings the top-level module."""
    return module in by_module()


def is_of_python(module: str, version: tuple[int, int]) -> bool:
    """Say whether the module belongs to Python itself, in that version."""
    return module in sys.stdlib_module_names and _NEW_MODULES.get(module, (3, 0)) <= version


def since(module: str) -> str | None:
    """Return the version of Python that a module came with, when that is a recent one."""
    version = _NEW_MODULES.get(module)
    return f"{version[0]}.{version[1]}" if version else None


def installed(name: str) -> str | None:
    """Return the version of a package that is installed here, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def suggestion(module: str) -> str:
    """Return the requirement to add for a module: its package, in the version that is installed here."""
    name = packages_of(module)[0]
    version = installed(name)
    return f"{name}=={version.partition('+')[0]}" if version else name


def brought_by(requirements: Iterable[str]) -> set[str]:
    """Return the packages that come with `requirements`: they, and what they require, as far as is known here."""
    found: set[str] = set()
    todo = list(requirements)
    while todo:
        requirement = parsed(todo.pop())
        if requirement is None or not _applies(requirement):
            continue
        key = f"{plain(requirement.name)}[{','.join(sorted(requirement.extras))}]"
        if key in found:
            continue
        found |= {key, plain(requirement.name)}
        try:
            needed = metadata.requires(requirement.name) or []
        except metadata.PackageNotFoundError:
            continue
        for text in needed:
            other = parsed(text)
            extras = requirement.extras or {""}
            if other and (other.marker is None or any(other.marker.evaluate({"extra": extra}) for extra in extras)):
                other.marker = None
                todo.append(str(other))
    return found


def parsed(text: str) -> Requirement | None:
    """Return a requirement; None for a line that is not one."""
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def python_of(name: str) -> str | None:
    """Return which versions of Python the package that is installed here takes; None when that is not known."""
    try:
        return dict(metadata.metadata(name).json).get("requires_python") or None  # type: ignore[return-value]
    except metadata.PackageNotFoundError:
        return None
