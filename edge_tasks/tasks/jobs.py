"""`jobs.*`: the jobs of the models: listed, read and cancelled, wherever they were started."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import AS_JSON, most_rows, task

_JOB_HELP = "the job's id or its run's id, or the beginning of one"
_DEFAULT_LIMIT = 20


@task(
    name="list",
    help={
        "model": "only jobs of this model",
        "state": "only jobs that are queued, pending, running, cancelling, succeeded, failed, cancelled or expired",
        "limit": f"at most so many; 0 for all (default: {_DEFAULT_LIMIT} in a table, all with --json)",
        **AS_JSON,
    },
)
def list_(
    _context: Any, model: str | None = None, state: str | None = None, limit: int = -1, json: bool = False
) -> None:
    """List the jobs of the models, newest first.

    Trainings, tunings and batch predictions of everybody, for the repository's target.
    """
    from edge_tasks.console import Console, print_json, print_table
    from edge_tasks.jobs import listing
    from edge_tasks.models import costs

    here = repository()
    prices = costs.load(here.config, here.root)
    jobs = listing.list_jobs(here.cloud, here.config, model, state)
    shown = jobs[: most_rows(limit, _DEFAULT_LIMIT, for_programs=json)]
    if json:
        print_json([job.document(prices) for job in shown])
    elif shown:
        print_table(listing.COLUMNS, [job.row(prices) for job in shown], spare=("run", "kind"))
    with Console() as console:
        if prices and shown and not json:
            console.step(f"cost: by {costs.basis(here.config, prices)}")
        if not jobs:
            console.step("there is no such job" if model or state else "there is no job yet: dvc repro starts one")
        elif len(shown) < len(jobs):
            console.step(f"{len(shown)} of {len(jobs)} jobs; all of them: --limit 0")


@task(
    help={
        "job": _JOB_HELP,
        "follow": "print what it prints from now on, too, until it has ended; Ctrl-C leaves the job as it is",
        "json": "print each line as a JSON object, with its time and severity",
    }
)
def logs(_context: Any, job: str, follow: bool = False, json: bool = False) -> None:
    """Print what a job has printed.

    Exit status 1 when the job that is followed does not succeed.
    """
    from invoke.exceptions import Exit

    from edge_tasks.console import Console
    from edge_tasks.jobs import listing

    here = repository()
    found = listing.find_job(here.cloud, here.config, job)
    print_lines(listing.printed(here.cloud, found, follow=follow), json=json)
    if follow:
        ended = found.api.get(here.cloud, found.job.name)
        with Console() as console:
            console.step(f"{found.api.noun} {ended.job_id}: {ended.state.lower()}")
        if ended.state != "SUCCEEDED":
            raise Exit(code=1)


@task(help={"job": _JOB_HELP})
def cancel(_context: Any, job: str) -> None:
    """Cancel a job that waits or runs.

    A training that waits for it on some laptop ends with it, and changes nothing there.
    """
    from edge_tasks.console import Console
    from edge_tasks.jobs import listing

    here = repository()
    found = listing.find_job(here.cloud, here.config, job)
    with Console() as console:
        ended = listing.cancel(here.cloud, found)
        console.step(f"{found.api.noun} {ended.job_id} of `{found.model}`: {ended.state.lower()}")


def print_lines(lines: Iterable[Any], *, json: bool) -> None:
    """Print the lines (`LogLine`) of a log as they come; that there was none is told."""
    from dataclasses import asdict
    from json import dumps

    from edge_tasks.console import Console, print_result

    empty = True
    for line in lines:
        empty = False
        print_result(dumps(asdict(line), ensure_ascii=False) if json else line.text)
        sys.stdout.flush()
    if empty:
        with Console() as console:
            console.step("it has printed nothing")


collection = Collection("jobs", list_, logs, cancel)
