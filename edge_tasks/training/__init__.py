"""What a `train.py` imports, on a laptop and inside a training job.

    from edge_tasks.training import get_config_and_state, save_results, vertex_wrapper

See the README for a whole `train.py`. No part of this package imports invoke. Importing a `train.py` changes nothing in
the interpreter: what errors look like, and what Sacred says, is arranged only where it runs as a script.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_tasks.training.context import TrainingState, get_config_and_state
    from edge_tasks.training.data import data_path, data_uri, open_data
    from edge_tasks.training.replica import Replica, this_replica
    from edge_tasks.training.results import save_results
    from edge_tasks.training.wrapper import vertex_wrapper

# Sacred imports pkg_resources, which warns about itself at every start of a training.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)


def _show_interrupt_plainly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Be the `sys.excepthook` of a train.py that is still importing, which takes long: Ctrl-C is one line."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, trace)


# Of a training that runs; where another program imports its train.py, or uses this package, nothing is arranged.
if Path(getattr(sys.modules["__main__"], "__file__", None) or "").name == "train.py":
    sys.excepthook = _show_interrupt_plainly

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
