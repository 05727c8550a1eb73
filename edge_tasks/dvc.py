"""DVC: the data that a stage depends on, its versions, and getting them into the remote.

DVC's command line does what changes something; its Python API answers questions.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_tasks.errors import DataError

_QUIET = {"DVC_NO_ANALYTICS": "true", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}


@dataclass(frozen=True)
class DataVersion:
    """A data file as DVC has it: its path in the repository, its hash, and the address of that very version."""

    path: str
    hash: str
    url: str


def stage_data(root: Path, model_folder: Path, stage: str = "train") -> list[DataVersion]:
    """Return the DVC versions of the data that `stage` of MODEL_FOLDER/dvc.yaml depends on; [] without such a file.

    Dependencies that DVC does not track (code, files in git) are not data and are left out. Raises DataError when a
    tracked one is a folder: those cannot travel with a job yet.
    """
    data = []
    for path in _stage_dependencies(model_folder / "dvc.yaml", stage):
        version = _version(root, model_folder, path)
        if version is not None:
            data.append(version)
    return data


def _stage_dependencies(dvc_yaml: Path, stage: str) -> list[Path]:
    import yaml

    try:
        document: Any = yaml.safe_load(dvc_yaml.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except yaml.YAMLError as error:
        raise DataError(f"`{dvc_yaml}` is not valid YAML: {error}", "dvc status") from None
    try:
        dependencies = document["stages"][stage].get("deps") or []
    except (TypeError, KeyError, AttributeError):
        return []
    paths = [next(iter(item)) if isinstance(item, dict) else str(item) for item in dependencies]
    return [Path(os.path.normpath(dvc_yaml.parent / path)) for path in paths]


def _version(root: Path, model_folder: Path, path: Path) -> DataVersion | None:
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    import dvc.api
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException, OutputNotFoundError

    relative = path.relative_to(root).as_posix()
    hint = f"dvc repro {model_folder.relative_to(root).as_posix()}/dvc.yaml"
    try:
        # DVC takes paths from the working directory (the model's folder inside a stage), and no absolute ones.
        url = dvc.api.get_url(os.path.relpath(path), repo=str(root))
    except (OutputNotFoundError, FileNotFoundError):
        return None
    except NoRemoteError:
        # DVC says this, too, of a stage's output that it has not recorded yet.
        if _has_remote(root):
            raise DataError(f"DVC has not recorded a version of `{relative}` yet", hint) from None
        raise DataError("DVC has no remote to keep data in", "invoke dvc.init") from None
    except DvcException as error:
        raise DataError(f"DVC does not know the version of `{relative}`: {error}", hint) from None
    folder, _, name = url.rpartition("/")
    if name.endswith(".dir"):
        raise DataError(
            f"`{relative}` is a folder; only single files travel with a training job so far",
            "write one file (such as .npz or .csv) in the stage that makes the data",
        )
    return DataVersion(path=relative, hash=folder.rpartition("/")[2] + name, url=url)


def _has_remote(root: Path) -> bool:
    return bool(run(root, "remote", "list", doing="list DVC's remotes").strip())


def push(root: Path, paths: list[str]) -> None:
    """Send the versions of `paths` that the remote does not have yet."""
    if paths:
        run(root, "push", "--quiet", *paths, doing=f"push {', '.join(f'`{path}`' for path in paths)}")


def run(root: Path, *arguments: str, doing: str) -> str:
    """Run `dvc ARGUMENTS` in `root` and return its output. Raises DataError with DVC's own words."""
    result = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        env={**_QUIET, **os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        words = [line for line in result.stderr.splitlines() if line.strip()]
        problem = next((line.removeprefix("ERROR: ") for line in words if line.startswith("ERROR")), "it failed")
        raise DataError(f"cannot {doing}: {problem}", f"dvc {' '.join(arguments)}")
    return result.stdout


def stream(root: Path, *arguments: str, doing: str) -> None:
    """Run `dvc ARGUMENTS` in `root`, and let people follow what it says. Raises DataError when it fails.

    All of it goes to stderr: it is not a task's result.
    """
    result = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, env={**_QUIET, **os.environ}, stdout=2, check=False
    )
    if result.returncode != 0:
        raise DataError(f"cannot {doing}: DVC ended with {result.returncode}, see above", f"dvc {' '.join(arguments)}")


def remote_url(config_file: Path, remote: str) -> str | None:
    """Return the url of `remote` in one of DVC's config files, or None when it has none there."""
    import configparser

    parser = configparser.ConfigParser()
    try:
        parser.read(config_file, encoding="utf-8")
    except configparser.Error as error:
        raise DataError(f"`{config_file}` is broken: {error}", f"mend `{config_file}`") from None
    section = f"'remote \"{remote}\"'"
    return parser.get(section, "url", raw=True, fallback=None)
