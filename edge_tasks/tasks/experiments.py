"""`experiments.*`: the recorded runs of everybody: listed, shown, compared, repeated, tagged and removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import Repository, repository
from edge_tasks.tasks._task import AS_JSON, most_rows, task
from edge_tasks.tasks.dashboard import dashboard

if TYPE_CHECKING:
    from edge_tasks.domain.runs import RunSummary

_ID_HELP = "the run's id, or its beginning"
_IDS_HELP = "ids of runs, or their beginnings, with commas between them"

# Rows of a table that nobody asked to be longer, and unreadable objects that are named one by one.
_DEFAULT_LIMIT, _MOST_UNREADABLE = 50, 10


@task(
    name="list",
    help={
        "model": "only runs of this model",
        "status": "only runs that are queued, running, completed, failed, interrupted or died",
        "user": "only runs of this user",
        "commit": "only runs of this git commit, or of those that begin so",
        "tag": "only runs with this tag",
        "where": 'a filter, as on the dashboard: "accuracy > 0.9 user = ada", words, -word; can be repeated',
        "sort": "by this metric, parameter or field (such as started), least first",
        "reverse": "the other way round",
        "limit": f"at most so many; 0 for all (default: {_DEFAULT_LIMIT} in a table, all with --json and --csv)",
        "json": "print everything known of each run as JSON",
        "csv": "print everything known of each run as CSV",
    },
    iterable=["where"],
)
def list_(
    _context: Any,
    model: str | None = None,
    status: str | None = None,
    user: str | None = None,
    commit: str | None = None,
    tag: str | None = None,
    where: list[str] | None = None,
    sort: str | None = None,
    reverse: bool = False,
    limit: int = -1,
    json: bool = False,
    csv: bool = False,
) -> None:
    """List the recorded runs of everybody, newest first.

    What they are, their metrics, and the parameters that differ.
    """
    from edge_tasks.console import Console, print_csv, print_json, print_table
    from edge_tasks.domain.run_filter import Filter
    from edge_tasks.domain.run_query import Query, checked_status, ordered
    from edge_tasks.domain.runs import utc_now
    from edge_tasks.experiments.text import csv_table, document, table

    wanted = Filter(tuple(term for text in where or () for term in Filter.parse(text).terms))
    query = Query(model, checked_status(status) if status else None, user, commit, tag, wanted)
    now = utc_now()
    most = most_rows(limit, _DEFAULT_LIMIT, for_programs=json or csv)
    # The newest of all are found without reading all.
    few = most if query.wants_all and not sort and not reverse else None
    everything, recorded = _runs(repository(), few)
    wanted.check(everything, now)
    runs = query.chosen(everything, now)
    total = len(runs) if few is None else recorded
    if sort:
        runs = ordered(runs, sort, descending=reverse)
    elif reverse:
        runs.reverse()
    shown = runs[:most]
    if json:
        print_json([document(run, now) for run in shown])
    elif csv:
        print_csv(*csv_table(shown, now))
    elif shown:
        print_table(*table(shown, now), spare=("user", "commit", "took"))
    with Console() as console:
        if not recorded:
            console.step("no run is recorded yet; a training records itself: invoke model.train")
        elif not runs:
            console.step(f"none of the {recorded} recorded runs is like that")
        elif len(shown) < total:
            console.step(f"{len(shown)} of {total} runs; all of them: --limit 0")


@task(
    help={
        "run_id": _ID_HELP,
        "output": "print only what the run has printed, all of it",
        "file": "print only this source file of the run, such as train.py",
        "json": "print everything but output and source files as JSON, with whole curves",
    }
)
def show(_context: Any, run_id: str, output: bool = False, file: str | None = None, json: bool = False) -> None:
    """Print one run in full.

    Parameters, metrics, curves, where it comes from, and its last output.
    """
    from edge_tasks.console import print_bytes, print_json, print_result
    from edge_tasks.domain.runs import utc_now
    from edge_tasks.experiments.listing import load_output, load_run, load_source
    from edge_tasks.experiments.text import described, document, last_lines

    here = repository()
    found = _found(here, run_id)
    if output or file:
        place = (here.cloud, here.config, found)
        print_bytes(load_source(*place, file) if file else load_output(*place))
        return
    run = load_run(here.cloud, here.config, found.model_name, found.run_id)
    now = utc_now()
    if json:
        series = {name: one.model_dump(mode="json") for name, one in run.series.items()}
        print_json({**document(run.record, now), "series": series})
    else:
        print_result("\n".join([*described(run.record, run.series, now), *last_lines(run.output)]))


@task(help={"first": _ID_HELP, "others": _IDS_HELP, "json": "print whole values and curves as JSON"})
def compare(_context: Any, first: str, others: str, json: bool = False) -> None:
    """Print what differs between runs.

    How they ended, and the parameters, metrics and curves that differ.
    """
    from edge_tasks.console import print_json, print_table
    from edge_tasks.domain.runs import utc_now
    from edge_tasks.errors import EdgeError
    from edge_tasks.experiments.listing import load_run
    from edge_tasks.experiments.text import comparison, differences

    here = repository()
    found = _all_found(here, f"{first},{others}")
    if len(found) < 2:
        raise EdgeError(f"that is one run, {found[0].run_id}", "name two or more")
    runs = [load_run(here.cloud, here.config, run.model_name, run.run_id) for run in found]
    records, series = [run.record for run in runs], [run.series for run in runs]
    if json:
        print_json(differences(records, series, utc_now()))
    else:
        print_table(*comparison(records, series, utc_now()))


@task(help={"run_id": _ID_HELP, **AS_JSON})
def reproduce(_context: Any, run_id: str, json: bool = False) -> None:
    """Train again with a run's commit, data, parameters.

    It does so in a git worktree, and prints the run's metrics next to the new ones.
    """
    from edge_tasks.console import Console, print_json, print_table
    from edge_tasks.experiments.listing import load_record
    from edge_tasks.jobs.reproduce import reproduce

    here = repository()
    found = _found(here, run_id)
    with Console() as console:
        made = reproduce(here.root, here.cloud, here.config, load_record(here.cloud, here.config, found), console)
        if json:
            print_json(made.document())
        else:
            print_table(["metric", "recorded", "reproduced", ""], made.rows())
        console.step("the metrics are the same" if made.same else "the metrics differ")
        console.step(f"the new run is {made.run_id}, in {made.folder.relative_to(here.root)}")


@task(help={"run_id": _ID_HELP, "tags": "tags, with commas between them", "remove": "take the tags away instead"})
def tag(_context: Any, run_id: str, tags: str, remove: bool = False) -> None:
    """Give a run tags, to find it again.

    experiments.list --tag TAG lists the runs that have one.
    """
    from edge_tasks.console import Console
    from edge_tasks.errors import EdgeError
    from edge_tasks.experiments.listing import change_tags

    words = _words(tags)
    if not words:
        raise EdgeError("no tag is named", f"invoke experiments.tag {run_id} good,first")
    here = repository()
    found = _found(here, run_id)
    kept = change_tags(here.cloud, here.config, found, words, remove=remove)
    with Console() as console:
        console.step(f"tags of {found.run_id}: {', '.join(kept) or 'none'}")


@task(help={"run_id": _ID_HELP, "name": "what you call the run", "text": "what you write about it"})
def note(_context: Any, run_id: str, name: str | None = None, text: str | None = None) -> None:
    """Give a run a name, or write notes about it.

    An empty text takes them away. The dashboard shows both.
    """
    from edge_tasks.console import Console
    from edge_tasks.errors import EdgeError
    from edge_tasks.experiments.listing import describe_run

    changes = {key: value for key, value in (("name", name), ("notes", text)) if value is not None}
    if not changes:
        raise EdgeError("nothing is written", f'invoke experiments.note {run_id} --name "first try" --text "..."')
    here = repository()
    found = _found(here, run_id)
    record = describe_run(here.cloud, here.config, found.model_name, found.run_id, changes)
    with Console() as console:
        console.step(f"{record.run_id}: {record.name or 'no name'}; {'notes' if record.notes else 'no notes'}")


@task(help={"run_ids": _IDS_HELP, "yes": "do not ask"})
def remove(_context: Any, run_ids: str, yes: bool = False) -> None:
    """Remove the records of runs.

    Their output and source files go, too; their models and artifacts stay.
    """
    from edge_tasks.console import Console, confirm
    from edge_tasks.errors import EdgeError
    from edge_tasks.experiments.listing import remove_run

    here = repository()
    found = _all_found(here, run_ids)
    names = ", ".join(run.run_id for run in found)
    if not yes and not confirm(f"remove {'these runs' if len(found) > 1 else 'the run'}: {names}?"):
        raise EdgeError("nothing was removed", "add `--yes` to remove without being asked")
    with Console() as console:
        for run in found:
            remove_run(here.cloud, here.config, run)
            console.step(f"removed the record of {run.run_id}")


def _runs(here: Repository, newest: int | None = None) -> tuple[list[RunSummary], int]:
    """Return every recorded run, or the newest ones, and how many there are.

    Other objects among the records are named on stderr.
    """
    from edge_tasks.console import print_warning
    from edge_tasks.experiments.listing import list_runs

    _send_kept(here)
    listing = list_runs(here.cloud, here.config, newest)
    for uri, reason in list(listing.unreadable.items())[:_MOST_UNREADABLE]:
        print_warning(f"skipped {uri}: {reason}")
    if len(listing.unreadable) > _MOST_UNREADABLE:
        print_warning(f"skipped {len(listing.unreadable) - _MOST_UNREADABLE} more objects that are not records of runs")
    return listing.runs, listing.total


def _send_kept(here: Repository) -> None:
    """Send the runs that the bucket did not take when they ended."""
    from edge_tasks.console import Console, print_warning
    from edge_tasks.errors import EdgeError
    from edge_tasks.experiments.listing import send_unsent

    try:
        sent = send_unsent(lambda: here.cloud, here.config, here.root)
    except EdgeError as error:
        print_warning(str(error))
        return
    if sent:
        with Console() as console:
            console.step(f"sent runs that the bucket did not take before: {', '.join(sent)}")


def _found(here: Repository, text: str) -> RunSummary:
    """Return the run that `text` means."""
    from edge_tasks.experiments.listing import find_run

    return find_run(_runs(here)[0], text)


def _all_found(here: Repository, text: str) -> list[RunSummary]:
    """Return the runs that the words of `text` mean, each once."""
    from edge_tasks.errors import EdgeError
    from edge_tasks.experiments.listing import find_run

    words = _words(text)
    if not words:
        raise EdgeError("no run is named", "invoke experiments.list shows the runs that there are")
    runs, _ = _runs(here)
    return list({run.run_id: run for run in (find_run(runs, word) for word in words)}.values())


def _words(text: str) -> Sequence[str]:
    return text.replace(",", " ").split()


collection = Collection("experiments", list_, show, compare, dashboard, reproduce, tag, note, remove)
