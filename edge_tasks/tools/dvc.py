"""DVC: the data that a stage depends on, its versions, and getting them into the remote.

DVC's command line does what changes something; its Python API answers questions.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_tasks.domain.provenance import hash_of
from edge_tasks.domain.yaml_errors import yaml_problem
from edge_tasks.errors import ConfigError, DataError, GitError
from edge_tasks.repo import layout
from edge_tasks.repo.payloads import FILE_NAME as PAYLOAD_FILE
from edge_tasks.repo.text_files import parse_yaml, read_text, read_yaml
from edge_tasks.tools import git

_BARS = ("dvc.progress", "dvc_data.callbacks")
_QUIET = {"DVC_NO_ANALYTICS": "true", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}


@dataclass(frozen=True)
class DataVersion:
    """A data file or folder as DVC has it: its path in the repository, and the address of that very version.

    The address names a file in the remote; that of a folder is a JSON list of its files, `.dir`.
    """

    path: str
    url: str

    @property
    def hash(self) -> str:
        """DVC's hash of the content, with `.dir` at its end for a folder."""
        return hash_of(self.url)


def stage_data(root: Path, model_folder: Path, stage: str = "train") -> list[DataVersion]:
    """Return the DVC versions of the data that `stage` of MODEL_FOLDER/dvc.yaml depends on; [] without such a file.

    Dependencies that DVC does not track (code, files in git) are not data and are left out. Raises DataError when a
    version is not recorded, or is not what lies in the working tree.
    """
    paths = _stage_dependencies(model_folder / "dvc.yaml", stage)
    return [version for version in _versions(root, paths) if version is not None] if paths else []


def versions(root: Path, paths: Sequence[str]) -> dict[str, DataVersion]:
    """Return the DVC versions of those of `paths` (from the root) that DVC keeps.

    Raises DataError when a version is not recorded, or is not what lies in the working tree.
    """
    found = _versions(root, [root / path for path in paths]) if paths else []
    return {version.path: version for version in found if version is not None}


def store_address(root: Path) -> str:
    """Return the address of DVC's default remote: a folder's path, or gs://. Raises DataError without one."""
    from dvc.exceptions import DvcException

    with repository(root) as repo:
        try:
            odb = repo.cloud.get_remote_odb()
        except DvcException:
            raise DataError("DVC has no remote to keep data in", "invoke dvc.init") from None
        return str(odb.fs.unstrip_protocol(odb.path)).removeprefix("file://")


def data_version(root: Path, path: str) -> DataVersion:
    """Return the DVC version of the data at `path` (from the root), which must lie in the working tree.

    Raises DataError when it does not, when DVC does not track it, and when DVC has recorded another version.
    """
    if not (root / path).exists():
        raise DataError(f"there is no `{path}`", f"dvc pull {path}, or dvc repro when a stage makes it")
    (version,) = _versions(root, [root / path])
    if version is None:
        raise DataError(f"DVC does not track `{path}`, so its version is not known", f"dvc add {path}")
    return version


def tracked_paths(root: Path) -> set[Path]:
    """Return the files and folders whose content DVC keeps; none when `root` is not a DVC repository."""
    if not (root / ".dvc").is_dir():
        return set()
    with repository(root) as repo:
        return {Path(out.fs_path) for out in repo.index.outs if out.use_cache}


@dataclass(frozen=True)
class Added:
    """Data that a person gave DVC by `dvc add`, which no stage can make again: the path, and whether it is here."""

    path: str
    here: bool


def added(root: Path) -> list[Added]:
    """Return the data that were added by hand; none when `root` is not a DVC repository."""
    if not (root / ".dvc").is_dir():
        return []
    with repository(root) as repo:
        paths = {Path(out.fs_path) for out in repo.index.outs if out.use_cache and out.stage.is_data_source}
    return [Added(path.relative_to(root).as_posix(), path.exists()) for path in sorted(paths)]


def remotes(root: Path) -> list[str]:
    """Return the names of the remotes, the default one first."""
    with repository(root) as repo:
        default = repo.config["core"].get("remote")
        return sorted(repo.config["remote"], key=lambda name: (name != default, name))


