"""A model's params.yaml: read, and changed without losing a comment."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_tasks.errors import ConfigError
from edge_tasks.repo.files import write_atomically
from edge_tasks.repo.text_files import read_yaml

FILE_NAME = "params.yaml"


def read_parameters(model_folder: Path) -> dict[str, Any]:
    """Return the parameters in MODEL_FOLDER/params.yaml; none without such a file. Raises ConfigError when broken."""
    where = f"models/{model_folder.name}/{FILE_NAME}"
    try:
        document = read_yaml(model_folder / FILE_NAME, where)
    except FileNotFoundError:
        return {}
    if not isinstance(document, dict | None):
        raise ConfigError(f"`{where}` must hold names and values", f"fix `{where}`: lines such as `C: 10`")
    return {str(name): value for name, value in (document or {}).items()}


def write_parameters(model_folder: Path, values: Mapping[str, Any]) -> None:
    """Change the values of some parameters in MODEL_FOLDER/params.yaml; everything else stays as it is."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    path = model_folder / FILE_NAME
    document = yaml.load(path.read_text(encoding="utf-8"))
    document.update(values)
    stream = io.StringIO()
    yaml.dump(document, stream)
    write_atomically(path, stream.getvalue().encode())
