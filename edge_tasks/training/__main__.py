"""`python -m edge_tasks.training train.py with params.yaml`: what the stage `train` of a model's dvc.yaml runs.

The script runs as `python train.py` would run it. Python takes one that ends without an error for a success, and DVC
then keeps the old model as what the new code made; here a script that has trained nothing fails.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

from edge_tasks.errors import TrainingError
from edge_tasks.repo.trained_model import FILE_NAME as TRAINED_MODEL_FILE
from edge_tasks.training import _show_interrupt_plainly

_WRAPPER = "edge_tasks.training.wrapper"


def main() -> None:
    """Run the script that the command line names, with the rest of it; exit with 1 when it has not trained."""
    if len(sys.argv) < 2:
        _end(TrainingError("no script is named", "python -m edge_tasks.training train.py with params.yaml"))
    del sys.argv[0]
    script = Path(sys.argv[0]).resolve()
    if not script.is_file():
        _end(TrainingError(f"there is no `{_shown(script)}`", f"git checkout {_shown(script)}"))
    before = _written_at(script)
    sys.path[0] = str(script.parent)
    sys.excepthook = _show_interrupt_plainly
    try:
        _run(script)
    except SystemExit as error:
        if error.code not in (None, 0):
            raise
    except Exception as error:
        error.__traceback__ = _own(error.__traceback__, str(script))
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)
    if not _has_trained() and _written_at(script) == before:
        from edge_tasks.jobs.run_script import not_trained

        _end(not_trained(_shown(script)))


def _run(script: Path) -> None:
    """Run the script as the main module, named and found as Python itself does it: processes that it starts do, too."""
    main = types.ModuleType("__main__")
    main.__file__ = str(script)
    sys.modules["__main__"] = main
    exec(compile(script.read_bytes(), str(script), "exec"), main.__dict__)  # noqa: S102  it is what was to be run


def _has_trained() -> bool:
    wrapper = sys.modules.get(_WRAPPER)
    return wrapper is not None and bool(wrapper.has_trained())


def _written_at(script: Path) -> int | None:
    """Return when the record of a training was written; a script may write it by itself."""
    record = script.with_name(TRAINED_MODEL_FILE)
    return record.stat().st_mtime_ns if record.exists() else None


def _own(trace: types.TracebackType | None, script: str) -> types.TracebackType | None:
    """Return the part of a traceback that begins in the script; none of an error in its syntax."""
    while trace is not None and trace.tb_frame.f_code.co_filename != script:
        trace = trace.tb_next
    return trace


def _shown(script: Path) -> str:
    """Return the script's path as it is called in the repository: models/NAME/train.py."""
    return "/".join(script.parts[-3:]) if script.parent.parent.name == "models" else script.name


def _end(error: TrainingError) -> None:
    from edge_tasks.console import told

    sys.stderr.write(f"error: {told(error)}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
