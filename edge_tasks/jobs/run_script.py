"""Running a model's train.py as a program, as a person or a DVC stage does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.errors import TrainingError
from edge_tasks.repo import layout
from edge_tasks.repo.model_folders import check_named
from edge_tasks.repo.params_yaml import FILE_NAME as PARAMETERS_FILE
from edge_tasks.repo.params_yaml import read_parameters
from edge_tasks.tools.signals import TerminatedError

SCRIPT = "train.py"

# The exit status after Ctrl-C, as shells have it.
INTERRUPTED = 130


def run_script(
    root: Path,
    model_name: str,
    updates: Sequence[str],
    *,
    script: str = SCRIPT,
    parameters: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Run models/NAME/train.py with `updates` (KEY=VALUE); return its exit status.

    Its parameters are those of the file `parameters`, without one those of its params.yaml.
    What it prints goes to stderr. Raises TrainingError when it cannot be run, ConfigError when params.yaml is broken.
    """
    folder = layout.model_folder(root, model_name)
    if not (folder / script).is_file():
        raise TrainingError(
            f"there is no `models/{model_name}/{script}`",
            f"git checkout models/{model_name}/{script}; a model that was imported is trained elsewhere",
        )
    for update in updates:
        if "=" not in update:
            raise TrainingError(f"`{update}` is not a parameter with a value", "--set KEY=VALUE")
    if parameters is None and (folder / PARAMETERS_FILE).is_file():
        parameters = Path(PARAMETERS_FILE)
        # The script would name it as it stands there, without the model's folder.
        read_parameters(folder)
    words = [*([str(parameters)] if parameters else []), *updates]
    command = [sys.executable, script, *(["with", *words] if words else [])]
    return _wait(subprocess.Popen(command, cwd=folder, stdout=sys.stderr, env=environ))


def check_script(root: Path, script: Path, name: str, config: EdgeConfig | None = None) -> None:
    """Raise TrainingError when the file `script`, which trains `name`, lies in another model's folder.

    With `config` also raise ConfigError when that does not name the model, though it has a folder.
    """
    if config is not None:
        check_named(root, config, name)
    folder = script.resolve().parent
    if folder.parent == layout.model_folders(root) and folder.name != name:
        raise TrainingError(
            f"models/{folder.name}/{script.name} says that it trains `{name}`, but it lies in models/{folder.name}",
            f"write `{folder.name}` for it in train.py and dvc.yaml"
            if layout.model_folder(root, name).is_dir()
            else f"invoke model.rename {name} {folder.name}",
        )


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the child, which receives Ctrl-C itself; SIGTERM is forwarded to it.

    Returns its exit status, which is INTERRUPTED when one of the two ended it.
    """
    interrupted = False
    while True:
        try:
            status = process.wait()
        except TerminatedError:  # noqa: PERF203  the loop is there for it
            interrupted = True
            process.terminate()
        except KeyboardInterrupt:
            interrupted = True
        else:
            return INTERRUPTED if interrupted and status else status