def outputs(root: Path) -> list[Path]:
    """Return what `dvc repro` may write in the repository.

    That are the outputs of stages, the dvc.lock files in which DVC records them, the .gitignore files in which it names
    them, and the payload that a training gives its model. A dvc.yaml that is broken has no outputs.
    """
    found: dict[Path, None] = {}
    for folder in (root, *sorted(path.parent for path in layout.model_folders(root).glob("*/dvc.yaml"))):
        written = stage_outputs(folder)
        ignoring = [path.parent / ".gitignore" for path in written]
        found |= dict.fromkeys([folder / "dvc.lock", folder / PAYLOAD_FILE, *written, *ignoring])
    return list(found)


def stage_outputs(folder: Path) -> list[Path]:
    """Return what the stages of FOLDER/dvc.yaml write; nothing without such a file, or when it is broken."""
    file = folder / "dvc.yaml"
    with contextlib.suppress(DataError):
        return [path for stage in _stages(file) for path in _paths(file, stage, "outs", "metrics", "plots")]
    return []


def watched(model_folder: Path) -> set[Path]:
    """Return the files and folders whose change makes a stage of the model's dvc.yaml run again; empty without one.

    A link, such as `.code`, is that to which it leads.
    """
    file = model_folder / "dvc.yaml"
    paths = {path for stage in _stages(file) for path in _paths(file, stage, "deps", "params")}
    return paths | {path.resolve() for path in paths}


def has_stage(model_folder: Path, name: str) -> bool:
    """Say whether MODEL_FOLDER/dvc.yaml has a stage of that name. Raises DataError when it cannot be read."""
    return name in _stages(model_folder / "dvc.yaml")


def recorded_md5(model_folder: Path, output: str) -> str | None:
    """Return the MD5 that MODEL_FOLDER/dvc.lock has of the file `output` that a stage writes; None if it has none."""
    try:
        document: Any = parse_yaml((model_folder / "dvc.lock").read_text(encoding="utf-8"))
        outs = [out for stage in document["stages"].values() for out in stage.get("outs", [])]
        # Locks of DVC before 3.0 name no `hash`: their MD5 is not that of the bytes.
        return next((str(out["md5"]) for out in outs if out["path"] == output and out.get("hash") == "md5"), None)
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _stage_dependencies(dvc_yaml: Path, stage: str) -> list[Path]:
    return _paths(dvc_yaml, stage, "deps")


def _paths(dvc_yaml: Path, stage: str, *kinds: str) -> list[Path]:
    """Return the paths that a stage lists under `kinds`; none when there is no such stage, or no such list."""
    try:
        lists = [_stages(dvc_yaml)[stage].get(kind) or [] for kind in kinds]
        items = [next(iter(item)) if isinstance(item, dict) else str(item) for one in lists for item in one]
    except (TypeError, KeyError, AttributeError):
        return []
    return [Path(os.path.normpath(dvc_yaml.parent / item)) for item in items]


def _stages(dvc_yaml: Path) -> dict[str, Any]:
    try:
        document = read_yaml(dvc_yaml, str(dvc_yaml))
    except FileNotFoundError:
        return {}
    except ConfigError as error:
        raise DataError(error.problem, error.hint) from None
    stages = document.get("stages") if isinstance(document, dict) else None
    return stages if isinstance(stages, dict) else {}


@contextlib.contextmanager
def repository(root: Path) -> Iterator[Any]:
    """Open DVC's repository at `root`, a dvc.repo.Repo. Raises DataError with DVC's words, GitError without git."""
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    _import_dvc()
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    for module in _BARS:  # a bar would stay in what a command prints; DVC asks for its logger's level
        logging.getLogger(module).setLevel(logging.CRITICAL)
    try:
        with Repo(str(root)) as repo:
            yield repo
    except DvcException as error:
        if not git.is_repository(root):
            raise GitError(
                f"`{root}` is not in a git repository, which DVC needs", "git init && git add . && git commit -m Start"
            ) from None
        raise _unreadable(root, error) from None
    except (ValueError, RecursionError, IsADirectoryError):  # DVC lets through what a library raises of a value
        if invalid := _invalid(root):
            raise invalid from None
        raise


