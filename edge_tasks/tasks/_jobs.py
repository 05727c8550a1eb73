"""Those `model.*` tasks that run jobs: training, tuning, and predicting a whole file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

from edge_tasks.tasks._output import output_file_in_any_folder
from edge_tasks.tasks._repository import Repository, repository
from edge_tasks.tasks._task import AS_JSON, NAME_HELP, task

if TYPE_CHECKING:
    from pathlib import Path

    from edge_tasks.console import Console
    from edge_tasks.jobs.waiter import JobSession

_INTERRUPT = {"on_interrupt": "what Ctrl-C does to the job: ask (on a terminal), cancel or leave"}


@task(
    help={
        "name": NAME_HELP,
        "local": "train in this machine's Python process, whatever params.yaml says of is_vertex",
        "force": "train again, also when the same training runs or has ended",
        "dry_run": "only list what a job would get: files, data, requirements, machines",
        "checks": "send code, too, that would fail in a job as far as can be seen",
        "publish": "put the results into the model's folder, also when parameters are not those of params.yaml",
        "set": "a parameter for this training, such as C=10; can be repeated",
        **_INTERRUPT,
    },
    iterable=["set"],
)
def train(
    _context: Any,
    name: str | None = None,
    set: list[str] | None = None,  # noqa: A002  it is --set
    local: bool = False,
    force: bool = False,
    dry_run: bool = False,
    checks: bool = True,
    publish: bool = False,
    on_interrupt: str | None = None,
) -> None:
    """Train a model now, with its params.yaml.

    `dvc repro` does so when something has changed, and records it.
    """
    from edge_tasks.console import print_result
    from edge_tasks.errors import TrainingError
    from edge_tasks.jobs.run_script import SCRIPT, run_script
    from edge_tasks.repo.layout import model_folder, try_folder
    from edge_tasks.repo.model_folders import check_folder
    from edge_tasks.repo.trained_model import FILE_NAME as TRAINED_MODEL
    from edge_tasks.training.run_options import says_dry_run

    here = repository()
    name, _ = here.config.model(name)
    check_folder(here.root, here.config, name)
    updates = [
        *(set or ()),
        *(["is_vertex=False"] if local else ()),
        *([] if checks else ["checks=False"]),
    ]
    options = {"force": force, "dry_run": dry_run, "publish": publish, "on_interrupt": on_interrupt}
    results = [folder / TRAINED_MODEL for folder in (try_folder(here.root, name), model_folder(here.root, name))]
    before = [_written_at(result) for result in results]
    status = run_script(here.root, name, [*updates, *(f"{key}={value}" for key, value in options.items() if value)])
    if status != 0:
        raise Exit(code=abs(status))  # it has said why
    if dry_run or says_dry_run():
        return
    made = [result for result, then in zip(results, before, strict=True) if _written_at(result) != then]
    if not made:
        raise TrainingError(
            f"models/{name}/{SCRIPT} ended without an error, but it has not trained: there is no new {TRAINED_MODEL}",
            "what trains is marked by `@ex.automain` and `@vertex_wrapper`, as in the examples",
        )
    print_result(str(made[0].relative_to(here.root)))


def _written_at(file: Path) -> int | None:
    return file.stat().st_mtime_ns if file.exists() else None


@task(
    help={
        "name": NAME_HELP,
        "trials": "how many sets of parameters to try",
        "parallel": "how many at a time",
        "write": "put the best parameters into params.yaml",
        "force": "search again, also when the same search runs or has ended",
        "dry_run": "only list what would be searched, and what each trial would get",
        "checks": "send code, too, that would fail in a job as far as can be seen",
        **AS_JSON,
        **_INTERRUPT,
    }
)
def tune(
    _context: Any,
    name: str | None = None,
    trials: int = 20,
    parallel: int = 4,
    write: bool = False,
    force: bool = False,
    dry_run: bool = False,
    checks: bool = True,
    json: bool = False,
    on_interrupt: str | None = None,
) -> None:
    """Search for better parameters.

    Searches the ranges in the model's tune.yaml, and prints the trials, best first.
    """
    from edge_tasks.console import Console, print_json, print_table
    from edge_tasks.jobs.tuning import Tuning, shown
    from edge_tasks.repo.model_folders import check_folder

    here = repository()
    name, _ = here.config.model(name)
    check_folder(here.root, here.config, name)
    tuning = Tuning(here.config, here.root, name, trials=trials, parallel=parallel)
    with Console() as console:
        if dry_run:
            tuning.describe(console, checks=checks)
            return
        found = tuning.run(_session(here, console, on_interrupt), force=force, checks=checks)
        if json:
            print_json(tuning.documents(found))
        else:
            print_table(*tuning.table(found))
        if write:
            console.step(f"wrote to models/{name}/params.yaml: {shown(tuning.write_best(found))}")
            console.step(f"now train with them: dvc repro models/{name}/dvc.yaml")
        else:
            console.step("to put the first into params.yaml, run the same again with --write")


@task(
    name="predict-batch",
    help={
        "name": NAME_HELP,
        "input": "a .jsonl file (one instance a line) or a .csv file (a header, and numbers or quoted words)",
        "output": "where the predictions go: a .jsonl or .csv file",
        "force": "predict again, also when the same prediction runs or has ended",
        "dry_run": "only check the file, and say which version would predict it, and on which machines",
        **_INTERRUPT,
    },
)
def predict_batch(
    _context: Any,
    input: str,  # noqa: A002  it is --input
    output: str,
    name: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    on_interrupt: str | None = None,
) -> None:
    """Predict every instance of a file.

    It is a batch prediction job; no endpoint is needed.
    """
    from pathlib import Path

    from edge_tasks.console import Console, print_result
    from edge_tasks.jobs import batch_prediction

    here = repository()
    name, _ = here.config.model(name)
    file = output_file_in_any_folder(output)
    with Console() as console:
        session = _session(here, console, on_interrupt)
        prediction = batch_prediction.prepared(session, here.config, here.root, name, Path(input), file)
        if dry_run:
            for line in prediction.describe():
                console.step(line)
            return
        outcome = prediction.run(force=force)
        console.step(f"predicted {outcome.successful} instances; {outcome.failed} failed")
        if outcome.errors:
            console.step(f"those that failed, and why: {outcome.errors}")
    print_result(str(outcome.output))


def _session(here: Repository, console: Console, on_interrupt: str | None) -> JobSession:
    """Return what the jobs of a task have in common. Raises ConfigError when `on_interrupt` is not known."""
    from edge_tasks.cloud.client import connect
    from edge_tasks.console import choose
    from edge_tasks.jobs.waiter import JobSession
    from edge_tasks.tools import signals

    return JobSession(lambda: connect(here.config, here.root), console, signals.on_interrupt(on_interrupt), choose)
