"""What the shell offers after Tab: tasks and flags, and also names of models, ids of runs, and words that flags take.

Nothing is started, changed or said for it: what cannot be found out at once is not offered.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext, to_flag

from edge_tasks.tasks._command_line import argument_of, optional_positional

# The words that a flag takes, whichever task it is of.
_WORDS = {
    "target": ("local", "gcp"),
    "on_interrupt": ("ask", "cancel", "leave"),
    "status": ("queued", "running", "completed", "failed", "interrupted", "died"),
    "ci": ("circleci", "github"),
}
_NEWEST_RUNS = 50


def candidates(line: str, contexts: Mapping[str, ParserContext], core: ParserContext) -> list[str]:
    """Return what may follow, or complete the last word of, `line`; the shell takes those that begin as it does."""
    words = _split(line)[1:]  # the first is the program
    before, last = words[:-1], words[-1] if words else ""
    call = next((contexts[word] for word in reversed(before) if word in contexts), None)
    if last in contexts:
        # With the cursor right behind it the word may be unfinished; behind a space comes what the task takes.
        longer = [name for name in contexts if name.startswith(last)]
        return [*longer, *_positional(contexts[last], [])]
    flag = argument_of(call, last) or argument_of(core, last) if call else argument_of(core, last)
    if flag is not None and flag.takes_value:
        return _values(call, flag) if call else []
    if before and call is not None and (waiting := argument_of(call, before[-1])) is not None and waiting.takes_value:
        return _values(call, waiting)
    if last.startswith("-"):
        return _flags(call or core, short=last == "-")
    names = [] if call is None else _positional(call, before)
    return names if any(name.startswith(last) for name in names) and last else [*names, *contexts]


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a quotation mark that is not closed yet
        return line.split()


def _flags(call: ParserContext, short: bool) -> list[str]:
    """Return the flags as people type them: of a switch that is on, the one that turns it off."""
    found = list(call.inverse_flags)
    for argument in dict.fromkeys(call.args.values()):
        on = argument.kind is bool and argument.default is True
        if not on and not str(argument.help).startswith("the old name of"):
            found += [to_flag(name) for name in argument.names if short or len(name) > 1]
    return sorted(found)


def _positional(call: ParserContext, before: Iterable[str]) -> list[str]:
    """Return the values of the argument of `call` that needs no flag."""
    given = {argument_of(call, word.partition("=")[0]) for word in before if word.startswith("-")}
    arguments = [argument for argument in call.positional_args if argument not in given]
    optional = optional_positional(call)
    if not arguments and optional is not None and optional not in given:
        arguments = [optional]
    return _values(call, arguments[0]) if arguments else []


def _values(call: ParserContext, argument: Argument) -> list[str]:
    name = str(argument.name)
    if name in _WORDS:
        return list(_WORDS[name])
    found = _FOUND.get(f"{call.name}:{name}") or _FOUND.get(name)
    if found is None:
        return []
    with contextlib.suppress(Exception):  # a broken edge.yaml, no network: the shell offers nothing
        return found()
    return []


def _models() -> list[str]:
    from edge_tasks.repo.glance import glance

    here = glance(Path.cwd())
    return list(here.models) if here else []


def _services() -> list[str]:
    from edge_tasks.repo.glance import find
    from edge_tasks.repo.layout import service_names

    root = find(Path.cwd())
    return service_names(root) if root else []


def _examples() -> list[str]:
    from edge_tasks.setup.template import examples

    return examples()


def _runs() -> list[str]:
    """Return the ids of the newest runs; local servers that do not run are not started for it."""
    from edge_tasks.cloud.client import connect_if_running
    from edge_tasks.experiments.listing import list_runs
    from edge_tasks.tasks._repository import repository

    here = repository()
    cloud = connect_if_running(here.config, here.root)
    return [run.run_id for run in list_runs(cloud, here.config, _NEWEST_RUNS).runs] if cloud else []


def _jobs() -> list[str]:
    """Return the ids of the jobs; local servers that do not run are not started for it."""
    from edge_tasks.cloud.client import connect_if_running
    from edge_tasks.jobs.listing import list_jobs
    from edge_tasks.tasks._repository import repository

    here = repository()
    cloud = connect_if_running(here.config, here.root)
    return [one.job.job_id for one in list_jobs(cloud, here.config)] if cloud else []


def _pipeline_jobs() -> list[str]:
    """Return the ids of the pipeline jobs; local servers that do not run are not started for it."""
    from edge_tasks.cloud.client import connect_if_running
    from edge_tasks.pipelines.run import list_jobs
    from edge_tasks.tasks._repository import repository

    here = repository()
    cloud = connect_if_running(here.config, here.root)
    return [job.job_id for job in list_jobs(cloud, here.config)] if cloud else []


def _codes() -> list[str]:
    from edge_tasks.explanations import explanations

    return [one.code for one in explanations()]


def _none() -> list[str]:
    return []


# By the argument's name, or where that says something else, by task and argument.
_FOUND: dict[str, Callable[[], list[str]]] = {
    "name": _models,
    "model": _models,
    "model.init:name": _none,
    "service.run:name": _services,
    "example": _examples,
    "run_id": _runs,
    "run_ids": _runs,
    "first": _runs,
    "others": _runs,
    "job": _jobs,
    "pipeline_job": _pipeline_jobs,
    "code": _codes,
}
