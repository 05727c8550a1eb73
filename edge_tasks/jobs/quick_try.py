"""A quick try: a training by hand with other parameters than those of params.yaml.

It is recorded as every run is, but does not take the place of what `dvc repro` made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edge_tasks.domain.json_values import plain
from edge_tasks.repo.params_yaml import read_parameters
from edge_tasks.repo.trained_model import FILE_NAME as TRAINED_MODEL_FILE
from edge_tasks.tracking.sacred_observer import REPRODUCED_VARIABLE

# DVC sets it for the commands of its stages.
_DVC_VARIABLE = "DVC_STAGE"

# Where a training runs is not what is trained.
_PLACE = "is_vertex"


def started_by_dvc(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether this training is the command of a stage that `dvc repro` runs."""
    return _DVC_VARIABLE in environ


def other_parameters(
    model_folder: Path,
    chosen: Mapping[str, Any],
    assigned: Iterable[str],
    environ: Mapping[str, str] = os.environ,
) -> list[str]:
    """Return the names of the parameters that make a training a try; none when it is not one.

    `chosen` are its parameters, `assigned` the names of those that its command line changes. The trainings that DVC
    starts are none, nor are reproductions, which have a folder to themselves, nor is the first of all: there is nothing
    yet that it could replace.
    """
    if started_by_dvc(environ) or environ.get(REPRODUCED_VARIABLE) or not (model_folder / TRAINED_MODEL_FILE).is_file():
        return []
    written = read_parameters(model_folder)
    here = plain(dict(chosen))
    differing = {name for name, value in written.items() if name != _PLACE and here.get(name) != plain(value)}
    return sorted(differing | {name for name in assigned if name != _PLACE and name not in written})
