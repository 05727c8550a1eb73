"""Runs a module in a process that was forked from one which has imported much, as its own interpreter would."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import inspect
import io
import mmap
import os
import runpy
import signal
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from edge_tasks.emulator.runtime.fork_order import Order
from edge_tasks.emulator.runtime.watchers import MARK

_HOOK = "sitecustomize"
# A job has its own, which need not be this one.
_OURS = "edge_tasks"


def marked(mark: str) -> mmap.mmap:
    """Mark this process and all that is forked from it, until the memory that is returned is let go."""
    descriptor = os.memfd_create(f"{MARK}={mark}")
    try:
        os.ftruncate(descriptor, mmap.PAGESIZE)
        return mmap.mmap(descriptor, mmap.PAGESIZE)
    finally:
        os.close(descriptor)


def run(order: Order, libraries: list[str]) -> NoReturn:
    """Do what is ordered, to its end, and end this process with its exit status.

    `libraries` is where Python's own modules and what is installed lie. After a `pip` that fails no module runs.
    """
    os.environ.clear()
    os.environ.update(order.environment)
    os.chdir(order.folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order.environment.get("PYTHONUNBUFFERED"):
        sys.stdout, sys.stderr = _unbuffered(sys.stdout), _unbuffered(sys.stderr)
    if order.pip is not None and (status := _install(*order.pip)):
        leave(status)
    named = order.environment.get("PYTHONPATH", "").split(os.pathsep)
    own = [order.folder, *(folder for folder in named if folder)]
    brought = _brought_along(own)
    if brought - {_OURS}:
        # What was imported for all has another one of it.
        os.execv(sys.executable, [sys.executable, "-m", order.module, *order.arguments])  # noqa: S606  (a shell reads words again)
    if not any(_lies_in(folder, sys.modules[_OURS]) for folder in own):
        for name in [name for name in sys.modules if name.partition(".")[0] == _OURS]:
            del sys.modules[name]
    sys.path[:] = [*own, *libraries]
    tempfile.tempdir = None
    draw_anew()
    sys.modules.pop(_HOOK, None)
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module(_HOOK)
    sys.modules["__main__"] = new_main()
    sys.argv = ["-m", *order.arguments]
    leave(ended(lambda: runpy._run_module_as_main(order.module)))  # type: ignore[attr-defined]  # noqa: SLF001  (what -m runs)


def _install(site: str, isolation: str, *arguments: str) -> int:
    # It needs libraries that an isolated environment may lack; only jobs in the shared one come here.
    from edge_tasks.emulator.runtime import pip_shim

    return pip_shim.main(site, isolation, list(arguments))


def new_main() -> types.ModuleType:
    """Return a `__main__` without anything of ours in it."""
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    return module


def draw_anew() -> None:
    """Let this process draw random numbers of its own; Python does this for its own module."""
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def ended(program: Callable[[], object]) -> int:
    """Call a program; return its exit status, as the interpreter does: negative for the signal of Ctrl-C."""
    try:
        program()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        sys.stderr.write(f"{error.code}\n")
        return 1
    except KeyboardInterrupt as error:
        _tell(error, program)
        return -signal.SIGINT
    except BaseException as error:
        _tell(error, program)
        return 1
    return 0


def leave(status: int) -> NoReturn:
    """End this process as the interpreter does, but for what it has imported, which need not be cleared away."""
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001  (waits for the program's threads)
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _tell(error: BaseException, program: Callable[[], object]) -> None:
    """Print the traceback as the interpreter does, without our own frames."""
    ours = {__file__, inspect.getfile(program)}
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)


def _brought_along(folders: list[str]) -> set[str]:
    """Return the packages that are imported, and that lie in a program's own folders, too, ours first of all.

    What is not looked at stays shared: even a reference that is counted copies a page.
    """
    found = set()
    for folder in folders:
        if folder in sys.path or not os.path.isdir(folder):  # noqa: PTH112  (each job waits for this)
            continue
        for name in os.listdir(folder):  # noqa: PTH208
            top = name.partition(".")[0]
            if top in sys.modules and top != _HOOK and not _lies_in(folder, sys.modules[top]):
                found.add(top)
    return found


def _lies_in(folder: str, module: Any) -> bool:
    places = getattr(module, "__path__", [getattr(module, "__file__", None)])
    return any(place is not None and os.path.dirname(place) == folder for place in places)  # noqa: PTH120


def _unbuffered(stream: TextIO) -> TextIO:
    """Return what `python -u` has in place of a standard stream."""
    raw = io.FileIO(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(raw, stream.encoding, stream.errors, write_through=True)
