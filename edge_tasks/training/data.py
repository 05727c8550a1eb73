"""The data of a training, under one name on a laptop and in a job: always the version that DVC has recorded.

On a laptop it is the file or folder in the working tree, which is checked to be that version. In a job it is fetched
from the DVC remote by its hash, without DVC, when it is first asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Literal, TextIO, overload

from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.domain.provenance import hash_of
from edge_tasks.errors import DataError
from edge_tasks.repo.edge_yaml import find_root, load_config
from edge_tasks.repo.layout import FETCHED_DATA
from edge_tasks.training.context import current_spec, job_root

# What this process has asked for on a laptop: path to DVC hash.
_used: dict[str, str] = {}


def data_path(path: str) -> Path:
    """Return where the data at `path` (relative to the repository's root, such as `data/train.npz`) can be read.

    It is a path on this machine, of a file or of a folder, so that everything can read it: `open`, numpy, pandas,
    fsspec. It holds the version that DVC has recorded, and keeps the name of the data. Read it only.

    On a laptop a version that the DVC remote does not have is pushed, and its hash is recorded with the run. In a job
    only the dependencies of the train stage (and what lies in them) are there. Raises DataError with the command that
    helps when the data are missing, or are another version than the recorded one.
    """
    name = os.path.normpath(path).replace(os.sep, "/")
    spec = current_spec()
    return _in_job(spec, name) if spec is not None else _on_laptop(name)


def data_uri(path: str) -> str:
    """Return what `data_path` does, as a text."""
    return str(data_path(path))


@overload
def open_data(path: str, mode: Literal["rb"] = "rb") -> BinaryIO: ...
@overload
def open_data(path: str, mode: Literal["r", "rt"]) -> TextIO: ...
def open_data(path: str, mode: str = "rb") -> IO[Any]:
    """Open the data file at `path` (relative to the repository's root) for reading; close it after use.

    `mode` is `rb`, for bytes, or `r`, for text in UTF-8. Works on a laptop and in a job; see `data_path` for the
    errors. Raises DataError for a folder, too, and for a mode that writes.
    """
    if mode not in ("rb", "r", "rt"):
        raise DataError(f"data are not opened with the mode `{mode}`", "use `rb`, for bytes, or `r`, for text")
    file = data_path(path)
    if file.is_dir():
        raise DataError(f"`{path}` is a folder", f'data_uri("{path}") tells where its files are')
    try:
        return file.open(mode, encoding=None if mode == "rb" else "utf-8")
    except OSError as error:
        raise DataError(f"`{path}` cannot be read: {error.strerror}") from None


def used_data() -> Mapping[str, str]:
    """Return what this process has asked for on a laptop so far: path to DVC hash."""
    return dict(_used)


def _on_laptop(name: str) -> Path:
    from edge_tasks.tools import dvc

    root = find_root()
    if name not in _used:
        version = dvc.data_version(root, name)
        try:
            dvc.push(root, [version])
        except DataError as error:
            # A remote that is away is not a reason not to train here; as a job it would be.
            from edge_tasks.console import Console

            Console().step(f"{error.problem}; later: dvc push {name}")
        _used[name] = version.hash
    return root / name


# --- in a job ---------------------------------------------------------------------------------------------------


def _in_job(spec: TrainingSpec, name: str) -> Path:
    """Return the fetched copy of `name`, which is among the spec's data or lies in a folder of them."""
    for known in (name, *(parent.as_posix() for parent in PurePosixPath(name).parents)):
        if known in spec.addresses:
            path = fetched(known, spec.addresses[known]) / PurePosixPath(name).relative_to(known)
            if not path.exists():
                raise DataError(f"there is no `{name}` in the version of `{known}` that this job got")
            return path
    raise DataError(
        f"`{name}` did not travel with this job",
        f"add it to `deps` of the train stage in models/{spec.model_name}/dvc.yaml",
    )


def fetched(name: str, url: str) -> Path:
    """Return a copy on this machine of the version at `url`, under its own name; it is made once for each machine."""
    place = Path(tempfile.gettempdir()) / FETCHED_DATA / hash_of(url) / PurePosixPath(name).name
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=place.parent))
        try:
            copy = partial / place.name
            if url.endswith(".dir"):
                copy.mkdir()
                _fetch(_listed(url, partial / "list", copy))
            else:
                _fetch({copy: url})
            if not place.exists():  # another process may have been faster
                copy.rename(place)
        finally:
            shutil.rmtree(partial)
    return place


def _listed(url: str, path: Path, folder: Path) -> dict[Path, str]:
    """Return the files of a version that is a folder: where each is to lie below `folder`, and its address.

    `.dir` is DVC's list of a folder: https://dvc.org/doc/user-guide/project-structure/internal-files#structure-of-the-cache-directory
    """
    _fetch({path: url})
    store = url.rsplit("/", 2)[0]
    files = {}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        relative, md5 = PurePosixPath(entry["relpath"]), entry["md5"]
        if relative.is_absolute() or ".." in relative.parts:
            raise DataError(f"`{relative}` in the data would lie outside its folder")
        files[folder / relative] = f"{store}/{md5[:2]}/{md5[2:]}"
    return files


def _fetch(files: Mapping[Path, str]) -> None:
    """Bring each file to its path from its address, several at a time, and check that it has the hash that names it."""
    for folder in {path.parent for path in files}:
        folder.mkdir(parents=True, exist_ok=True)
    remote = {path: url for path, url in files.items() if url.startswith("gs://")}
    if remote:
        from edge_tasks.cloud.client import connect_from_job
        from edge_tasks.cloud.storage import download_many

        download_many(connect_from_job(load_config(job_root())), remote)
    for path, url in files.items():
        if path not in remote:
            path.symlink_to(url)
        try:
            with path.open("rb") as file:
                digest = md5(file)
        except OSError as error:
            raise DataError(
                f"the data at {url} cannot be read: {error.strerror}", "dvc push, then train again"
            ) from None
        # Remotes of DVC 2 hold hashes of another kind: of texts with their line ends changed.
        if "/files/md5/" in url and digest != hash_of(url).removesuffix(".dir"):
            raise DataError(f"the data at {url} are not what their hash tells", "remove that object, then dvc push")


def md5(file: Any) -> str:
    """Return the MD5 of an open file, by which DVC knows it."""
    digest = hashlib.md5(usedforsecurity=False)
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
