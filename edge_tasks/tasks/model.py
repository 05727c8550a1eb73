"""`model.*`: from a new model to its predictions, and away again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from edge_tasks.tasks import _jobs, _monitor
from edge_tasks.tasks._output import output_file, output_folder
from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import AS_JSON, LOCK_TIMEOUT_HELP, NAME_HELP, task

if TYPE_CHECKING:
    from edge_tasks.console import Console
    from edge_tasks.releases.operations import Outcome, Release

_NAME_AND_WAIT = {"name": NAME_HELP, "lock_timeout": LOCK_TIMEOUT_HELP}


@task(
    name="init",
    help={
        "name": "the new model's name",
        "example": "what to start from: tabular, hello-world, digits or fashion-mnist",
    },
)
def init_(_context: Any, name: str, example: str = "tabular") -> None:
    """Add a model from the template.

    Its folder, and what edge.yaml and the root's dvc.yaml say of it.
    """
    from edge_tasks.console import Console
    from edge_tasks.setup.new_model import init_model

    here = repository()
    with Console() as console:
        folder = init_model(here.root, here.config, name, example)
        console.step(f"made {folder.relative_to(here.root)} from the example `{example}`")
        console.step("commit it, so that a commit tells its code: git add . && git commit")
        console.step(f"now train it: dvc repro {folder.relative_to(here.root)}/dvc.yaml")


@task(name="list", help=AS_JSON)
def list_(_context: Any, json: bool = False) -> None:
    """List the models: trained when, and what serves."""
    from edge_tasks.console import print_json, print_note, print_table
    from edge_tasks.models import costs, overview

    here = repository()
    prices = costs.load(here.config, here.root)
    scaled = any(model.scale_to_zero for model in here.config.models.values())
    models = overview.list_models(here.root, here.config, here.cloud, machines=scaled or prices is not None)
    if json:
        print_json([model.document(prices) for model in models])
        return
    print_table(overview.COLUMNS, [model.row(prices) for model in models], spare=("since (UTC)", "version"))
    for model in models:
        if model.note:
            print_note(model.note)
    if prices and any(model.running for model in models):
        print_note(f"cost: until now, by {costs.basis(here.config, prices)}")


@task(help={"name": NAME_HELP, **AS_JSON})
def describe(_context: Any, name: str | None = None, json: bool = False) -> None:
    """Print all that is known of a model.

    Config, training, deployment and its history, as YAML.
    """
    from edge_tasks.console import print_document
    from edge_tasks.models import overview

    here = repository()
    name, _ = here.config.model(name)
    print_document(overview.describe(here.root, here.config, here.cloud, name), json=json)


@task(help={"name": NAME_HELP, **AS_JSON})
def why(_context: Any, name: str | None = None, json: bool = False) -> None:
    """Print where what serves comes from.

    Each version's code, data, parameters, metrics, who and when, as YAML.
    """
    from edge_tasks.console import print_document
    from edge_tasks.models import overview

    here = repository()
    name, _ = here.config.model(name)
    print_document(overview.why(here.cloud, name), json=json)


_DRY_RUN = {**_NAME_AND_WAIT, "dry_run": "only say what would be done"}
_RELEASE = {
    **_DRY_RUN,
    "smoke_test": "do not ask the new version for predictions before it gets traffic",
    "async_": "only start what takes long on Google Cloud; the same command resumes it",
}


_ZERO = (
    "scale_to_zero is a preview of Vertex AI's: what is asked first after a pause is answered 429, and starts the "
    "model; invoke model.predict and test_endpoint.sh wait for it (docs/costs.md)"
)


@contextlib.contextmanager
def _release(name: str | None, **options: Any) -> Iterator[tuple[Release, Console]]:
    from edge_tasks.console import Console
    from edge_tasks.releases import operations

    here = repository()
    name, _ = here.config.model(name)
    with Console() as console:
        yield (
            operations.Release(here.cloud, here.config, here.root, name, console, operations.Options(**options)),
            console,
        )


def _tell(
    release: Release,
    console: Console,
    outcome: Outcome,
    traffic: int = 100,
    command: str = "deploy",
    period: timedelta | None = None,
    until: datetime | None = None,
) -> None:
    """Say what a release did, and what to type next."""
    name, version = release.name, outcome.version
    several = len(release.config.models) > 1
    if release.options.dry_run:
        if outcome.changed and command == "deploy":
            from edge_tasks.models import costs
            from edge_tasks.releases.preflight import scale_to_zero, serving_machines

            machine, zero = serving_machines(release.settings), scale_to_zero(release.settings)
            console.step(costs.sentence(machine, costs.load(release.config, release.root), period, zero))
            if zero:
                console.step(_ZERO)
        return
    if not outcome.finished:
        again = f"invoke model.{command} --name {name}"
        console.step(f"still deploying on Google Cloud; run the same command again to resume: {again}")
        return
    serves = "serves" if outcome.changed else "serves already"
    if release.settings.scale_to_zero is not None and command == "deploy" and outcome.changed:
        console.step(_ZERO)
    part = "all the requests" if traffic == 100 else f"{traffic} % of the requests"
    console.step(f"`{name}` version {version} {serves} {part}: {outcome.url}")
    if until is not None:
        from edge_tasks.domain.state import until_words

        console.step(
            f"it is wanted {until_words(until)}; invoke model.undeploy --expired takes it off then, and CI can do that "
            "by itself (README.md)"
        )
    if traffic < 100:
        console.step("now give it all: invoke model.promote" + (f" --name {name}" if several else ""))
    elif command == "deploy":
        console.step("try it: ./test_endpoint.sh" + (f" {name}" if several else ""))


@task(
    help={
        **_RELEASE,
        "traffic": "per cent of the requests; the version before keeps the rest",
        "checks": "deploy an artifact, too, that could not be loaded as far as can be seen",
        "for_": "only for so long, such as 4h or 2d: model.undeploy --expired takes it off then",
    }
)
def deploy(
    _context: Any,
    name: str | None = None,
    traffic: int = 100,
    smoke_test: bool = True,
    checks: bool = True,
    lock_timeout: int = 0,
    async_: bool = False,
    dry_run: bool = False,
    for_: str | None = None,
) -> None:
    """Serve the trained model on its endpoint.

    The version before goes when the new one serves.
    """
    from edge_tasks.domain.period import read_period
    from edge_tasks.models import endings
    from edge_tasks.releases import operations
    from edge_tasks.repo.model_folders import check_folder

    options = {
        "dry_run": dry_run,
        "smoke_test": smoke_test,
        "checks": checks,
        "lock_timeout": lock_timeout,
        "to_the_end": not async_,
    }
    with _release(name, **options) as (release, console):
        check_folder(release.root, release.config, release.name)
        period = read_period(for_) if for_ is not None else None
        until = endings.after(release.cloud, period) if period else None
        outcome = operations.deploy(release, traffic, until)
        _tell(release, console, outcome, traffic, period=period, until=until)


@task(help=_RELEASE)
def promote(
    _context: Any,
    name: str | None = None,
    smoke_test: bool = True,
    lock_timeout: int = 0,
    async_: bool = False,
    dry_run: bool = False,
) -> None:
    """Give the new version all the requests.

    It is the version that has a part of them; what served with it goes.
    """
    from edge_tasks.releases import operations

    with _release(name, dry_run=dry_run, smoke_test=smoke_test, lock_timeout=lock_timeout, to_the_end=not async_) as (
        release,
        console,
    ):
        _tell(release, console, operations.promote(release), command="promote")


@task(help={**_RELEASE, "to": "a version that served once (default: the one before)"})
def rollback(
    _context: Any,
    name: str | None = None,
    to: str | None = None,
    smoke_test: bool = True,
    lock_timeout: int = 0,
    async_: bool = False,
    dry_run: bool = False,
) -> None:
    """Go back to the version that served before.

    A version that has a part of the traffic is taken off.
    """
    from edge_tasks.releases import operations

    with _release(name, dry_run=dry_run, smoke_test=smoke_test, lock_timeout=lock_timeout, to_the_end=not async_) as (
        release,
        console,
    ):
        _tell(release, console, operations.rollback(release, to), command="rollback")


@task(
    help={
        **_DRY_RUN,
        "name": "the model; not needed when there is only one, or with --expired or --idle, which look at all",
        "expired": "only what was deployed for a time (model.deploy --for) that is over",
        "idle": "only what nobody has asked for so long, such as 24h or 7d",
    }
)
def undeploy(
    _context: Any,
    name: str | None = None,
    expired: bool = False,
    idle: str | None = None,
    lock_timeout: int = 0,
    dry_run: bool = False,
) -> None:
    """Take the model off its endpoint.

    The endpoint stays with its id, and costs nothing.
    """
    from edge_tasks.releases import operations

    if expired or idle is not None:
        _undeploy_what_is_over(name, expired, idle, lock_timeout, dry_run=dry_run)
        return
    with _release(name, dry_run=dry_run, lock_timeout=lock_timeout) as (release, console):
        done = operations.undeploy(release)
        if not dry_run:
            console.step(f"`{release.name}` is no longer deployed" if done else f"`{release.name}` was not deployed")


def _undeploy_what_is_over(
    name: str | None, expired: bool, idle: str | None, lock_timeout: int, *, dry_run: bool
) -> None:
    """Take off what has expired or is idle, of one model or of all; the rest is not touched."""
    from edge_tasks.console import Console
    from edge_tasks.domain.period import read_period
    from edge_tasks.errors import EdgeError
    from edge_tasks.models import endings
    from edge_tasks.releases.plan import Options, Release

    period = read_period(idle) if idle is not None else None
    if period is not None and period > endings.LONGEST:
        raise EdgeError(f"requests are counted for 6 weeks, not for {idle}", "use at most 6w")
    here = repository()
    if name is not None:
        name, _ = here.config.model(name)
    options = Options(dry_run=dry_run, lock_timeout=lock_timeout)
    with Console() as console:
        ended = 0
        for found in endings.due(here.cloud, name, expired=expired, idle=period):
            console.step(f"`{found.model}`: {found.reason}")
            if isinstance(found, endings.Ending):
                release = Release(here.cloud, here.config, here.root, found.model, console, options)
                if not endings.carry_out(found, release):
                    console.step(f"`{found.model}` was released meanwhile, and stays")
                ended += 1
        if not ended:
            console.step("nothing is to be taken off")


@task(help={**_DRY_RUN, "yes": "do not ask"})
def remove(
    _context: Any, name: str | None = None, lock_timeout: int = 0, yes: bool = False, dry_run: bool = False
) -> None:
    """Delete a model's endpoint and registered versions.

    The model's folder and edge.yaml stay.
    """
    from edge_tasks.console import confirm
    from edge_tasks.errors import EdgeError
    from edge_tasks.releases import operations

    with _release(name, dry_run=dry_run, lock_timeout=lock_timeout) as (release, console):
        question = f"delete the endpoint and all registered versions of `{release.name}` ({release.config.target})?"
        if not dry_run and not yes and not confirm(question):
            raise EdgeError("nothing was removed", "add `--yes` to remove without being asked")
        operations.remove(release)
        if not dry_run:
            console.step(
                f"removed what existed of `{release.name}`; models/{release.name} and edge.yaml are as they were"
            )


@task(help={"old": "the model's name", "new": "its new name", "lock_timeout": LOCK_TIMEOUT_HELP})
def rename(_context: Any, old: str, new: str, lock_timeout: int = 0) -> None:
    """Give a model another name.

    In the shared state, its folder, dvc.yaml and edge.yaml. What serves is not interrupted.
    """
    from edge_tasks.console import Console
    from edge_tasks.setup.model_rename import rename_model

    here = repository()
    with Console() as console:
        mentions = rename_model(here.root, here.config, here.cloud, old, new, console, lock_timeout)
        console.step(f"`{old}` is now `{new}`; runs and versions of before keep the old name")
        if mentions:
            console.step(f"the old name still stands in {', '.join(mentions)}: change what you like")
        console.step("commit it, so that a commit tells its code: git add . && git commit")
        console.step(f"now train it: dvc repro models/{new}/dvc.yaml")


@task(
    help={
        "name": "the model",
        "yes": "do not ask",
        "dry_run": "only say what would be done",
        "lock_timeout": LOCK_TIMEOUT_HELP,
    }
)
def delete(_context: Any, name: str, lock_timeout: int = 0, yes: bool = False, dry_run: bool = False) -> None:
    """Delete a model: the reverse of model.init.

    First what is in the cloud, then its folder, and what edge.yaml says of it.
    """
    from edge_tasks.console import Console, confirm
    from edge_tasks.errors import EdgeError
    from edge_tasks.releases.plan import Options, Release
    from edge_tasks.setup import model_deletion

    here = repository()
    model_deletion.check(here.root, here.config, name)
    with Console() as console:
        options = Options(dry_run=dry_run, lock_timeout=lock_timeout)
        release = Release(here.cloud, here.config, here.root, name, console, options)
        question = (
            f"delete `{name}`: endpoint, registered versions ({here.config.target}) and the folder models/{name}?"
        )
        if not dry_run and not yes and not confirm(question):
            raise EdgeError("nothing was deleted", "add `--yes` to delete without being asked")
        data = model_deletion.delete_model(release)
        if not dry_run:
            console.step(f"deleted `{name}`; its recorded runs stay, and git has what was committed")
            if data:
                console.step(f"data that its stages made stay: {', '.join(data)}")


@task(name="get-endpoint", help={"name": NAME_HELP, "url": "print the address for predict requests instead"})
def get_endpoint(_context: Any, name: str | None = None, url: bool = False) -> None:
    """Print the endpoint's resource name, for scripts."""
    from edge_tasks.console import print_result
    from edge_tasks.models import predictions

    here = repository()
    name, _ = here.config.model(name)
    print_result((predictions.predict_url if url else predictions.endpoint_name)(here.cloud, name))


