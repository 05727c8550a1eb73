"""`pipeline.*`: the repository's DVC pipeline, run by Vertex AI Pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from edge_tasks.tasks._output import output_file
from edge_tasks.tasks._repository import Repository, repository
from edge_tasks.tasks._task import AS_JSON, most_rows, task

if TYPE_CHECKING:
    from edge_tasks.pipelines.export import Export

_NAME = {"name": "only this model; without it the pipeline trains all of them"}
_CHECKS = {"checks": "send code, too, that would fail in a task as far as can be seen"}
_JOB_HELP = "the pipeline job's id, or the beginning of it"
_DEFAULT_LIMIT = 20


@task(
    help={
        **_NAME,
        "output": "the file to write",
        "upload": "only write the file: code and data are sent with the next export or run",
        **_CHECKS,
    }
)
def export(
    _context: Any, name: str | None = None, output: str = "pipeline.yaml", upload: bool = True, checks: bool = True
) -> None:
    """Write the DVC pipeline as a kfp pipeline.

    The file is a compiled pipeline (IR 2.1) that Vertex AI Pipelines runs: from Google's console, by its SDK, on a
    schedule. Its tasks run code that this puts into the bucket.
    """
    from edge_tasks.console import Console, print_result
    from edge_tasks.repo.files import write_atomically

    here = repository()
    file = output_file(output)
    made = _export(here, name)
    if checks:
        made.check()
    with Console() as console:
        for note in made.notes():
            console.step(note)
        content = made.text().encode()
        if upload:
            made.send(here.cloud, console)
        write_atomically(file, content)
    print_result(output)


@task(
    help={
        **_NAME,
        "async_": "do not wait for its end; results stay in the bucket and the registry",
        "set": "a parameter for this run, such as C=10; can be repeated",
        "force": "run every task, also those that would give again what they gave before",
        **_CHECKS,
        "on_interrupt": "what Ctrl-C does to the pipeline: ask (on a terminal), cancel or leave",
    },
    iterable=["set"],
)
def run(
    _context: Any,
    name: str | None = None,
    async_: bool = False,
    set: list[str] | None = None,  # noqa: A002  it is --set
    force: bool = False,
    checks: bool = True,
    on_interrupt: str | None = None,
) -> None:
    """Run the DVC pipeline on Vertex AI Pipelines.

    It is followed to its end, and its results are put where `dvc repro` puts them.
    """
    from edge_tasks.cloud.client import connect
    from edge_tasks.console import Console, choose, print_result
    from edge_tasks.jobs.waiter import JobSession
    from edge_tasks.pipelines.run import PipelineRun
    from edge_tasks.tools import signals

    here = repository()
    pipeline = PipelineRun(here.config, here.root, _export(here, name), _assigned(set or []))
    with Console() as console:
        session = JobSession(
            lambda: connect(here.config, here.root), console, signals.on_interrupt(on_interrupt), choose
        )
        job = pipeline.submit(session, checks=checks, force=force)
        if async_:
            console.step("it runs on by itself: invoke pipeline.list")
            print_result(job.name)
            return
        made = pipeline.take(session, pipeline.follow(session, job))
    for path in made:
        print_result(str(path.relative_to(here.root)))


@task(
    name="list",
    help={"limit": f"at most so many; 0 for all (default: {_DEFAULT_LIMIT} in a table, all with --json)", **AS_JSON},
)
def list_(_context: Any, limit: int = -1, json: bool = False) -> None:
    """List the repository's pipeline jobs, newest first."""
    from edge_tasks.console import Console, print_json, print_table
    from edge_tasks.pipelines import run as runs

    here = repository()
    jobs = runs.list_jobs(here.cloud, here.config)
    shown = jobs[: most_rows(limit, _DEFAULT_LIMIT, for_programs=json)]
    if json:
        print_json([runs.describe(job) for job in shown])
    elif shown:
        print_table(runs.COLUMNS, [runs.row(job) for job in shown])
    with Console() as console:
        if not jobs:
            console.step("there is no pipeline job yet: invoke pipeline.run starts one")
        elif len(shown) < len(jobs):
            console.step(f"{len(shown)} of {len(jobs)} pipeline jobs; all of them: --limit 0")


