"""edge.yaml, the file: found, read, checked, and edited without losing a comment.

It is found by walking up from the working directory, as git finds its own.
"""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from edge_tasks.domain.config import ENVIRONMENTS, FILE_NAME, TARGETS, EdgeConfig, ModelConfig, check_model
from edge_tasks.domain.yaml_errors import yaml_problem
from edge_tasks.errors import ConfigError
from edge_tasks.repo.glance import find
from edge_tasks.repo.text_files import read_text

if TYPE_CHECKING:
    from ruamel.yaml import YAML

TARGET_VARIABLE = "EDGE_TARGET"
ENVIRONMENTS_VARIABLE = "EDGE_LOCAL_ENVIRONMENTS"


def find_root(start: Path | None = None) -> Path:
    """Return the nearest folder at or above `start` (default: the working directory) that holds edge.yaml."""
    start = start or Path.cwd()
    if found := find(start):
        return found
    raise ConfigError(
        f"no `{FILE_NAME}` in `{start.resolve()}` or in a folder above it",
        "go into your repository, or make one: cookiecutter gh:fuzzylabs/vertex-edge",
    )


def load_config(root: Path, environ: Mapping[str, str] = os.environ) -> EdgeConfig:
    """Read and check ROOT/edge.yaml.

    The variable EDGE_TARGET overrides `target`, EDGE_LOCAL_ENVIRONMENTS `local.environments`.

    Raises ConfigError that names the file, the key, the value and what is wrong with it.
    """
    return config_with(root, {}, environ)