@task(
    help={
        "name": NAME_HELP,
        "file": 'a JSON file: {"instances": [...]} (default: the model\'s test_payload.json)',
    }
)
def predict(_context: Any, name: str | None = None, file: str | None = None) -> None:
    """Ask the endpoint for predictions.

    Prints its answer as JSON.
    """
    import json

    from edge_tasks.console import Console, print_result
    from edge_tasks.models import predictions
    from edge_tasks.repo import layout, payloads

    here = repository()
    name, _ = here.config.model(name)
    payload = payloads.read_payload(file or layout.model_folder(here.root, name) / payloads.FILE_NAME)
    with Console() as console:
        answer = predictions.predict(here.cloud, name, payload, console)
    print_result(json.dumps(answer, indent=2, ensure_ascii=False))


@task(
    name="import",
    help={
        "name": NAME_HELP,
        "artifact": "a folder with a model, or gs://BUCKET/FOLDER: what a training left, its files, or an MLflow model",
    },
)
def import_(_context: Any, artifact: str, name: str | None = None) -> None:
    """Take in a model that was trained elsewhere.

    Then it can be deployed as if it had been trained here.
    """
    from edge_tasks.console import Console
    from edge_tasks.models.model_import import import_model
    from edge_tasks.repo import layout
    from edge_tasks.repo.trained_model import ARTIFACT_FOLDER
    from edge_tasks.tools import dvc

    here = repository()
    name, _ = here.config.model(name)
    with Console() as console:
        trained = import_model(here.root, here.config, here.cloud, name, artifact)
        console.step(f"`{name}` is now the model of {artifact}, run {trained.run_id}")
        folder = layout.model_folder(here.root, name)
        if folder / ARTIFACT_FOLDER in dvc.stage_outputs(folder):
            console.step(
                f"warning: `dvc repro` would train models/{name} and put that in its place; to keep this one: "
                f"rm models/{name}/dvc.yaml && dvc add models/{name}/{ARTIFACT_FOLDER}"
            )
        console.step(f"now serve it: invoke model.deploy --name {name}")