@task(
    help={
        "pipeline_job": _JOB_HELP,
        "task": "only this task, such as digits-train",
        "json": "print each line as a JSON object, with its time and severity",
    }
)
def logs(_context: Any, pipeline_job: str, task: str | None = None, json: bool = False) -> None:
    """Print what the tasks of a pipeline job have printed."""
    from edge_tasks.pipelines import run as runs
    from edge_tasks.tasks.jobs import print_lines

    here = repository()
    found = runs.find_job(here.cloud, here.config, pipeline_job)
    print_lines(runs.printed(here.cloud, found, task), json=json)


@task(help={"pipeline_job": _JOB_HELP})
def cancel(_context: Any, pipeline_job: str) -> None:
    """Cancel a pipeline job, and the tasks of it that run."""
    from edge_tasks.console import Console
    from edge_tasks.pipelines import run as runs

    here = repository()
    found = runs.find_job(here.cloud, here.config, pipeline_job)
    runs.cancel(here.cloud, found)
    with Console() as console:
        console.step(f"cancelling pipeline job {found.job_id}")


@task(
    help={
        "cron": "when: minute, hour, day of month, month, day of week, such as 'TZ=Europe/Berlin 0 9 * * 1-5'",
        **_NAME,
        **_CHECKS,
    }
)
def schedule(_context: Any, cron: str, name: str | None = None, checks: bool = True) -> None:
    """Run the DVC pipeline again and again.

    Vertex AI starts it at these times (UTC unless TZ= says otherwise), with the code and parameters of now. Done again,
    it changes both.
    """
    from edge_tasks.console import Console, print_result
    from edge_tasks.domain.config import check_cron
    from edge_tasks.pipelines import schedule as schedules

    check_cron(cron)
    here = repository()
    made = _export(here, name)
    if checks:
        made.check()
    with Console() as console:
        found = schedules.schedule(here.cloud, here.config, made, cron, console)
        if found.next_run:
            console.step(f"the pipeline `{made.name}` runs next at {found.next_run:%Y-%m-%d %H:%M} UTC")
    print_result(found.name)


@task(help=AS_JSON)
def schedules(_context: Any, json: bool = False) -> None:
    """List the schedules of the repository's pipelines."""
    from edge_tasks.console import Console, print_json, print_table
    from edge_tasks.pipelines import schedule as work

    here = repository()
    found = work.list_schedules(here.cloud, here.config)
    if json:
        print_json([work.describe(one) for one in found])
    elif found:
        print_table(work.COLUMNS, [work.row(one) for one in found])
    if not found:
        with Console() as console:
            console.step("there is no schedule yet: invoke pipeline.schedule makes one")


@task(help={"name": "the pipeline of this model; without it that of all models"})
def unschedule(_context: Any, name: str | None = None) -> None:
    """Delete the schedule of a pipeline; its runs stay."""
    from edge_tasks.console import Console
    from edge_tasks.pipelines import schedule as schedules

    here = repository()
    with Console() as console:
        for one in schedules.unschedule(here.cloud, here.config, _export(here, name).name):
            console.step(f"deleted the schedule {one.schedule_id} of `{schedules.pipeline_of(one)}` ({one.cron})")


def _export(here: Repository, name: str | None) -> Export:
    from edge_tasks.pipelines.export import Export
    from edge_tasks.repo import layout
    from edge_tasks.repo.model_folders import check_folder

    # An imported model has no stages, so it is in the pipeline only when somebody asks for it.
    staged = (one for one in here.config.models if (layout.model_folder(here.root, one) / "dvc.yaml").is_file())
    models = [here.config.model(name)[0]] if name is not None else list(staged) or list(here.config.models)
    for model in models:
        check_folder(here.root, here.config, model)
    if not models:
        here.config.model(None)  # says that there is none
    return Export(here.config, here.root, models)


def _assigned(texts: list[str]) -> dict[str, Any]:
    """Return the parameters of `--set NAME=VALUE`, with values as YAML reads them."""
    from edge_tasks.errors import UsageError
    from edge_tasks.repo.text_files import parse_yaml

    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise UsageError(f"`--set {text}` gives no value", "such as --set C=10")
        try:
            found[name] = parse_yaml(value)
        except ValueError as error:
            raise UsageError(f"the value of `--set {text}` is not valid YAML: {error}", "such as --set C=10") from None
    return found


collection = Collection("pipeline", export, run, list_, logs, cancel, schedule, schedules, unschedule)
