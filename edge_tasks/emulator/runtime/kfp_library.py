"""Where a Python component of a pipeline finds kfp, whose executor runs its function.

Google's images install it with pip when a task begins. Here it is the one that is installed next to the emulator; else
uv fetches it alone, without what it requires: kfp's executor needs nothing but itself.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from edge_tasks.emulator.runtime.environments import Environments, MakeError
from edge_tasks.emulator.runtime.image_contents import OWN_PYTHON, Contents


class Library(NamedTuple):
    """A folder from which kfp can be imported; `notice` says how it is another one than was asked for."""

    folder: Path
    notice: str = ""


class KfpLibrary:
    """Finds kfp, in the version that a component asks for where possible."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments
        self._found: dict[str, Library] = {}

    def find(self, requirement: str) -> Library:
        """Return kfp for a requirement such as `kfp==2.17.3`; MakeError says how to get it. This may take a while."""
        if requirement not in self._found:
            self._found[requirement] = self._find(requirement)
        return self._found[requirement]

    def _find(self, requirement: str) -> Library:
        installed = _installed()
        if installed is not None and Requirement(requirement).specifier.contains(installed[1], prereleases=True):
            return Library(installed[0])
        try:
            made = self._environments.ensure(Contents(OWN_PYTHON, (), (requirement,), ("--no-deps",)))
            return Library(next((made.folder / "lib").glob("python*/site-packages")))
        except MakeError as error:
            if installed is not None:
                notice = f"The component asks for {requirement}; kfp {installed[1]}, which is installed here, runs it."
                return Library(installed[0], notice)
            raise MakeError(
                f"The component's function is run by {requirement}, which is not installed here and cannot be fetched:"
                f" {error}\nInstall it next to the emulator: pip install {requirement}"
            ) from error


def _installed() -> tuple[Path, str] | None:
    """Return the folder and the version of the kfp that this environment has."""
    try:
        spec = importlib.util.find_spec("kfp")
        version = importlib.metadata.version("kfp")
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parents[1], version
