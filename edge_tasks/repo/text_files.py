"""Text files that people edit: read, with what is wrong with them said in one line."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from edge_tasks.domain.yaml_errors import yaml_problem
from edge_tasks.errors import ConfigError, disk_refusal

# What git writes where both sides of a merge have changed the same lines.
_BOTH_SIDES = re.compile(r"^<{7} .*?^>{7} ", re.MULTILINE | re.DOTALL)
BOTH_SIDES_HINT = "git status lists all such files; keep one side in each, then git add"


def read_text(path: Path, where: str) -> str:
    """Return the text of the file at `path`, which people know as `where`.

    Raises FileNotFoundError, whose meaning only the caller knows, and ConfigError for a file that cannot be read, or
    that git could not merge.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        hint = refusal.hint if (refusal := disk_refusal(error)) else None
        raise ConfigError(f"`{where}` cannot be read: {error.strerror}", hint) from None
    except UnicodeDecodeError:
        raise ConfigError(f"`{where}` cannot be read: it is not UTF-8 text", f"save `{where}` as UTF-8") from None
    check_merged(text, where)
    return text


def check_merged(text: str, where: str) -> None:
    """Raise ConfigError when `text`, that of the file `where`, still holds both sides of a merge, with git's marks."""
    if found := _BOTH_SIDES.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ConfigError(
            f"`{where}` holds both sides of a git merge (line {line})",
            BOTH_SIDES_HINT,
        )


def read_yaml(path: Path, where: str) -> Any:
    """Return what the YAML file at `path` holds; see `read_text`. Raises ConfigError when it is not YAML."""
    text = read_text(path, where)
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"`{where}` is not valid YAML: {error}", f"fix `{where}`") from None


def parse_yaml(text: str) -> Any:
    """Return what a text of YAML holds. Raises ValueError, with what is wrong and where in one line."""
    import yaml

    try:
        return yaml.load(text, _loader())  # noqa: S506  a safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(yaml_problem(error, text)) from None


@functools.cache
def _loader() -> Any:
    """Return PyYAML's safe loader, which here says where a value stands that it cannot make, or that holds itself."""
    from yaml import AliasEvent, CollectionNode, SafeLoader
    from yaml.composer import ComposerError
    from yaml.constructor import ConstructorError

    class Loader(SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            node = super().compose_node(parent, index)
            # What an alias names has no end yet where it stands inside of that.
            if isinstance(event, AliasEvent) and isinstance(node, CollectionNode) and node.end_mark is None:
                mark: Any = event.start_mark
                raise ComposerError(None, None, f"`*{event.anchor}` stands inside of what it names", mark)
            return node

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            try:
                return super().construct_object(node, deep)
            except ValueError as error:
                raise ConstructorError(None, None, str(error), node.start_mark) from None

    return Loader
