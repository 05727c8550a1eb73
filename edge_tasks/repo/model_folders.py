"""Whether the models of edge.yaml and the folders in models/ agree, and what to say when somebody changed one alone."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from edge_tasks.domain.config import MODEL_NAME, EdgeConfig
from edge_tasks.errors import ConfigError
from edge_tasks.repo import layout

_SCRIPT = "train.py"

# Where the name of a model stands in the files of its folder, between the first group and the last.
_NAME = r"[a-z][a-z0-9-]*"


def in_script(name: str = _NAME) -> re.Pattern[str]:
    """Return where a train.py names the model `name`, a pattern; any model by default."""
    return re.compile(rf"(\bmodel_name\s*(?::\s*str\s*)?=\s*[\"'])({name})([\"'])")


def in_pipeline(name: str = _NAME) -> re.Pattern[str]:
    """Return where a model's dvc.yaml names the model `name`, a pattern; any model by default."""
    return re.compile(rf"(\.code/)({name})(?=([/\s\"']|$))")


def named_in(folder: Path) -> str | None:
    """Return the model that train.py and dvc.yaml in `folder` are of: another one's name if one of them has it.

    None where they do not say so; they may name others in addition.
    """
    found = [_named_in(folder, _SCRIPT, in_script()), _named_in(folder, "dvc.yaml", in_pipeline())]
    return next((name for name in found if name not in (None, folder.name)), next(filter(None, found), None))


def _named_in(folder: Path, file: str, pattern: re.Pattern[str]) -> str | None:
    try:
        names = {match[2] for match in pattern.finditer((folder / file).read_text(encoding="utf-8"))}
    except (OSError, UnicodeDecodeError):
        return None
    if folder.name in names:
        return folder.name
    return names.pop() if len(names) == 1 else None


def unlisted(root: Path, config: EdgeConfig) -> list[str]:
    """Return the names of the folders in models/ that hold a train.py and that edge.yaml does not name."""
    found = layout.model_folders(root).glob(f"*/{_SCRIPT}")
    return sorted(path.parent.name for path in found if path.parent.name not in config.models)


def missing(root: Path, config: EdgeConfig) -> list[str]:
    """Return the names of edge.yaml's models that have no folder."""
    return [name for name in config.models if not layout.model_folder(root, name).is_dir()]


def check_folder(root: Path, config: EdgeConfig, name: str) -> None:
    """Raise ConfigError when the model `name` of edge.yaml has no folder."""
    if layout.model_folder(root, name).is_dir():
        return
    others = [each for each in unlisted(root, config) if MODEL_NAME.fullmatch(each)]
    near = difflib.get_close_matches(name, others, n=1) or others[:1]
    renamed = ""
    if near:
        # Either the folder was renamed, or edge.yaml was changed.
        old, new = (near[0], name) if named_in(layout.model_folder(root, near[0])) == near[0] else (name, near[0])
        renamed = f"when models/{near[0]} is it, and {new} its new name: invoke model.rename {old} {new}; else "
    raise ConfigError(
        f"edge.yaml names the model `{name}`, but there is no folder models/{name}",
        f"{renamed}git checkout models/{name}, or invoke model.delete {name}",
    )


def check_named(root: Path, config: EdgeConfig, name: str) -> None:
    """Raise ConfigError when there is a folder of the model `name`, but edge.yaml does not name it."""
    if name in config.models or not layout.model_folder(root, name).is_dir():
        return
    gone = missing(root, config)
    renamed = f"when `{gone[0]}` is its new name: invoke model.rename {name} {gone[0]}; else " if gone else ""
    raise ConfigError(
        f"there is a folder models/{name}, but edge.yaml does not name the model `{name}`",
        f"{renamed}add it under `models` in edge.yaml, with its own `endpoint_name`, or invoke model.delete {name}",
    )


def check_inside(root: Path, name: str) -> None:
    """Raise ConfigError when the files in the folder of the model `name` name another one: it was renamed or copied."""
    other = named_in(layout.model_folder(root, name))
    if other in (None, name):
        return
    copied = layout.model_folder(root, str(other)).is_dir()
    raise ConfigError(
        f"the files in models/{name} name the model `{other}`",
        f"write `{name}` for it in train.py and dvc.yaml" if copied else f"invoke model.rename {other} {name}",
    )