def _unreadable(root: Path, error: Exception) -> DataError:
    """Return what `error` of DVC's is about: which of its files it cannot read, where in it, and what helps."""
    from ruamel.yaml.error import YAMLError

    path = str(getattr(error, "path", None) or "")  # from the working directory
    if not path:
        return _invalid(root) or DataError(f"DVC cannot read its files: {' '.join(str(error).split())}", "dvc status")
    name = os.path.relpath(path, root)
    try:
        text = read_text(Path(path), name)
    except ConfigError as unreadable:
        return DataError(unreadable.problem, unreadable.hint)
    except FileNotFoundError:
        return DataError(f"DVC cannot read its files: {error}", "dvc status")
    cause = error.__cause__
    if isinstance(cause, YAMLError):
        return DataError(f"`{name}` is not valid YAML: {yaml_problem(cause, text)}", f"fix `{name}`")
    reasons = [str(reason) for reason in getattr(cause, "errors", [])] or [str(error)]
    return DataError(f"DVC cannot read `{name}`: {reasons[0]}", f"fix `{name}`; dvc status shows where")


def check_files(root: Path) -> None:
    """Raise DataError when a file is not valid YAML: DVC refuses all stages for one, or leaves that out."""
    if invalid := _invalid(root):
        raise invalid


def _invalid(root: Path) -> DataError | None:
    """Return what is wrong with the first broken file of those that DVC reads; None when all can be read."""
    for name in (".dvc/config", ".dvc/config.local"):
        try:
            _settings(root / name, name)
        except DataError as error:  # noqa: PERF203  the first is told
            return error
    for folder in (root, *layout.model_folders(root).glob("*/")):
        for name in ("dvc.yaml", "dvc.lock", "params.yaml"):
            file = folder / name
            try:
                if file.is_file():
                    read_yaml(file, file.relative_to(root).as_posix())
            except ConfigError as error:
                return DataError(error.problem, error.hint)
    return None


def _import_dvc() -> None:
    """Import DVC without what it does to this process's output.

    DVC has colorama wrap stdout and stderr. That takes colours out of what a training prints, and fails when it sets
    the title of its terminal.
    """
    if "dvc.ui" in sys.modules:
        return
    import dvc.ui
    from colorama import deinit

    del dvc
    deinit()


def _versions(root: Path, paths: Sequence[Path]) -> list[DataVersion | None]:
    with repository(root) as repo:
        return [_version(repo, root, path) for path in paths]


def _version(repo: Any, root: Path, path: Path) -> DataVersion | None:
    """Return the version of `path`, which may lie inside a folder that DVC tracks; None when DVC does not keep it."""
    from dvc.exceptions import OutputNotFoundError
    from dvc_data.index import StorageKeyError

    try:
        out = repo.find_outs_by_path(str(path), outs=repo.index.outs, strict=False)[0]
    except OutputNotFoundError:
        return None
    if not out.use_cache:
        return None
    relative = path.relative_to(root).as_posix()
    if not out.hash_info:
        raise DataError(f"DVC has not recorded a version of `{relative}` yet", _remake(root, out))
    if out.exists and out.changed_checksum():
        raise DataError(f"`{relative}` is not the version that DVC has recorded", _remake(root, out))
    try:
        index, entry = repo.get_data_index_entry(str(path))
        filesystem, address = index.storage_map.get_remote(entry)
    except OutputNotFoundError:
        raise DataError(f"there is no `{relative}` in the folder that DVC tracks", _remake(root, out)) from None
    except (StorageKeyError, ValueError):
        raise DataError("DVC has no remote to keep data in", "invoke dvc.init") from None
    return DataVersion(path=relative, url=filesystem.unstrip_protocol(address).removeprefix("file://"))


def _remake(root: Path, out: Any) -> str:
    """Return the command that records what is in the working tree."""
    stage = Path(out.stage.path).relative_to(root).as_posix()
    return f"dvc repro {stage}" if out.stage.cmd else f"dvc add {Path(out.fs_path).relative_to(root).as_posix()}"


def unpushed(versions: Sequence[DataVersion]) -> list[DataVersion]:
    """Return those of `versions` that the remote does not have, or may not have.

    DVC alone can ask a remote that is not a folder. It writes the list of a folder's files after them.
    """
    return [version for version in versions if not Path(version.url).exists()]


def push(root: Path, versions: Sequence[DataVersion]) -> None:
    """Send to the remote what it does not have yet of `versions`. Raises DataError when that fails."""
    paths = [version.path for version in unpushed(versions)]
    if paths:
        run(root, "push", "--quiet", *paths, doing=f"push {', '.join(f'`{path}`' for path in paths)}")


