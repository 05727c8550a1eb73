"""What a `train.py` imports, on a laptop and inside a training job.

    from edge_tasks.training import get_config_and_state, save_results, vertex_wrapper

See the README for a whole `train.py`. No part of this package imports invoke. Importing a `train.py` changes nothing in
the interpreter: what errors look like, and what Sacred says, is arranged only where it runs as a script.
"""

from __future__ import annotations

import warnings

# Sacred imports pkg_resources, which warns about itself at every start of a training.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)

from edge_tasks.training.context import TrainingState, get_config_and_state  # noqa: E402
from edge_tasks.training.data import data_path, data_uri, open_data  # noqa: E402
from edge_tasks.training.replica import Replica, this_replica  # noqa: E402
from edge_tasks.training.results import save_results  # noqa: E402
from edge_tasks.training.wrapper import vertex_wrapper  # noqa: E402

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
