"""The data of a training, under one name on a laptop and in a job.

On a laptop it is the file in the working tree. In a job it is the exact version that DVC recorded when the job was
submitted, read by its hash from the DVC remote.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from edge_tasks.edge_yaml import find_root, load_config
from edge_tasks.errors import DataError
from edge_tasks.training.context import current_order


def data_uri(path: str) -> str:
    """Return the address of the data at `path` (relative to the repository's root, such as `data/train.npz`).

    It is a path on this machine, or a gs:// address in a job on Google Cloud. Raises DataError when the data are not
    there, or (in a job) are not among the dependencies of the train stage, because only those travel.
    """
    order = current_order()
    if order is not None:
        if path not in order.data:
            raise DataError(
                f"`{path}` did not travel with this job",
                f"add it to `deps` of the train stage in models/{order.model_name}/dvc.yaml",
            )
        return order.data[path]
    file = find_root() / path
    if not file.exists():
        raise DataError(f"there is no `{path}`", "dvc pull, or dvc repro when it is made by a stage")
    return str(file)


def open_data(path: str) -> BinaryIO:
    """Open the data file at `path` (relative to the repository's root) for reading, in binary; close it after use.

    Works on a laptop and in a job; see `data_uri` for the errors.
    """
    uri = data_uri(path)
    if uri.startswith("gs://"):
        return _fetched(uri).open("rb")
    try:
        return Path(uri).open("rb")
    except OSError as error:
        raise DataError(f"`{path}` cannot be read: {error.strerror}", f"dvc push {path}, then train again") from None


def _fetched(uri: str) -> Path:
    """Return a local copy of the object at `uri`, made once for each process."""
    import hashlib
    import tempfile

    from edge_tasks.cloud import connect_from_job
    from edge_tasks.storage import download

    path = Path(tempfile.gettempdir()) / f"edge-data-{hashlib.sha256(uri.encode()).hexdigest()[:24]}"
    if not path.exists():
        partial = path.with_suffix(".partial")
        download(connect_from_job(load_config(find_root())), uri, partial)
        partial.replace(path)
    return path
