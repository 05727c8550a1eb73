"""What is shown instead of invoke's own help: a short start, the tasks in groups, and one task with its flags."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext
from invoke.tasks import Task

from edge_tasks import __version__
from edge_tasks.tasks._command_line import optional_positional
from edge_tasks.tasks._groups import grouped

# Lines longer than this are hard to read, however wide the terminal is.
_WIDEST = 100
_INDENT = "  "

_LOOP = (
    ("{program} init", "set the repository up; can be run again"),
    ("dvc repro", "train what has changed"),
    ("{program} model.deploy", "serve the model"),
    ("./test_endpoint.sh", "ask it for predictions"),
    ("{program} model.list", "what is trained, and what serves"),
    ("{program} experiments.list", "the recorded runs"),
    ("{program} doctor", "what is missing or broken, and how to fix it"),
)


def start(program: str) -> str:
    """Return the screen of a bare `invoke` or `edge`."""
    from edge_tasks.repo.glance import find, glance

    here = glance(Path.cwd())
    if here is None and find(Path.cwd()):
        about = "an edge.yaml that cannot be read"
        rows = [(f"{program} config.show", "what is wrong with it")]
    elif here is None:
        about = "no edge.yaml here, so not a repository of vertex:edge"
        rows = [("cookiecutter gh:fuzzylabs/vertex-edge", "make one")]
    else:
        models = ", ".join(here.models) or "none"
        about = f"target {here.target}, models: {models}"
        rows = [(command.format(program=program), said) for command, said in _LOOP]
    lines = [
        *textwrap.wrap(f"vertex:edge {__version__}, {about}", _width(), subsequent_indent=_INDENT),
        "",
        *_columns(rows),
        "",
        f"All tasks: {program} --list",
        f"One task: {program} model.deploy --help",
        f"Tab completion: source <({program} --print-completion-script bash)",
    ]
    return "\n".join(lines)


def task_list(collection: Collection, of: str = "") -> str:
    """Return all tasks of `collection`, each with its first line, in the groups in which people look for them.

    With `of`, the name of a collection in it, return those whose names begin with that.
    """
    lines = []
    chosen = [name for name in collection.task_names if not of or name.startswith(f"{of}.")]
    longest = max(len(name) for name in chosen)
    for title, names in grouped(chosen).items():
        rows = [(name.ljust(longest), _first_line(collection[name])) for name in names]
        lines += [title, *_columns(rows), ""]
    return "\n".join(lines[:-1])


def task_help(context: ParserContext, task: Task[Any], program: str) -> str:
    """Return one task in full: how it is typed, what it does, and every flag."""
    positional = [f"{_name(argument).upper()}" for argument in context.positional_args]
    rows = [(_name(argument).upper(), argument.help or "") for argument in context.positional_args]
    if optional := optional_positional(context):
        positional.append(f"[{_name(optional).upper()}]")
    flags = [argument for argument in _each_once(context) if argument not in context.positional_args]
    rows += [(_spelled(argument), _said(argument)) for argument in flags if not _is_old(argument)]
    usage = " ".join([f"Usage: {program} {context.name}", *positional, *(["[FLAGS]"] if flags else [])])
    lines = [usage, "", *wrapped(inspect.getdoc(task) or "")]
    if rows:
        lines += ["", *_columns(rows)]
    return "\n".join(lines)


def _each_once(context: ParserContext) -> list[Argument]:
    return list(dict.fromkeys(context.args.values()))


def _is_old(argument: Argument) -> bool:
    return str(argument.help).startswith("the old name of")


def _name(argument: Argument) -> str:
    return str(argument.name).strip("_").replace("_", "-")


def _spelled(argument: Argument) -> str:
    """Return the flags of an argument, and what they take."""
    value = {bool: "", int: " NUMBER", float: " NUMBER"}.get(argument.kind, " TEXT")
    if argument.kind is bool and argument.default is True:
        return f"    --no-{_name(argument)}"
    short = next((f"-{name}, " for name in argument.names if len(name) == 1), "    ")
    return f"{short}--{_name(argument)}{value}"


def _said(argument: Argument) -> str:
    help_text = argument.help or ""
    if argument.kind is bool or argument.default in (None, "", [], 0, -1) or "default" in help_text:
        return help_text
    return f"{help_text} (default {argument.default})"


def _first_line(task: Task[Any]) -> str:
    return (inspect.getdoc(task) or "").partition("\n")[0]


def wrapped(text: str) -> Iterator[str]:
    """Yield the lines of paragraphs, no wider than the terminal; what is indented stays as it is."""
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ""
        if paragraph.startswith("    "):
            yield paragraph.rstrip()
        else:
            yield from textwrap.wrap(" ".join(paragraph.split()), _width(), break_on_hyphens=False)


def _columns(rows: Sequence[tuple[str, str]]) -> Iterable[str]:
    """Yield two columns; the second is wrapped next to the first."""
    first = max(len(left) for left, _ in rows) + 2
    width = max(20, _width() - len(_INDENT) - first)
    for left, right in rows:
        parts = textwrap.wrap(right, width, break_on_hyphens=False) or [""]
        for number, part in enumerate(parts):
            yield f"{_INDENT}{(left if not number else '').ljust(first)}{part}".rstrip()


def _width() -> int:
    return min(_WIDEST, shutil.get_terminal_size().columns)
