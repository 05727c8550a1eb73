"""How a training tells of an error that the user can fix: two lines, no traceback.

Sacred prints exceptions itself: a SacredError without `print_traceback` as `module.Class: message`. Classes whose
module is `builtins` are printed without one, so a class with the qualified name `error` reads `error: message`, as the
tasks print it.
"""

from __future__ import annotations

import sys
from types import TracebackType

from sacred.utils import SacredError, SacredInterrupt

from edge_tasks.errors import EdgeError


class TrainingFailedError(SacredError):  # type: ignore[misc]
    """An EdgeError on its way out through Sacred; the run is recorded as FAILED."""

    def __init__(self, error: EdgeError):
        super().__init__(str(error), print_traceback=False)
        self.error = error


class TrainingInterruptedError(SacredInterrupt, SacredError):  # type: ignore[misc]
    """Ctrl-C on its way out through Sacred; the run is recorded as INTERRUPTED."""

    STATUS = "INTERRUPTED"

    def __init__(self, message: str):
        SacredError.__init__(self, message, print_traceback=False)


for _class, _word in ((TrainingFailedError, "error"), (TrainingInterruptedError, "interrupted")):
    _class.__module__, _class.__qualname__ = "builtins", _word


def is_script(module: str) -> bool:
    """Say whether the module of that name is a program that was started, not one that others import, nor a notebook."""
    return module == "__main__" and hasattr(sys.modules["__main__"], "__file__")


def show_errors_plainly(module: str) -> None:
    """Let an EdgeError that ends the script `module` be two lines; do nothing for other errors."""
    if is_script(module):
        sys.excepthook = show_plainly


def show_plainly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Be the `sys.excepthook` of a training: an EdgeError that Sacred did not see is two lines, too."""
    if isinstance(error, EdgeError):
        sys.stderr.write(f"error: {error}\n")
    else:
        sys.__excepthook__(kind, error, trace)
