"""How a training tells of an error that the user can fix: two lines, no traceback.

Sacred prints exceptions itself: a SacredError without `print_traceback` as `module.Class: message`. Classes whose
module is `builtins` are printed without one, so a class with the qualified name `error` reads `error: message`, as the
tasks print it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sacred.config.utils import assert_is_valid_key
from sacred.utils import ConfigAddedError, SacredError, SacredInterrupt

from edge_tasks.domain.names import nearest
from edge_tasks.errors import EdgeError, TrainingError
from edge_tasks.repo.text_files import read_yaml

# What Sacred's config holds in addition to the model's parameters.
_NO_PARAMETERS = ("seed", "model_name")


class TrainingFailedError(SacredError):  # type: ignore[misc]
    """An EdgeError on its way out through Sacred; the run is recorded as FAILED."""

    def __init__(self, error: EdgeError):
        super().__init__(_told(error), print_traceback=False)
        self.error = error


class TrainingInterruptedError(SacredInterrupt, SacredError):  # type: ignore[misc]
    """Ctrl-C on its way out through Sacred; the run is recorded as INTERRUPTED."""

    STATUS = "INTERRUPTED"

    def __init__(self, message: str):
        SacredError.__init__(self, message, print_traceback=False)


for _class, _word in ((TrainingFailedError, "error"), (TrainingInterruptedError, "interrupted")):
    _class.__module__, _class.__qualname__ = "builtins", _word


def _told(error: EdgeError) -> str:
    """Return an error with its code; in a job, where nothing that prints for people travels, without."""
    try:
        from edge_tasks.console import told
    except ImportError:
        return str(error)
    return told(error)


def ended_itself(error: SystemExit) -> TrainingError:
    """Return what is said of a training that ended by sys.exit(), with 0 as well: DVC would take that for success."""
    said = error.code if isinstance(error.code, str) else f"sys.exit({'' if error.code is None else error.code})"
    problem = f"the training ended itself, so nothing was changed: {said}"
    return TrainingError(problem, "let `run` return when it is done")


def is_script(module: str) -> bool:
    """Say whether the module of that name is a program that was started, not one that others import, nor a notebook."""
    return module == "__main__" and hasattr(sys.modules["__main__"], "__file__")


def show_errors_plainly(module: str) -> None:
    """Let an EdgeError that ends the script `module` be two lines, and so a misspelt parameter.

    Do nothing when it is not a script. Raises an EdgeError for a command line that Sacred would not understand.
    """
    if is_script(module):
        sys.excepthook = show_plainly
        ConfigAddedError.__module__, ConfigAddedError.__qualname__ = "builtins", "error"
        ConfigAddedError.__str__ = _unknown_parameter
        check_command_line(sys.argv)


def check_command_line(words: Sequence[str]) -> None:
    """Raise an EdgeError when `words` assign without `with`, or take parameters from a file that has none.

    https://sacred.readthedocs.io/en/stable/command_line.html
    """
    script, *rest = words or [""]
    place = rest.index("with") if "with" in rest else len(rest)
    before, updates = rest[:place], rest[place + 1 :]
    options = {number for number, word in enumerate(before) if word.startswith("-")}
    strays = (
        word
        for number, word in enumerate(before)
        if "=" in word and not options & {number, number - 1}  # not an option, nor what stands behind one
    )
    if stray := next(strays, None):
        raise TrainingError(f"`{stray}` stands without `with` before it", f"python {script} with {' '.join(rest)}")
    files = [word for word in updates if "=" not in word and word.endswith((".yaml", ".yml", ".json", ".pkl"))]
    if missing := next((word for word in files if not Path(word).exists()), None):
        own = Path(script).parent / Path(missing).name
        near = nearest(missing, [path.name for path in Path().glob("*.yaml")])
        found = own if own.exists() else near
        raise TrainingError(
            f"there is no file `{missing}` with parameters",
            f"python {script} with {found or 'NAME=VALUE'}",
        )
    for word in files:
        if word.endswith((".yaml", ".yml")):
            values = read_yaml(Path(word), word)
            if not isinstance(values, dict):
                hint = "write lines such as `is_vertex: true` into it"
                raise TrainingError(f"`{word}` must hold names and values", hint)
            _check_names(values, word)


def _check_names(values: Any, word: str, *, inside: bool = False) -> None:
    """Raise an EdgeError when the file `word` gives a parameter, or a value `inside` of one, a name Sacred refuses."""
    for name, value in values.items() if isinstance(values, dict) else ():
        try:
            assert_is_valid_key(name)
            possible = inside or isinstance(name, str)
        except (KeyError, IndexError):
            possible = False
        if not possible:
            raise TrainingError(
                f"`{word}`: `{name}` cannot be the name of a parameter",
                f"fix `{word}`: names are texts such as `learning_rate`, without `.` and `=`, and no `$` before them",
            )
        _check_names(value, word, inside=True)


def _unknown_parameter(error: ConfigAddedError) -> str:
    """Return what is said of a parameter that train.py does not have."""
    unknown = str(next(iter(error.__conflicting_configs__), ""))
    known = sorted({*(error.__config__ or {})} - {unknown, *_NO_PARAMETERS})
    near = nearest(unknown, known)
    problem = f"train.py has no parameter `{unknown}`; it has {', '.join(f'`{name}`' for name in known) or 'none'}"
    return _told(EdgeError(problem, f"did you mean `{near}`?" if near else "add it to @ex.config, or leave it out"))


def show_plainly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Be the `sys.excepthook` of a training: an EdgeError that Sacred did not see is two lines, too."""
    if isinstance(error, EdgeError):
        sys.stderr.write(f"error: {_told(error)}\n")
    elif isinstance(error, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
    elif isinstance(error, ModuleNotFoundError) and error.name and "." not in error.name:
        missing = EdgeError(
            f"this Python has no module `{error.name}` ({sys.executable})",
            "activate the repository's environment (source .venv/bin/activate), or pip install -r requirements.txt",
        )
        sys.stderr.write(f"error: {_told(missing)}\n")
    else:
        sys.__excepthook__(kind, error, trace)
