"""Text files that people edit: read, with what is wrong with them said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_tasks.errors import ConfigError


def read_text(path: Path, where: str) -> str:
    """Return the text of the file at `path`, which people know as `where`.

    Raises FileNotFoundError, whose meaning only the caller knows, and ConfigError for a file that cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"`{where}` cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"`{where}` cannot be read: it is not UTF-8 text", f"save `{where}` as UTF-8") from None


def read_yaml(path: Path, where: str) -> Any:
    """Return what the YAML file at `path` holds; see `read_text`. Raises ConfigError when it is not YAML."""
    import yaml

    try:
        return yaml.safe_load(read_text(path, where))
    except yaml.YAMLError as error:
        raise ConfigError(f"`{where}` is not valid YAML: {yaml_problem(error)}", f"fix `{where}`") from None


def yaml_problem(error: Exception) -> str:
    """Return in one line what PyYAML or ruamel.yaml says of a file, and where in it."""
    problem = str(getattr(error, "problem", None) or str(error).splitlines()[0])
    if "'\\t'" in problem:
        problem = "a tab, where only spaces may stand"
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else problem
