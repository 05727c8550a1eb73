# ruff: noqa: SLF001  (the SDK has no public way to do this)
"""Loaded by every Python with this folder on its PYTHONPATH: points an unmodified SDK at the emulator.

That is every Python of a job, and of a shell that took `edge local.env`; the pytest plugin loads it by its path. It
stands alone: a job has an `edge_tasks` of its own, which need not be this one.

No environment variable sets the SDK's API endpoint. Values that are preset on its global configuration
survive a later `aiplatform.init(project=..., location=...)`, so they are set as soon as the module is loaded.
The project is preset too: the SDK would otherwise ask Resource Manager at Google about CLOUD_ML_PROJECT_ID.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

INITIALIZER = "google.cloud.aiplatform.initializer"
ADDRESS = "VERTEX_EMULATOR_URL"


def preset(config: Any) -> None:
    """Fill in the SDK's global configuration from the environment."""
    from google.auth.credentials import AnonymousCredentials

    config._api_endpoint = os.environ[ADDRESS]
    config._api_transport = "rest"
    config._credentials = AnonymousCredentials()
    config._project = os.environ.get("CLOUD_ML_PROJECT_ID")


class _Preset(Loader):
    """Loads the SDK's initializer as usual and fills in its global configuration."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        if ADDRESS in os.environ:
            preset(module.global_config)


class _Finder(MetaPathFinder):
    """Finds the SDK's initializer, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != INITIALIZER:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Preset(spec.loader)
        return spec


def install() -> None:
    """Fill in the SDK's configuration: now when it is loaded already, else when it will be."""
    if INITIALIZER in sys.modules:
        preset(sys.modules[INITIALIZER].global_config)
    else:
        sys.meta_path.insert(0, _Finder())


if ADDRESS in os.environ:
    install()