def config_with(root: Path, values: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> EdgeConfig:
    """Return the config as it would be with `values` (by dotted key) in edge.yaml, which is not changed.

    Raises ConfigError when one of them is not possible.
    """
    document = _read(root / FILE_NAME)
    override = environ.get(TARGET_VARIABLE)
    if override:
        if override not in TARGETS:
            raise ConfigError(
                f"the variable {TARGET_VARIABLE} is `{override}`, which is not a target", "use `local` or `gcp`"
            )
        if values.get("target", override) != override:
            raise ConfigError(
                f"the variable {TARGET_VARIABLE} is `{override}` and wins over edge.yaml", f"unset {TARGET_VARIABLE}"
            )
        document["target"] = override
    kind = environ.get(ENVIRONMENTS_VARIABLE)
    if kind:
        if kind not in ENVIRONMENTS:
            raise ConfigError(
                f"the variable {ENVIRONMENTS_VARIABLE} is `{kind}`, which environments cannot be",
                "use `shared` or `isolated`",
            )
        local = document.setdefault("local", {})
        if isinstance(local, dict):
            local["environments"] = kind
    _set(document, values)
    return _checked(document)


def _checked(document: Mapping[str, Any]) -> EdgeConfig:
    try:
        config = EdgeConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(*_explain(error)) from None
    for name, model in config.models.items():
        check_model(name, model)
    return config


def _yaml() -> YAML:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.representer.add_representer(type(None), _null)
    return yaml


def _null(representer: Any, _: None) -> Any:
    """Write `null` as people do; ruamel.yaml would leave the place empty."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _read(path: Path) -> dict[str, Any]:
    from ruamel.yaml.error import YAMLError

    try:
        text = read_text(path, FILE_NAME)
    except FileNotFoundError:
        raise ConfigError(f"there is no `{path}`", "invoke init, in the repository's folder") from None
    try:
        document = _yaml().load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"`{FILE_NAME}` is not valid YAML: {yaml_problem(error, text)}", f"fix `{path}`, then try again"
        ) from None
    if not isinstance(document, dict):
        raise ConfigError(
            f"`{FILE_NAME}` must hold keys and values",
            "git checkout edge.yaml; `invoke config.schema` lists what it holds",
        )
    return document


def _explain(error: ValidationError) -> tuple[str, str]:
    """Turn pydantic's first complaint into a fact and a hint; several complaints are counted."""
    complaints = error.errors(include_url=False)
    first = _misspelt(complaints) or complaints[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    kind = first["type"]
    if kind == "string_type" and first["loc"][-1] == "[key]":  # pydantic's word for a name; YAML made a number of it
        name = first["loc"][-2]
        return f"`{FILE_NAME}`: the key `{key.removesuffix('.[key]')}` must be a text{more}", f'write `"{name}":`'
    if kind == "missing":
        return f"`{FILE_NAME}`: the key `{key}` is missing{more}", f"add `{key}`"
    if kind == "extra_forbidden":
        known = _known_keys(first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        return (
            f"`{FILE_NAME}`: the key `{key}` is unknown{more}",
            f"did you mean `{near[0]}`?" if near else f"known keys here: {', '.join(known)}",
        )
    value = first.get("input")
    if value is None and kind.endswith("_type"):
        return f"`{FILE_NAME}`: the key `{key}` has no value{more}", f"write one behind `{first['loc'][-1]}:`"
    is_plain = isinstance(value, str | int | float | bool) and "secret" not in key
    shown = f"`{value}`" if is_plain else "its value"
    if kind == "value_error":
        return (
            f"`{FILE_NAME}`: {key}: {shown} {first['ctx']['error']}{more}",
            f"fix `{key}` in `{FILE_NAME}`",
        )
    if kind == "literal_error":
        return (
            f"`{FILE_NAME}`: {key} is {shown}{more}",
            f"use {first['ctx']['expected'].replace(chr(39), '`')}",
        )
    if kind in _MUST_BE and "secret" not in key:
        problem = f"`{FILE_NAME}`: {key} is {_kind_of(value)}; it must be {_MUST_BE[kind]}{more}"
        return problem, _written(kind, value, str(first["loc"][-1])) or f"fix `{key}` in `{FILE_NAME}`"
    complaint = first["msg"][0].lower() + first["msg"][1:]
    return f"`{FILE_NAME}`: {key} is {shown}: {complaint}{more}", f"fix `{key}` in `{FILE_NAME}`"


_LINES = "lines `NAME: VALUE`"
# By pydantic's word for what a value is not: https://docs.pydantic.dev/latest/errors/validation_errors/
_MUST_BE = {
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": _LINES,
    "model_type": _LINES,
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "`true` or `false`",
    "bool_type": "`true` or `false`",
}


def _kind_of(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "keys and values"
    return f"the text `{value}`" if isinstance(value, str) else f"`{str(value).lower()}`"


def _written(kind: str, value: Any, name: str) -> str | None:
    """Return how a value of the wrong type is to be written, where that can be told."""
    if kind == "list_type" and isinstance(value, str):
        return f"write `{name}: [{value}]`"
    if kind == "string_type" and isinstance(value, int | float):
        return f'write `{name}: "{value}"`'
    if _MUST_BE[kind] == _LINES:
        return f"write each below `{name}:`, further to the right; `invoke config.schema` lists what may stand there"
    return None


def _misspelt(complaints: Sequence[Any]) -> Any | None:
    """Return the complaint about an unknown key that is meant for one that is missing, if there is one."""
    missing = {complaint["loc"] for complaint in complaints if complaint["type"] == "missing"}
    for complaint in complaints:
        if complaint["type"] == "extra_forbidden":
            *place, word = complaint["loc"]
            near = difflib.get_close_matches(str(word), _known_keys(tuple(place)), n=1)
            if near and (*place, near[0]) in missing:
                return complaint
    return None


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that edge.yaml may have at `location` (the path of keys above them)."""
    section: type[BaseModel] = EdgeConfig
    if location[:1] == ("models",):
        section, location = ModelConfig, location[2:]
    for part in location:
        annotation = section.model_fields[str(part)].annotation
        if not isinstance(annotation, type) or not issubclass(annotation, BaseModel):
            return []
        section = annotation
    return list(section.model_fields)


def changed(root: Path, values: Mapping[str, str]) -> dict[str, str]:
    """Return those of `values` (by dotted key) that edge.yaml does not hold."""
    document = _read(root / FILE_NAME)
    return {key: value for key, value in values.items() if _get(document, key) != value}


def set_values(root: Path, values: Mapping[str, str]) -> None:
    """Write `values` (by dotted key) into edge.yaml; comments, order and everything else stay as they are."""
    config_with(root, values)
    path = root / FILE_NAME
    yaml = _yaml()
    document = yaml.load(path.read_text(encoding="utf-8"))
    _set(document, values)
    _write(path, yaml, document)


def _get(document: dict[str, Any], key: str) -> Any:
    value: Any = document
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _set(document: dict[str, Any], values: Mapping[str, str]) -> None:
    for key, value in values.items():
        *sections, last = key.split(".")
        section: Any = document
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value


def add_model(root: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Add the model `name` with `settings` to edge.yaml; comments, order and everything else stay as they are."""
    path = root / FILE_NAME
    yaml = _yaml()
    document = yaml.load(path.read_text(encoding="utf-8"))
    models = document.get("models")
    if models is None:
        document["models"] = models = {}
    if name in models:
        raise ConfigError(f"`{FILE_NAME}` already has a model `{name}`", "choose another name")
    models[name] = dict(settings)
    _write(path, yaml, document)


def rename_model(root: Path, old: str, new: str, settings: Mapping[str, Any]) -> None:
    """Let the model `old` be called `new`, with `settings` changed; its place, comments and the rest stay.

    Its name may have been changed before: then only the settings are.
    """
    path = root / FILE_NAME
    yaml = _yaml()
    document = yaml.load(path.read_text(encoding="utf-8"))
    models = document["models"]
    if old in models:
        place = list(models).index(old)
        comments = models.ca.items.pop(old, None)
        models.insert(place, new, models.pop(old))
        if comments is not None:
            models.ca.items[new] = comments
    models[new].update(settings)
    _write(path, yaml, document)


def remove_model(root: Path, name: str) -> None:
    """Take the model `name` out of edge.yaml, if it is there; the rest stays as it is."""
    path = root / FILE_NAME
    yaml = _yaml()
    document = yaml.load(path.read_text(encoding="utf-8"))
    models = document.get("models") or {}
    if name not in models:
        return
    if len(models) == 1:
        document["models"] = {}
    else:
        del models[name]
    _write(path, yaml, document)


def _write(path: Path, yaml: YAML, document: Any) -> None:
    from edge_tasks.repo.files import write_atomically

    stream = io.StringIO()
    yaml.dump(document, stream)
    write_atomically(path, stream.getvalue().encode())
