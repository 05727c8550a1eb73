"""What a `train.py` imports, on a laptop and inside a training job.

    from edge_tasks.training import get_config_and_state, save_results, vertex_wrapper

See the README for a whole `train.py`. No part of this package imports invoke. Importing a `train.py` changes nothing in
the interpreter: what errors look like, and what Sacred says, is arranged only where it runs as a script.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_tasks.training.context import TrainingState, get_config_and_state
    from edge_tasks.training.data import data_path, data_uri, open_data
    from edge_tasks.training.replica import Replica, this_replica
    from edge_tasks.training.results import save_results
    from edge_tasks.training.wrapper import vertex_wrapper

# Sacred imports pkg_resources, which warns about itself at every start of a training.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)


def _importer() -> str:
    """Return the name of the module that imports this package."""
    frame: FrameType | None = sys._getframe(3)  # noqa: SLF001  the only way to know the caller
    while frame is not None and "importlib" in frame.f_code.co_filename:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")) if frame else ""


def _show_interrupt_plainly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Be the `sys.excepthook` of a train.py that is still importing, which takes long: Ctrl-C is one line."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted: nothing was changed\n")
    else:
        sys.__excepthook__(kind, error, trace)


def _begin_script() -> None:
    """Arrange what a script needs that imports this package; one that others import changes nothing."""
    if _importer() == "__main__" and hasattr(sys.modules["__main__"], "__file__"):
        sys.excepthook = _show_interrupt_plainly


_begin_script()

# Imported when first asked for: Sacred and pandas, which not every module of this package needs, take a second.
_HOMES = {
    "Replica": "replica",
    "TrainingState": "context",
    "data_path": "data",
    "data_uri": "data",
    "get_config_and_state": "context",
    "open_data": "data",
    "save_results": "results",
    "this_replica": "replica",
    "vertex_wrapper": "wrapper",
}

__all__ = [
    "Replica",
    "TrainingState",
    "data_path",
    "data_uri",
    "get_config_and_state",
    "open_data",
    "save_results",
    "this_replica",
    "vertex_wrapper",
]


def __getattr__(name: str) -> Any:
    """Return what is imported from here by name."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
