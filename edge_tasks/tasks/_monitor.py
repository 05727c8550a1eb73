"""The tasks about what serves: model.monitor and model.logs."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import NAME_HELP, task

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _period(text: str) -> timedelta:
    """Return a length of time such as 30m, 12h, 7d or 2w."""
    from edge_tasks.errors import EdgeError

    match = re.fullmatch(r"(\d{1,5})([mhdw])", text)
    if match is None or not int(match[1]):
        raise EdgeError(f"`{text}` is not a length of time", "write a number and m, h, d or w, such as 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


@task(
    help={
        "name": NAME_HELP,
        "follow": "print what it prints from now on, too, until Ctrl-C",
        "since": "how far to look back: 30m, 12h, 7d (default 1d)",
        "json": "print each line as a JSON object, with its time and severity",
    }
)
def logs(_context: Any, name: str | None = None, follow: bool = False, since: str = "1d", json: bool = False) -> None:
    """Print what serves the model has printed."""
    from edge_tasks.models import served_log
    from edge_tasks.tasks.jobs import print_lines

    here = repository()
    name, _ = here.config.model(name)
    print_lines(served_log.printed(here.cloud, name, _period(since), follow=follow), json=json)


@task(
    help={
        "name": NAME_HELP,
        "on": "keep what the endpoint is asked and answers from now on",
        "sample": "the share of it to keep, with --on (default 1)",
        "off": "keep nothing from now on",
        "since": "how far to look back: 30m, 12h, 7d (default 1d)",
        "baseline": "compare with this baseline.json, or with the rows of this .csv or .jsonl file",
        "before": "compare with the same length of time before",
        "against": "compare with what this version was asked, which serves, too",
        "fewest": "give no verdict on fewer requests (default 200)",
        "replay": "compare the rows of this file instead of requests, to see an alarm before it is needed",
        "shift": "change a column of the replayed rows: age=+2, age=*1.5; may be given several times",
        "all": "print a line for every column",
        "json": "print everything as JSON",
    },
    iterable=["shift"],
)
def monitor(
    _context: Any,
    name: str | None = None,
    on: bool = False,
    sample: float = 1.0,
    off: bool = False,
    since: str = "1d",
    baseline: str | None = None,
    before: bool = False,
    against: str | None = None,
    fewest: int = 0,
    replay: str | None = None,
    shift: list[str] | None = None,
    all: bool = False,  # noqa: A002
    json: bool = False,
) -> None:
    """Say whether what the endpoint is asked has changed.

    It is compared with the training; exit status 1 if it has changed.
    """
    from pathlib import Path

    from invoke.exceptions import Exit

    from edge_tasks.console import Console, print_json, print_table
    from edge_tasks.domain.drift import FEWEST_REQUESTS
    from edge_tasks.errors import EdgeError
    from edge_tasks.monitoring import samples, text, watch

    here = repository()
    name, _ = here.config.model(name)
    if on and off:
        raise EdgeError("--on and --off contradict each other", "give one of them")
    if sum((baseline is not None, before, against is not None)) > 1:
        raise EdgeError("--baseline, --before and --against exclude each other", "give one of them")
    if on or off:
        setting = watch.switch(here.cloud, name, sample if on else None)
        with Console() as console:
            if off:
                console.step(
                    f"the endpoint of `{name}` keeps nothing from now on; what it kept stays in {setting.table}"
                )
                return
            console.step(f"from now on {setting.sampling_rate:.0%} of what `{name}` is asked and answers is kept")
            console.step(f"whole instances are stored in {setting.table}, personal data too, if they hold any")
            console.step(f"look at it with: invoke model.monitor --name {name}")
        return
    known = samples.read_baseline(Path(baseline)) if baseline is not None else None
    fewest = fewest or FEWEST_REQUESTS
    if replay is not None:
        if known is None:
            known = watch.trained_baseline(here.cloud, name)
        columns = samples.shifted(samples.read_columns(Path(replay)), shift or [])
        found = watch.compared(name, known, columns, fewest=fewest)
    else:
        if shift:
            raise EdgeError("--shift changes the rows of --replay", "add --replay FILE")
        found = watch.watch(
            here.cloud, name, _period(since), baseline=known, before=before, version=against, fewest=fewest
        )
    if json:
        print_json(text.document(found))
    elif found.comparisons:
        print_table(*text.table(found, everything=all))
    with Console() as console:
        if not (json or all) and len(found.comparisons) > max(text.LINES, len(found.changed)):
            console.step(f"there are {len(found.comparisons)} columns; all of them: --all")
        console.step(f"{found.requests} requests: {found.verdict}")
    if found.changed:
        raise Exit(code=1)
