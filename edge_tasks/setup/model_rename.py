"""Giving a model another name: the shared state first, then its folder, dvc.yaml and edge.yaml.

A rename that was cut off, or that somebody did in part by hand, is finished by the same command. What serves is not
interrupted, and its endpoint keeps its id. Registered versions and recorded runs keep the old name.
"""

from __future__ import annotations

import re
from pathlib import Path

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig, check_model_name
from edge_tasks.domain.progress import Progress
from edge_tasks.errors import ConfigError
from edge_tasks.models.report import rename_model_in_report, reported_models
from edge_tasks.repo import edge_yaml, layout, model_folders
from edge_tasks.repo.files import write_atomically
from edge_tasks.repo.payloads import FILE_NAME as PAYLOAD_FILE
from edge_tasks.setup import code_link

_TEXT_FILES = (".py", ".yaml", ".yml", ".md", ".json", ".toml", ".txt")


def rename_model(
    root: Path, config: EdgeConfig, cloud: Cloud, old: str, new: str, progress: Progress, lock_timeout: float
) -> list[str]:
    """Rename the model `old`; return the files in its folder in which the old name stands still, from the root.

    Raises ConfigError, before anything is changed, when there is no such model, one called `new` already, or a
    dvc.yaml that cannot be read.
    """
    check_model_name(new)
    reported_models(root)
    before, after = layout.model_folder(root, old), layout.model_folder(root, new)
    in_part = _is_done_in_part(config, old, new, before, after)
    if not in_part:
        config.model(old)
    if (new in config.models and not in_part) or (before.exists() and after.exists()):
        raise ConfigError(f"there is a model `{new}` already", "choose another name, or remove that one first")
    if not before.exists() and not after.exists():
        raise ConfigError(
            f"edge.yaml names the model `{old}`, but there is no folder models/{old}",
            f"git checkout models/{old}, or invoke model.delete {old}",
        )
    with StateStore(cloud).locked(lock_timeout, progress.step) as locked:
        # Both are there when somebody else used the new name; a rename that was cut off has left the new one alone.
        if old in locked.state.models and new in locked.state.models:
            raise ConfigError(f"the shared state knows a model `{new}` already", f"invoke model.delete {new}")
        serves = locked.state.model(old if old in locked.state.models else new).endpoint is not None
        if old in locked.state.models:
            progress.step(f"rename `{old}` in the shared state")
            locked.save(locked.state.with_renamed(old, new))
        if before.exists():
            progress.step(f"rename models/{old} to models/{new}")
            before.rename(after)
        _rename_inside(after, old, new)
        code_link.make(root)
        rename_model_in_report(root, old, new)
        _lead_payload(root, old, new)
        settings = config.models[new if in_part else old]
        own = not serves and settings.endpoint_name == f"{old}-endpoint"
        edge_yaml.rename_model(root, old, new, {"endpoint_name": f"{new}-endpoint"} if own else {})
    return _mentions(root, after, old)


def _is_done_in_part(config: EdgeConfig, old: str, new: str, before: Path, after: Path) -> bool:
    """Say whether edge.yaml has the new name already, while the folder, or what is in it, has the old one still."""
    if old in config.models or new not in config.models or before.exists() == after.exists():
        return False
    return before.exists() or model_folders.named_in(after) == old


def _rename_inside(folder: Path, old: str, new: str) -> None:
    """Write the new name where it decides what is trained, and what DVC depends on; nothing else is touched."""
    name = re.escape(old)
    for path in sorted(folder.glob("*.py")):
        _replace(path, model_folders.in_script(name), rf"\g<1>{new}\g<3>")
    _replace(folder / "dvc.yaml", model_folders.in_pipeline(name), rf"\g<1>{new}")
    _replace(folder / "params.yaml", re.compile(rf"(?m)^(model_name:\s*){name}$"), rf"\g<1>{new}")


def _replace(path: Path, pattern: re.Pattern[str], replacement: str) -> None:
    text = _text(path)
    changed = pattern.sub(replacement, text)
    if changed != text:
        write_atomically(path, changed.encode())


def _text(path: Path) -> str:
    """Return the text of a file; an empty one where there is none in UTF-8, and so no name to change."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _lead_payload(root: Path, old: str, new: str) -> None:
    """Lead the link `test_payload.json` at the root to the folder's new name, if it leads to the old one."""
    link = root / PAYLOAD_FILE
    target = layout.model_folder(root, old) / PAYLOAD_FILE
    if link.is_symlink() and link.parent / link.readlink() == target:
        link.unlink()
        link.symlink_to((layout.model_folder(root, new) / PAYLOAD_FILE).relative_to(root))


def _mentions(root: Path, folder: Path, name: str) -> list[str]:
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    texts = (path for path in sorted(folder.glob("*")) if path.suffix in _TEXT_FILES and path.is_file())
    return [path.relative_to(root).as_posix() for path in texts if word.search(_text(path))]
