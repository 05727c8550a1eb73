"""tune.yaml next to a model's params.yaml, read and checked; see `edge_tasks.domain.search_space` for what it holds."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_tasks.domain.search_space import Ranges, SearchSpace, is_number
from edge_tasks.errors import ConfigError
from edge_tasks.repo.text_files import read_yaml

FILE_NAME = "tune.yaml"


def read_ranges(model_folder: Path, parameters: Mapping[str, Any]) -> Ranges:
    """Read MODEL_FOLDER/tune.yaml; `parameters` are the values of params.yaml, each of which it may name.

    Raises ConfigError that tells what is wrong, or how to write the file when there is none.
    """
    where = f"models/{model_folder.name}/{FILE_NAME}"
    try:
        document = read_yaml(model_folder / FILE_NAME, where)
        file = SearchSpace.model_validate(document)
    except FileNotFoundError:
        metric = next(iter(_metrics(model_folder)), "accuracy")
        raise ConfigError(
            f"there is no `{where}`, which says what to try",
            f"write it, with lines such as\n\nmetric: {metric}\ngoal: maximize\nparameters:\n  {_line(parameters)}",
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"] if part not in ("bool", "int", "float", "str"))
        words = str(first["ctx"]["error"]) if first["type"] == "value_error" else first["msg"]
        raise ConfigError(f"`{where}`: `{key}`: {words[0].lower()}{words[1:]}", f"fix `{where}`") from None
    for name in file.parameters:
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=1)
            raise ConfigError(
                f"`{where}` names `{name}`, which is not in params.yaml",
                f"did you mean `{near[0]}`?" if near else f"add `{name}` with its usual value to params.yaml",
            )
    types = {name: parameter.kind(parameters[name]) for name, parameter in file.parameters.items()}
    return Ranges(file.metric, file.goal == "maximize", file.parameters, types)


def _metrics(model_folder: Path) -> list[str]:
    """Return the names of the model's last metrics; none before its first training."""
    try:
        found = json.loads((model_folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [name for name, value in found.items() if is_number(value)] if isinstance(found, dict) else []


def _line(parameters: Mapping[str, Any]) -> str:
    """Return a line that searches one of the parameters: a number, else a word."""
    for name, value in parameters.items():
        if is_number(value):
            return _example(name, value)
    words = ((name, value) for name, value in parameters.items() if isinstance(value, str) and name != "model_name")
    return next((f"{name}: {{values: [{value}, OTHER]}}" for name, value in words), _example("C", 1.0))


def _example(name: str, value: float) -> str:
    """Return a line with a range around the value that a parameter has, of its type."""
    if isinstance(value, int):
        least, greatest = sorted((value // 2, value * 2)) if value else (0, 10)
        return f"{name}: {{min: {least}, max: {greatest}}}"
    if value <= 0:
        return f"{name}: {{min: {value - 1:g}, max: {value + 1:g}}}"
    return f"{name}: {{min: {value / 10:g}, max: {value * 10:g}, scale: log}}"
