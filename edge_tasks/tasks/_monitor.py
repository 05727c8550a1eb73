"""The tasks about what serves: model.monitor, model.feedback and model.logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_tasks.errors import EdgeError
from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import NAME_HELP, task

if TYPE_CHECKING:
    from edge_tasks.domain.baseline import Baseline
    from edge_tasks.monitoring.bias import Groups
    from edge_tasks.monitoring.watch import Watched
    from edge_tasks.tasks._repository import Repository


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
    from edge_tasks.domain.period import read_period
    from edge_tasks.models import served_log
    from edge_tasks.tasks.jobs import print_lines

    here = repository()
    name, _ = here.config.model(name)
    print_lines(served_log.printed(here.cloud, name, read_period(since), follow=follow), json=json)


@task(
    help={
        "name": NAME_HELP,
        "on": "keep what the endpoint is asked and answers from now on",
        "sample": "the share of it to keep, with --on (default 1)",
        "off": "keep nothing from now on",
        "since": "how far to look back: 30m, 12h, 7d (default: monitoring.window, 1d)",
        "baseline": "compare with this baseline.json, or with the rows of this .csv or .jsonl file",
        "before": "compare with the same length of time before",
        "against": "compare with what this version was asked, which serves, too",
        "by": "compare what the groups of this column are answered, and how often that is wrong",
        "html": "write a report with histograms into this file",
        "fewest": "give no verdict on fewer requests (default: monitoring.fewest_requests, 200)",
        "replay": "compare the rows of this file instead of requests, to see an alarm before it is needed",
        "shift": "change a column of the replayed rows: age=+2, age=*1.5; may be given several times",
        "all": "print a line for every column",
        "json": "print everything as JSON",
        "managed": "set up Vertex AI's own monitoring from the same settings, print what it found; --off ends it",
        "schedule": "with --managed: a monitor looks by monitoring.schedule, at predictions, too, and at lists",
        "once": "with --managed: look once, now, at predictions, too, and at models that are asked with lists",
        "training": "with --managed: the training data, gs://.../FILE.csv, to look for skew, too",
        "target": "with --training: its column of true answers",
        "delete": "delete what was kept, true answers too; with --older-than 30d only that",
        "older_than": "with --delete: only what is older, in whole days (UTC)",
        "yes": "do not ask, with --delete",
    },
    iterable=["shift"],
)
def monitor(
    _context: Any,
    name: str | None = None,
    on: bool = False,
    sample: float = 1.0,
    off: bool = False,
    since: str | None = None,
    baseline: str | None = None,
    before: bool = False,
    against: str | None = None,
    by: str | None = None,
    html: str | None = None,
    fewest: int = 0,
    replay: str | None = None,
    shift: list[str] | None = None,
    all: bool = False,  # noqa: A002
    json: bool = False,
    managed: bool = False,
    schedule: bool = False,
    once: bool = False,
    training: str | None = None,
    target: str = "",
    delete: bool = False,
    older_than: str | None = None,
    yes: bool = False,
) -> None:
    """Say whether what the endpoint is asked has changed.

    It is compared with the training; exit status 1 if it has changed.
    """
    wish = _Wish(since, baseline, before, against, by, html, fewest, replay, tuple(shift or ()))
    _refuse_contradictions(
        wish, (on, off, delete, managed), older_than, once=once, schedule=schedule, others=bool(training or target)
    )
    here = repository()
    name, _ = here.config.model(name)
    by_schedule = managed and not off and (schedule or here.config.models[name].monitoring.schedule is not None)
    if managed and once:
        _managed_once(here, name, baseline, training, target)
    elif by_schedule:
        _managed_schedule(here, name, baseline, training, target)
    elif managed:
        _managed(here, name, off, sample, training, target)
    elif delete:
        _delete(here, name, older_than, yes)
    elif on or off:
        _switch(here, name, sample if on else None)
    else:
        found, groups = _looked(here, name, wish)
        _show(found, groups, html, everything=all, as_json=json)
        _end(bool(found.changed))


@dataclass(frozen=True)
class _Wish:
    """What is looked at, and what it is compared with: the flags of a look, as they were given."""

    since: str | None
    baseline: str | None
    before: bool
    against: str | None
    by: str | None
    html: str | None
    fewest: int
    replay: str | None
    shift: tuple[str, ...]


def _refuse_contradictions(
    wish: _Wish,
    modes: tuple[bool, bool, bool, bool],
    older_than: str | None,
    *,
    once: bool,
    schedule: bool,
    others: bool,
) -> None:
    """Raise EdgeError for flags that do not go together. `modes` are --on, --off, --delete and --managed."""
    from pathlib import Path

    on, off, delete, managed = modes
    sources = (wish.baseline is not None, wish.before, wish.against is not None)
    # A look of Google's takes a baseline of ours, its job takes none.
    compared = (wish.before, wish.against, wish.baseline and not (once or schedule))
    report = Path(wish.html).absolute() if wish.html is not None else None
    slips = {
        ("--on, --off and --delete contradict each other", "give one of them"): on + off + delete > 1,
        ("--baseline, --before and --against exclude each other", "give one of them"): sum(sources) > 1,
        ("--by compares requests with a training or a file", "leave out --replay, --before and --against"): (
            wish.by is not None and (wish.replay is not None or wish.before or wish.against is not None)
        ),
        ("--older-than says what --delete leaves", "add --delete"): older_than is not None and not delete,
        ("--once, --schedule, --training and --target belong to --managed", "add --managed"): (
            (once or schedule or others) and not managed
        ),
        ("--once, --schedule and --off contradict each other", "give one of them"): once + schedule + off > 1,
        ("--managed sets up a job of Vertex AI's", "leave out --on, --delete, --by, --html and what to compare with"): (
            managed and bool(on or delete or wish.by or wish.html or wish.replay or any(compared))
        ),
        ("--shift changes the rows of --replay", "add --replay FILE"): bool(wish.shift) and wish.replay is None,
        (
            f"the report cannot be written: `{wish.html}` is not a file in a folder that is there",
            "choose another one",
        ): report is not None and (report.is_dir() or not report.parent.is_dir()),
    }
    for (problem, hint), is_there in slips.items():
        if is_there:
            raise EdgeError(problem, hint)


def _looked(here: Repository, name: str, wish: _Wish) -> tuple[Watched, Groups | None]:
    """Compare what the endpoint was asked, or the rows of --replay; with --by between the groups of a column, too."""
    from pathlib import Path

    from edge_tasks.domain.period import read_period
    from edge_tasks.monitoring import bias, feedback, requests, samples, watch

    _, model = here.config.model(name)
    settings = model.monitoring.model_copy(update={"fewest_requests": wish.fewest} if wish.fewest else {})
    period = read_period(wish.since or settings.window)
    known = samples.read_baseline(Path(wish.baseline)) if wish.baseline is not None else None
    if wish.replay is not None:
        columns = samples.shifted(samples.read_columns(Path(wish.replay)), wish.shift)
        return watch.compared(name, known or watch.trained_baseline(here.cloud, name), columns, settings), None
    found = watch.watch(here.cloud, name, period, settings, baseline=known, before=wish.before, version=wish.against)
    if wish.by is None:
        return found, None
    asked = requests.read(here.cloud, name, requests.now(here.cloud) - period)
    if known is None:
        asked = requests.of_serving(here.cloud, name, asked)
    labels = feedback.load(here.cloud, here.config, name)
    known = known or watch.trained_baseline(here.cloud, name)
    return found, bias.groups(asked, known, labels, wish.by, settings)


def _show(found: Watched, groups: Groups | None, html: str | None, *, everything: bool, as_json: bool) -> None:
    from pathlib import Path

    from edge_tasks.console import Console, print_json, print_table, print_warning
    from edge_tasks.monitoring import page, text
    from edge_tasks.repo.files import write_atomically

    if html is not None:
        write_atomically(Path(html), page.page(found, groups).encode())
    if as_json:
        print_json(text.document(found) | ({"groups": text.groups_document(groups)} if groups else {}))
    elif groups is not None:
        print_table(*text.group_table(groups))
    elif found.comparisons:
        print_table(*text.table(found, everything=everything))
    for column in found.unknown:
        print_warning(
            f"`monitoring` of `{found.model}` in edge.yaml names the column `{column}`, which {found.against} has not"
        )
    with Console() as console:
        if groups is not None:
            console.step(text.CAUTION)
        elif not (as_json or everything) and len(found.comparisons) > max(text.LINES, len(found.changed)):
            console.step(f"there are {len(found.comparisons)} columns; all of them: --all")
        console.step(f"{found.requests} requests: {found.verdict}")
        if html is not None:
            console.step(f"wrote the report {html}")


def _switch(here: Repository, name: str, sample: float | None) -> None:
    from edge_tasks.console import Console
    from edge_tasks.monitoring import requests

    setting = requests.switch(here.cloud, name, sample)
    with Console() as console:
        if sample is None:
            console.step(f"the endpoint of `{name}` keeps nothing from now on; what it kept stays in {setting.table}")
            console.step(f"delete it with: invoke model.monitor --name {name} --delete")
            return
        console.step(f"from now on {setting.sampling_rate:.0%} of what `{name}` is asked and answers is kept")
        console.step(f"whole instances are stored in {setting.table}, personal data too, if they hold any")
        console.step(f"look at it with: invoke model.monitor --name {name}")


def _managed(here: Repository, name: str, off: bool, sample: float, training: str | None, target: str) -> None:
    from edge_tasks.console import Console, print_table
    from edge_tasks.monitoring import managed

    with Console() as console:
        if off:
            for deleted in managed.remove(here.cloud, name):
                console.step(f"deleted {deleted}")
            return
        settings = here.config.models[name].monitoring
        job, hours = managed.ensure(here.cloud, name, settings, sample, training, target)
        state, found = managed.findings(here.cloud, job)
        if found:
            print_table(managed.COLUMNS, [managed.row(one) for one in found])
        console.step(f"the monitoring job {job} looks every {hours} h at {sample:.0%} of the requests; it is {state}")
    _end(any(map(managed.is_changed, found)))


def _managed_schedule(here: Repository, name: str, baseline: str | None, training: str | None, target: str) -> None:
    from edge_tasks.console import Console, print_table
    from edge_tasks.monitoring import managed

    settings = here.config.models[name].monitoring
    known = _known(here, name, baseline)
    with Console() as console:
        made, state, found = managed.schedule(here.cloud, name, settings, known, training, target)
        if found:
            print_table(managed.COLUMNS, [managed.row(one) for one in found])
        console.step(f"the schedule {made.name} looks at `{made.cron}`, next {made.next_run} UTC")
        against = training or "the time before"
        console.step(
            f"each look compares the last {managed.window(settings)} with {against}; {managed.told(made, state)}"
        )
    _end(any(map(managed.is_changed, found)))


def _managed_once(here: Repository, name: str, baseline: str | None, training: str | None, target: str) -> None:
    from edge_tasks.console import Console, print_table
    from edge_tasks.monitoring import managed

    settings = here.config.models[name].monitoring
    known = _known(here, name, baseline)
    with Console() as console:
        job, found = managed.look(here.cloud, name, settings, known, training, target)
        print_table(managed.COLUMNS, [managed.row(one) for one in found])
        console.step(f"{job} compared the last {settings.window} with {training or 'the time before'}")
    _end(any(map(managed.is_changed, found)))


def _known(here: Repository, name: str, file: str | None) -> Baseline:
    """Return the baseline of a file; without one that of the training that serves."""
    from pathlib import Path

    from edge_tasks.monitoring import samples, watch

    return samples.read_baseline(Path(file)) if file else watch.trained_baseline(here.cloud, name)


def _end(changed: bool) -> None:
    """End with status 1 when a column has changed."""
    from invoke.exceptions import Exit

    if changed:
        raise Exit(code=1)


def _delete(here: Repository, name: str, older_than: str | None, yes: bool) -> None:
    from datetime import timedelta

    from edge_tasks.console import Console, confirm
    from edge_tasks.domain.period import read_period
    from edge_tasks.monitoring import feedback, requests

    # Files are deleted by whole days: all of them are before tomorrow.
    until = requests.now(here.cloud) - (read_period(older_than) if older_than else timedelta(days=-1))
    what = f"what `{name}` was asked before {until:%Y-%m-%d}" if older_than else f"all that `{name}` was asked"
    if not yes and not confirm(f"delete {what}, and the true answers to it? It cannot be undone."):
        raise EdgeError("nothing was deleted", "add `--yes` to delete without being asked")
    deleted = requests.delete(here.cloud, name, until)
    labels = feedback.delete(here.cloud, here.config, name, until)
    with Console() as console:
        console.step(f"deleted {what}: {deleted} rows or files of rows, {labels} files of true answers")


@task(
    help={
        "name": NAME_HELP,
        "file": "true answers that have come: a .csv (with a header) or .jsonl file",
        "key": "the column by which they are joined to requests (default: request_id, and instance)",
        "label": "the column of the true answers (default label)",
        "since": "how far to look back (default 30d)",
        "json": "print everything as JSON",
    }
)
def feedback(
    _context: Any,
    name: str | None = None,
    file: str | None = None,
    key: str | None = None,
    label: str = "label",
    since: str = "30d",
    json: bool = False,
) -> None:
    """Join true answers to what was asked.

    Print how often the model was wrong on each day.
    """
    from pathlib import Path

    from edge_tasks.console import Console, print_json, print_table
    from edge_tasks.domain.period import read_period
    from edge_tasks.monitoring import feedback, requests, text

    here = repository()
    name, _ = here.config.model(name)
    if key is not None and file is None:
        raise EdgeError("--key says how to join --file", "add --file FILE")
    start = requests.now(here.cloud) - read_period(since)
    with Console() as console:
        if file is not None:
            rows = feedback.read_file(Path(file), key, label)
            feedback.store(here.cloud, here.config, name, rows)
            console.step(f"kept {len(rows)} true answers of {file}")
        labels = feedback.load(here.cloud, here.config, name)
        asked = requests.read(here.cloud, name, start)
        days = feedback.by_day(asked, labels)
        if json:
            print_json({day: text.outcome_document(outcome) for day, outcome in days.items()})
        elif days:
            print_table(*text.day_table(days))
        known = sum(outcome.errors.count for outcome in days.values())
        total = sum(outcome.rows for outcome in days.values())
        console.step(f"the true answer is known to {known} of the {total} requests of the last {since}")
