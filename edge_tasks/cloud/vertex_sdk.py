"""The SDK's generated clients of Vertex AI, of which only the services that a command uses are imported.

`google.cloud.aiplatform_v1` imports all its services and a thousand messages, whichever name is asked for; that is most
of the time of a short command. Its modules import each other by their full names, so the package and its `types` may be
there without their names: they are completed as soon as somebody asks for one, such as a train.py that uses the SDK.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.util
import sys
import threading
from types import ModuleType
from typing import Any

_PACKAGE = "google.cloud.aiplatform_v1"

# One for both packages: completing one imports the other.
_COMPLETING = threading.RLock()


class _Partial(ModuleType):
    """A package whose own code has not run yet: its modules can be imported, any other name makes it complete."""

    def __getattr__(self, name: str) -> Any:
        # Python itself asks modules for such names; only `__all__` is the package's.
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        submodule = f"{self.__name__}.{name}"
        if importlib.util.find_spec(submodule) is not None:
            return importlib.import_module(submodule)
        with _COMPLETING:  # other threads wait until the package is complete
            if name not in self.__dict__ and isinstance(self, _Partial):
                _complete(self)
        return ModuleType.__getattribute__(self, name)


def _complete(package: _Partial) -> None:
    """Run the package's own code. While it runs, it is looked up by itself: a name that it lacks is missing then."""
    if package.__dict__.get("_running"):
        return
    package.__dict__["_running"] = True
    try:
        package.__spec__.loader.exec_module(package)  # type: ignore[union-attr]
        package.__class__ = ModuleType  # type: ignore[assignment]
    finally:
        del package.__dict__["_running"]


def client_class(service: str) -> Any:
    """Return the client of a service, such as `job` for JobServiceClient; its messages are imported, too."""
    module = _import(f"services.{service}_service")
    return getattr(module, f"{service.title()}ServiceClient")


def messages(module: str) -> Any:
    """Return the module of `google.cloud.aiplatform_v1.types` with these messages, such as `model_service`."""
    return _import(f"types.{module}")


def _import(module: str) -> Any:
    """Import without the garbage collector, which would walk the thousands of classes.

    That saves each command up to half a second: a part at the import, a part at the interpreter's last collection.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with _COMPLETING:
            _prepare()
        found = importlib.import_module(f"{_PACKAGE}.{module}")
    finally:
        if collecting:
            gc.enable()
    gc.freeze()
    atexit.register(gc.freeze)
    return found


def _prepare() -> None:
    """Put the package and its `types` into their places, unless the package is imported already."""
    if _PACKAGE in sys.modules:
        return
    for name in (_PACKAGE, f"{_PACKAGE}.types"):
        parent, _, child = name.rpartition(".")
        spec = importlib.util.find_spec(name)  # imports the parent
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = importlib.util.module_from_spec(spec)
        module.__class__ = _Partial
        sys.modules[name] = module
        setattr(sys.modules[parent], child, module)