def fetch(root: Path, path: str, version: str) -> None:
    """Bring the version with this hash to `path`, from DVC's cache or its remote.

    Raises DataError when it is in neither.
    """
    import json

    target = root / path
    with repository(root) as repo:
        stores = [repo.cache.local, repo.cloud.get_remote_odb()]
        if not version.endswith(".dir"):
            _fetch_file(stores, version, target)
            return
        _fetch_file(stores, version, listed := target.with_name(f".{target.name}.dir"))
        for entry in json.loads(listed.read_text(encoding="utf-8")):
            _fetch_file(stores, entry["md5"], target / entry["relpath"])
        listed.unlink()


def _fetch_file(stores: Sequence[Any], version: str, target: Path) -> None:
    for store in stores:
        address = store.oid_to_path(version)
        if store.fs.exists(address):
            target.parent.mkdir(parents=True, exist_ok=True)
            store.fs.get(address, str(target))
            return
    raise DataError(f"the version {version} of `{target.name}` is not in DVC's remote", "dvc push, where it was made")


def record(root: Path, path: str) -> None:
    """Have DVC take what lies at `path` for the version that its stage made, or that was added."""
    with repository(root) as repo:
        (out, *_) = repo.find_outs_by_path(str(root / path), outs=repo.index.outs, strict=False)
        file, name = Path(out.stage.path).relative_to(root).as_posix(), getattr(out.stage, "name", None)
    address = f"{file}:{name}" if name else file
    run(root, "commit", "--quiet", "--force", address, doing=f"record `{path}`")


def commit(root: Path, addresses: Sequence[str]) -> None:
    """Have DVC take what lies in the working tree for what the stages at `addresses` made of their dependencies."""
    run(root, "commit", "--quiet", "--force", *addresses, doing=f"record {', '.join(f'`{one}`' for one in addresses)}")


def share_cache(root: Path, there: Path) -> None:
    """Let the repository at `there` have its data in the cache of that at `root`."""
    with repository(root) as repo:
        cache = repo.cache.local_cache_dir
    # Relative to `there`: DVC cannot write its config when a path in it is not ASCII.
    run(there, "cache", "dir", "--local", os.path.relpath(cache, there), doing="use the repository's DVC cache")


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
        check_files(root)
        words = [line for line in result.stderr.splitlines() if line.strip()]
        problem = next((line.removeprefix("ERROR: ") for line in words if line.startswith("ERROR")), "it failed")
        raise DataError(f"cannot {doing}: {problem}", f"dvc {shlex.join(arguments)}")
    return result.stdout


def stream(root: Path, *arguments: str, doing: str, **variables: str) -> None:
    """Run `dvc ARGUMENTS` in `root`, and let people follow what it says. Raises DataError when it fails.

    `variables` are added to the environment.

    All of it goes to stderr: it is not a task's result.
    """
    result = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=root,
        env={**_QUIET, **os.environ, **variables},
        stdout=2,
        check=False,
    )
    if result.returncode != 0:
        check_files(root)
        raise DataError(
            f"cannot {doing}: DVC ended with {result.returncode}, see above", f"dvc {shlex.join(arguments)}"
        )


def remote_url(config_file: Path, remote: str) -> str | None:
    """Return the url of `remote` in one of DVC's config files, or None when it has none there."""
    section = f"'remote \"{remote}\"'"
    url: str | None = _settings(config_file, str(config_file)).get(section, "url", raw=True, fallback=None)
    return url


def _settings(config_file: Path, where: str) -> Any:
    """Return what one of DVC's config files, which people know as `where`, holds. Raises DataError if it is broken."""
    import configparser

    parser = configparser.ConfigParser()
    try:
        with contextlib.suppress(FileNotFoundError):
            parser.read_string(read_text(config_file, where), source=where)
    except ConfigError as error:
        raise DataError(error.problem, error.hint) from None
    except configparser.Error as error:
        # Its further lines are those of the file, which may hold a password.
        line = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", ())), None)
        at = f" (line {line})" if line else ""
        raise DataError(f"`{where}` is broken: {str(error).splitlines()[0]}{at}", f"fix `{where}`") from None
    return parser