@task(help={"name": NAME_HELP, "output": "a folder to write the Dockerfile and all that it needs to"})
def image(_context: Any, name: str | None = None, output: str | None = None) -> None:
    """Print the Dockerfile of what serves a model.

    It is for a model that no prebuilt image can serve; --output writes the folder to build.
    """
    from edge_tasks.console import Console, print_result
    from edge_tasks.domain.serving_choice import predictor_image
    from edge_tasks.domain.serving_dockerfile import dockerfile
    from edge_tasks.releases import serving, serving_image
    from edge_tasks.repo.layout import model_folder
    from edge_tasks.repo.trained_model import load_trained_model

    here = repository()
    name, _ = here.config.model(name)
    place = output_folder(output) if output is not None else None
    folder = model_folder(here.root, name)
    facts = serving.of_trained(here.cloud, here.config, folder, load_trained_model(folder, name))
    if place is None:
        print_result(dockerfile(facts).rstrip())
        return
    serving_image.write(facts, place)
    with Console() as console:
        uri = predictor_image(here.config, facts)
        console.step(f"wrote {output}; build it: docker build --tag {uri} {output}")


@task(help={"output": "write to this file instead of stdout", **AS_JSON})
def report(_context: Any, output: str | None = None, json: bool = False) -> None:
    """Print a report on every model's last training.

    It is Markdown, or all that is known as JSON.
    """
    from json import dumps

    from edge_tasks.console import print_result
    from edge_tasks.models import report as work
    from edge_tasks.repo.files import write_atomically

    here = repository()
    file = output_file(output) if output is not None else None
    text = dumps(work.document(here.root, here.config), indent=2) if json else work.report(here.root, here.config)
    if file is None:
        print_result(text.rstrip())
    else:
        write_atomically(file, text.encode())


collection = Collection(
    "model",
    init_,
    list_,
    describe,
    why,
    deploy,
    promote,
    rollback,
    undeploy,
    remove,
    rename,
    delete,
    get_endpoint,
    predict,
    image,
    import_,
    report,
)
for _task in (_jobs.train, _jobs.tune, _jobs.predict_batch, _monitor.monitor, _monitor.feedback, _monitor.logs):
    collection.add_task(_task)
