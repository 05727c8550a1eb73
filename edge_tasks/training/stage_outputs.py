"""What a stage makes in a task of a pipeline, put where DVC's remote keeps it: by the hash of its content.

It is the remote's own layout, so that `dvc pull` and trainings find it there:
https://dvc.org/doc/user-guide/project-structure/internal-files#structure-of-the-cache-directory
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from edge_tasks.errors import DataError
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.training.data import md5


def keep(root: Path, path: str, store: str) -> str:
    """Put the file or folder at `path` (from `root`) into `store`; return the address of its version.

    `store` is the remote's folder of hashes, on this machine or gs://. What is there already stays as it is. Raises
    DataError when there is nothing at the path.
    """
    place = root / path
    if place.is_file():
        return _kept(root, place, _hash(place), store)
    if not place.is_dir():
        raise DataError(f"the stage has not made `{path}`", "it is among its outs: make it, or remove it from there")
    listed = []
    for file in sorted(file for file in place.rglob("*") if file.is_file()):
        digest = _hash(file)
        _kept(root, file, digest, store)
        listed.append({"md5": digest, "relpath": file.relative_to(place).as_posix()})
    listed.sort(key=lambda entry: entry["relpath"])
    with tempfile.TemporaryDirectory(prefix="edge-list-") as folder:
        file = Path(folder) / "list"
        file.write_text(json.dumps(listed, sort_keys=True), encoding="utf-8")
        return _kept(root, file, f"{_hash(file)}.dir", store)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return md5(file)


def _kept(root: Path, path: Path, name: str, store: str) -> str:
    address = f"{store}/{name[:2]}/{name[2:]}"
    if store.startswith("gs://"):
        from edge_tasks.cloud.client import connect_from_job
        from edge_tasks.cloud.storage import upload_new

        upload_new(connect_from_job(load_config(root)), path, address)
        return address
    target = Path(address)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as partial:
            pass
        shutil.copyfile(path, partial.name)
        Path(partial.name).chmod(0o444)  # as DVC leaves what must not change
        Path(partial.name).rename(target)
    return address
