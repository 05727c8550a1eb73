"""Taking a model out of the repository, the reverse of `model.init`: first what is in the cloud, then its files.

edge.yaml comes last, so that a deletion that was cut off is done again by the same command.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.errors import ConfigError
from edge_tasks.models.report import remove_model_from_report, reported_models
from edge_tasks.releases import operations
from edge_tasks.releases.plan import Release
from edge_tasks.repo import edge_yaml, layout
from edge_tasks.repo.payloads import FILE_NAME as PAYLOAD_FILE
from edge_tasks.tools import dvc


def check(root: Path, config: EdgeConfig, name: str) -> None:
    """Raise ConfigError when there is nothing of a model `name`, or dvc.yaml cannot be read.

    Somebody may have removed a part of the model by hand.
    """
    reported = reported_models(root)
    if name not in (*config.models, *reported) and not _folder(root, name).is_dir():
        config.model(name)


def delete_model(release: Release) -> list[str]:
    """Delete the model: its endpoint, its registered versions, its folder, and its places in dvc.yaml and edge.yaml.

    Returns the data that its stages made and that stay, since other models may use them. With `dry_run` it only tells.
    """
    root, name, progress = release.root, release.name, release.progress
    check(root, release.config, name)
    folder = _folder(root, name)
    made = [path for path in dvc.stage_outputs(folder) if not path.is_relative_to(folder) and path.exists()]
    operations.remove(release)
    would = "would delete" if release.options.dry_run else "delete"
    progress.step(f"{would} models/{name}, and `{name}` in dvc.yaml and edge.yaml")
    if not release.options.dry_run:
        remove_model_from_report(root, name)
        link = root / PAYLOAD_FILE
        if link.is_symlink() and (link.parent / link.readlink()).parent == folder:
            link.unlink()
        shutil.rmtree(layout.try_folder(root, name), ignore_errors=True)
        if folder.exists():
            shutil.rmtree(folder)
        edge_yaml.remove_model(root, name)
    return [path.relative_to(root).as_posix() for path in made]


def _folder(root: Path, name: str) -> Path:
    folder = layout.model_folder(root, name)
    if folder.parent != layout.model_folders(root):
        raise ConfigError(f"`{name}` is not the name of a model", "invoke model.list")
    return folder
