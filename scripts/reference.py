"""Print docs/reference.md from the code: tasks with their options, keys of edge.yaml, and what train.py imports."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from typing import Any

from invoke.parser.context import ParserContext

import edge_tasks.training
import edge_tasks.training.sklearn
from edge_tasks.domain.config import json_schema
from edge_tasks.tasks import namespace

HEAD = """\
# Reference

Written by `make reference` from the tasks, from edge.yaml's schema, and from what `edge_tasks.training` holds.

## Tasks

`invoke NAME` in a generated repository; `edge NAME` is the same. Results go to stdout, everything else to stderr; the
exit status is 1 after an error and 130 after Ctrl-C. A task that takes a model understands both `--name` and `--model`.
"""

SETTINGS = """
## edge.yaml

`invoke config.show` prints all keys as the tasks see them, and `invoke config.schema` the JSON Schema, for
editors. The variable `EDGE_TARGET` overrides `target`, and `EDGE_LOCAL_ENVIRONMENTS` overrides `local.environments`.
"""


TRAINING = """
## train.py
"""


def training() -> Iterator[str]:
    """Yield the section of each name that a train.py may import, with its signature and its documentation."""
    names = [(edge_tasks.training, name) for name in edge_tasks.training.__all__]
    for module, name in [*names, (edge_tasks.training.sklearn, "save_results")]:
        what = getattr(module, name)
        yield f"\n### {module.__name__}.{name}\n"
        if not inspect.isclass(what):
            signature = str(inspect.signature(what)).replace("'", "")
            yield f"```python\n{name}{signature}\n```\n"
        yield str(inspect.getdoc(what))
        if inspect.isclass(what):
            yield "\n| | |\n|---|---|"
            fields = {one.name: one for one in dataclasses.fields(what)} if dataclasses.is_dataclass(what) else {}
            for field in fields.values():
                yield f"| `{field.name}` | {field.type}, by default `{field.default!r}` |"
            for member, value in vars(what).items():
                if not member.startswith("_") and member not in fields:
                    call = "()" if callable(value) else ""
                    yield f"| `{member}{call}` | {cell(inspect.getdoc(getattr(what, member)))} |"


def tasks() -> Iterator[str]:
    """Yield the section of each task: what it does, its arguments and its flags."""
    for context in sorted(namespace.to_contexts(), key=lambda context: str(context.name)):
        task = namespace[str(context.name)]
        yield f"\n### {context.name}\n"
        yield f"{' '.join(str(inspect.getdoc(task)).split())}\n"
        rows = list(options(context))
        if rows:
            yield "| option | default | what it is |\n|---|---|---|"
            yield from rows


def options(context: ParserContext) -> Iterator[str]:
    """Yield a row for each argument of a task, those without a flag first."""
    positional = set(context.positional_args)
    for argument in sorted(context.args.values(), key=lambda argument: argument not in positional):
        if argument in positional:
            yield f"| `{str(argument.name).upper()}` | | {cell(argument.help)} |"
            continue
        flag = f"--{str(argument.name).strip('_').replace('_', '-')}"
        if argument.kind is bool and argument.default is True:
            yield f"| `--no-{flag[2:]}` | | {cell(argument.help)} |"
        elif argument.kind is bool:
            yield f"| `{flag}` | | {cell(argument.help)} |"
        else:
            value = {str: "TEXT", int: "NUMBER", float: "NUMBER", list: "TEXT (repeatable)"}[argument.kind]
            default = "" if argument.default in (None, []) else f"`{argument.default}`"
            yield f"| `{flag} {value}` | {default} | {cell(argument.help)} |"


def settings() -> Iterator[str]:
    """Yield a table for each section of edge.yaml."""
    schema = json_schema()
    definitions = schema["$defs"]
    named = {name: reference(part) for name, part in schema["properties"].items()}
    sections = {"": schema, **{name: definitions[definition] for name, definition in named.items() if definition}}
    sections["models.NAME"] = model = definitions["ModelConfig"]
    inner = {name: reference(part) for name, part in model["properties"].items()}
    sections |= {f"models.NAME.{name}": definitions[definition] for name, definition in inner.items() if definition}
    for name, section in sections.items():
        yield f"\n### {name or 'At the top'}\n"
        if section.get("description") and name:
            yield f"{section['description']}\n"
        yield "| key | type | default | what it is |\n|---|---|---|---|"
        for key, part in section["properties"].items():
            if not reference(part) and key != "models":
                needed = key in section.get("required", [])
                shown = "must be there" if needed else default(part)
                yield f"| `{key}` | {kind(part)} | {shown} | {cell(part.get('description'))} |"
        if not name:
            yield "| `models` | a section for each model | none | see models.NAME |"


def reference(part: dict[str, Any]) -> str | None:
    """Return the name of the section that a key holds, or None when it holds a value."""
    found = part.get("$ref") or next((each["$ref"] for each in part.get("allOf", []) if "$ref" in each), None)
    return str(found).rpartition("/")[2] if found else None


def kind(part: dict[str, Any]) -> str:
    """Return the type of a value, in words."""
    if "enum" in part:
        return " or ".join(f"`{value}`" for value in part["enum"])
    if "anyOf" in part:
        return " or ".join(kind(each) for each in part["anyOf"])
    if part.get("type") == "array":
        return f"list of {kind(part['items'])}"
    names = {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "keys and values"}
    return names.get(str(part.get("type")), str(part.get("type")))


def default(part: dict[str, Any]) -> str:
    """Return a value's default as edge.yaml would have it."""
    if "default" not in part:  # made for each file again, as lists and sections are
        return "none"
    shown = {None: "null", True: "true", False: "false"}
    value = part["default"]
    return f"`{shown[value] if value is None or isinstance(value, bool) else value}`"


def cell(text: str | None) -> str:
    """Return `text` so that it stays in its cell of a table."""
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> None:
    """Print the page."""
    lines = [HEAD.rstrip(), *tasks(), SETTINGS.rstrip(), *settings(), TRAINING.rstrip(), *training()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
