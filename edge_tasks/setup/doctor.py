"""What `invoke doctor` looks at: this machine, the repository, each model's images, and what the target needs.

It changes nothing and starts nothing.
"""

from __future__ import annotations

import platform
import shlex
import shutil
import sys
from datetime import datetime, timezone
from functools import cache, partial
from pathlib import Path

from edge_tasks.cloud import quotas
from edge_tasks.cloud.client import Cloud, connect, on_google_cloud
from edge_tasks.cloud.state_store import STALE_AGE, StateStore
from edge_tasks.domain import images
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.machines import check_machine
from edge_tasks.domain.pipeline_plan import TRAIN_STAGE
from edge_tasks.domain.quotas import needs
from edge_tasks.domain.serving_choice import choose
from edge_tasks.errors import ConfigError, DataError, EdgeError, GitError, ServerError, StateError
from edge_tasks.jobs.run_script import SCRIPT
from edge_tasks.jobs.submit import Submission
from edge_tasks.models.report import reported_models
from edge_tasks.readiness import artifact, distributions, syntax
from edge_tasks.readiness.complaints import refuse
from edge_tasks.releases import preflight, serving
from edge_tasks.repo import edge_yaml, layout, model_folders
from edge_tasks.repo.text_files import BOTH_SIDES_HINT
from edge_tasks.repo.trained_model import ARTIFACT_FOLDER, last_training
from edge_tasks.setup import google_cloud, initialise, requirements, template
from edge_tasks.setup.checks import Check, Finding, Result, examine
from edge_tasks.setup.terraform import is_managed
from edge_tasks.tools import dvc, emulator_process, git

_SERVERS = "local servers"

# Those that pyproject.toml names.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)

_PAGES = {
    "prediction": "https://cloud.google.com/vertex-ai/docs/predictions/pre-built-containers",
    "training": "https://cloud.google.com/vertex-ai/docs/training/pre-built-containers",
}

# An image that can be used for fewer days than this is worth a word.
_SOON = 90


def examine_repository(root: Path) -> list[Result]:
    """Look at everything about the repository at `root`."""
    machine = [
        Check("Python", _python),
        Check("packages", lambda: _packages(root)),
        Check("git", lambda: _git(root)),
        Check("edge.yaml", lambda: _edge_yaml(root)),
    ]
    try:
        config = edge_yaml.load_config(root)
    except ConfigError:
        return examine(machine)
    checks = [*machine, Check("DVC", lambda: initialise.check_dvc(root, config))]
    checks.append(Check("models", lambda: _models(root, config)))
    checks += [Check("data", lambda: _data(root, config), after=("git", "DVC")), *_model_checks(root, config)]
    return examine([*checks, *_place_checks(root, config)])


def _place_checks(root: Path, config: EdgeConfig) -> list[Check]:
    reach = cache(lambda: connect(config, root))
    state = Check("state", lambda: _state(reach()), after=(google_cloud.BUCKET,))
    if on_google_cloud(config):
        quota = Check("quota", lambda: _quota(config, reach()), after=(google_cloud.CREDENTIALS,))
        return [*google_cloud.checks(config, reach, by_terraform=is_managed(root)), state, quota]
    servers = Check(_SERVERS, lambda: _servers(root))
    try:
        there = emulator_process.running(root) is not None
    except OSError:  # of which `servers` tells
        there = False
    if not there:
        return [servers]
    return [servers, Check(google_cloud.BUCKET, lambda: initialise.check_bucket(reach()), after=(_SERVERS,)), state]


def _python() -> Finding:
    version = platform.python_version()
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        raise EdgeError(f"Python {version} is not supported", "use Python 3.10 to 3.13")
    return Finding(f"Python {version}")


def _packages(root: Path) -> Finding:
    """Look whether what vertex:edge and the repository need is installed so: pip lets other packages change that."""
    if wrong := requirements.unfulfilled():
        first, *others = wrong
        more = f" (and {len(others)} more)" if others else ""
        raise EdgeError(
            f"{first.package} {first.installed} is installed, vertex-edge needs {first.needed}"
            + (f"; {', '.join(first.wanted_by)} asked for it" if first.wanted_by else "")
            + more,
            f"pip install '{first.package}{first.needed}'"
            + (f", and {first.wanted_by[0]} in an environment by itself" if first.wanted_by else ""),
        )
    if wrong := requirements.unfulfilled_of(root / "requirements.txt"):
        facts = "; ".join(f"{one.package} {one.installed} is installed, not {one.needed}" for one in wrong)
        advice = "pip install -r requirements.txt, in an environment of this repository alone"
        return Finding(f"requirements.txt: {facts}", advice=advice)
    return Finding("what requirements.txt and vertex-edge ask for is installed")


def _git(root: Path) -> Finding:
    if shutil.which("git") is None:
        raise EdgeError("git is not installed", "install git: models are labelled with the commit they come from")
    if not git.is_repository(root):
        raise GitError("this folder is in no git repository", "git init && git add . && git commit -m Start")
    if unmerged := git.unmerged(root):
        more = f" (and {len(unmerged) - 1} more)" if len(unmerged) > 1 else ""
        raise GitError(f"a merge is not finished: git has both sides of `{unmerged[0]}`{more}", BOTH_SIDES_HINT)
    commit = git.head(root)
    if commit is None:
        return Finding("no commit yet", advice="git add . && git commit -m Start: models are labelled with it")
    return Finding(f"commit {commit.sha[:12]}" + (", with changes that are not committed" if commit.dirty else ""))


def _models(root: Path, config: EdgeConfig) -> Finding:
    """Look whether edge.yaml, dvc.yaml and the folders name the same models: somebody may have changed one by hand."""
    template.check_finished(root)
    for name in config.models:
        model_folders.check_folder(root, config, name)
        model_folders.check_inside(root, name)
    if gone := [name for name in reported_models(root) if name not in config.models]:
        raise ConfigError(
            f"dvc.yaml's stage report depends on `{gone[0]}`, which edge.yaml does not name",
            f"invoke model.delete {gone[0]}",
        )
    if unlisted := model_folders.unlisted(root, config):
        return Finding(
            f"edge.yaml does not name models/{unlisted[0]}",
            advice=f"add it under `models`; or invoke model.delete {unlisted[0]}",
        )
    return Finding(f"edge.yaml, dvc.yaml and folders agree: {', '.join(config.models) or 'none'}")


def _data(root: Path, config: EdgeConfig) -> Finding:
    """Look at data that git has, too, and at those that only a person can bring: whether others can get them."""
    if both := git.taken(root, sorted(dvc.tracked_paths(root))):
        path, more = both[0].relative_to(root), f" (and {len(both) - 1} more)" if len(both) > 1 else ""
        return Finding(
            f"DVC keeps `{path.as_posix()}`{more}, and git has it or would take it, too",
            advice=f"git rm -r --cached --ignore-unmatch {shlex.quote(path.as_posix())}, "
            f"echo {shlex.quote(f'/{path.name}')} >> {shlex.quote((path.parent / '.gitignore').as_posix())}",
        )
    added = dvc.added(root)
    missing = [f"`{data.path}`" for data in added if not data.here]
    if missing:
        return Finding(f"not here: {', '.join(missing)}", advice="dvc pull; else who added them has to dvc push")
    if not added:
        return Finding("stages make all of them")
    names = ", ".join(f"`{data.path}`" for data in added)
    if not on_google_cloud(config) and dvc.remotes(root) == [initialise.REMOTE]:
        return Finding(
            f"{names}: in this clone only, so that no clone can train",
            advice="dvc remote add --default team FOLDER, git commit .dvc/config, dvc push",
        )
    return Finding(f"added: {names}")


def _edge_yaml(root: Path) -> Finding:
    config = edge_yaml.load_config(root)
    place = config.google_cloud_project
    return Finding(f"target {config.target}, project {place.project_id}, region {place.region}")


# -- models --


def _model_checks(root: Path, config: EdgeConfig) -> list[Check]:
    looks = {"machines": _machines, "serving image": _serving_image, "training image": _training_image}
    checks = []
    for name in config.models:
        checks += [Check(f"{name}: {what}", partial(look, config, name)) for what, look in looks.items()]
        checks.append(Check(f"{name}: training code", partial(_training_code, root, config, name)))
        checks.append(Check(f"{name}: artifact", partial(_artifact, root, config, name)))
    return checks


def _training_code(root: Path, config: EdgeConfig, name: str) -> Finding:
    folder = layout.model_folder(root, name)
    if not folder.is_dir():
        raise ConfigError(f"there is no folder models/{name}", "see `models` above")
    if not (folder / SCRIPT).is_file():
        if dvc.has_stage(folder, TRAIN_STAGE):
            raise ConfigError(
                f"there is no models/{name}/{SCRIPT}, which dvc.yaml has a stage for", f"git checkout models/{name}"
            )
        return Finding(f"there is no {SCRIPT}")
    source = (folder / SCRIPT).read_bytes()
    if problem := syntax.problem(source):
        raise ConfigError(f"models/{name}/{SCRIPT} is not Python: {problem}", f"fix models/{name}/{SCRIPT}")
    if syntax.does_nothing(source):
        raise ConfigError(
            f"models/{name}/{SCRIPT} trains nothing: `dvc repro` would keep the old model as what it made",
            f"git checkout models/{name}/{SCRIPT}; what trains is marked by `@ex.automain`",
        )
    if hiding := _hiding(folder):
        return Finding(
            f"models/{name}/{hiding[0]}.py hides the library `{hiding[0]}`: `import {hiding[0]}` finds the file",
            advice="give the file another name",
        )
    try:
        Submission(config, root, name, SCRIPT).check()
    except DataError as error:  # before the first `dvc repro` there may be none
        return Finding(f"not looked at: {error.problem}", advice=error.hint)
    if not dvc.has_stage(folder, TRAIN_STAGE):
        return Finding(
            f"models/{name}/dvc.yaml has no stage `{TRAIN_STAGE}`, by whose deps data get into a job",
            advice=f"give the stage that trains this name; git diff models/{name}/dvc.yaml shows what was changed",
        )
    if unnoticed := Submission(config, root, name, SCRIPT).unnoticed():
        names = ", ".join(f"`{path}`" for path in unnoticed)
        return Finding(
            f"dvc repro does not notice a change of {names}", advice=f"add to deps of train in models/{name}/dvc.yaml"
        )
    return Finding("what it imports and opens would be there in a job")


def _hiding(folder: Path) -> list[str]:
    """Return the modules in `folder` that are called as a module of Python's or of an installed package is."""
    names = sorted(path.stem for path in folder.glob("*.py"))
    return [name for name in names if name in sys.stdlib_module_names or distributions.is_installed(name)]


def _artifact(root: Path, config: EdgeConfig, name: str) -> Finding:
    folder = layout.model_folder(root, name)
    trained, problem, _ = last_training(folder, name)
    if problem:
        raise problem
    if trained is None or not (folder / ARTIFACT_FOLDER).is_dir():
        return Finding("not trained yet, or not on this machine")
    facts = serving.of_folder(folder / ARTIFACT_FOLDER, trained.environment)
    chosen = choose(config, name, facts)
    found = artifact.complaints(name, folder / ARTIFACT_FOLDER, facts, chosen)
    refuse(found, f"the deployment of `{name}`", f"invoke model.deploy --name {name} --no-checks")
    return Finding(f"it is to be served by {serving.NAMES[chosen.kind]}: {chosen.why}")


def _machines(config: EdgeConfig, name: str) -> Finding:
    model = config.models[name]
    check_machine(f"models.{name}.training_machine_type", preflight.training_machines(model))
    check_machine(f"models.{name}.serving_machine_type", preflight.serving_machines(model))
    return Finding(f"{model.training_machine_type} to train, {model.serving_machine_type} to serve")


def _serving_image(config: EdgeConfig, name: str) -> Finding:
    uri = config.serving_image(config.models[name])
    preflight.check_serving_image(config, name, uri)
    prebuilt = images.prebuilt(uri)
    if prebuilt is None:
        return Finding(f"{uri}, not one of Google's")
    installed = _installed(prebuilt.package)
    if installed is None:
        return Finding(f"{prebuilt.package} is not installed here", advice="pip install -r requirements.txt")
    preflight.check_library_version(name, {prebuilt.package: installed}, uri)
    return _supported(prebuilt, f"{prebuilt.package} {installed}, as here")


def _training_image(config: EdgeConfig, name: str) -> Finding:
    uri = config.models[name].training_container_image_uri
    prebuilt = images.prebuilt(uri)
    return Finding(uri) if prebuilt is None else _supported(prebuilt, uri)


def _supported(image: images.PrebuiltImage, fact: str) -> Finding:
    support = images.support(image)
    today = datetime.now(timezone.utc).date()
    newer = f"choose a newer one: {_PAGES[image.purpose]}"
    if support is None:
        return Finding(f"{fact}; not in this version's table of images", advice=f"look it up: {_PAGES[image.purpose]}")
    if support.available_until < today:
        return Finding(f"{fact}; cannot be used since {support.available_until}", advice=newer)
    until = f"{fact}; can be used until {support.available_until}"
    return Finding(until, advice=newer if (support.available_until - today).days < _SOON else None)


def _installed(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


# -- the target --


def _servers(root: Path) -> Finding:
    emulator_process.require_extra()
    servers = emulator_process.running(root)
    if servers is None:
        if lost := emulator_process.lost(root):
            raise lost
        return Finding("they do not run; commands start them when they need them")
    if not emulator_process.answering(servers):
        raise ServerError(
            f"they run (process {servers.pid}) but do not answer", "invoke local.stop, then look at invoke local.logs"
        )
    return Finding(
        f"Vertex AI at {servers.vertex_url}, Cloud Storage at {servers.storage_url}",
        advice=servers.notice or None,
    )


def _quota(config: EdgeConfig, cloud: Cloud) -> Finding:
    """Look whether the project may ever have the machines that edge.yaml names; what is in use is not looked at."""
    if cloud.quotas_url is None:
        return Finding("not looked at: an emulator stands for Google Cloud")
    limits = quotas.limits(cloud)
    if limits is None:
        enable = f"gcloud services enable cloudquotas.googleapis.com --project {cloud.project}"
        return Finding("not looked at: nobody tells this account", advice=f"{enable}, and roles/cloudquotas.viewer")
    known = 0
    for name, model in config.models.items():
        for use, machine in (
            ("training", preflight.training_machines(model)),
            ("serving", preflight.serving_machines(model)),
        ):
            preflight.check_quota(cloud, f"models.{name}.{use}_machine_type", machine, limits)
            known += any(metric in limits for metric in needs(machine))
    if not known:
        return Finding(f"Google names no quota of these machines in {cloud.region}")
    return Finding(f"the project may have the machines that edge.yaml names, in {cloud.region}")


def _state(cloud: Cloud) -> Finding:
    store = StateStore(cloud)
    if not store.exists():
        raise StateError("there is no shared state", "invoke init")
    state = store.load()
    held = store.holder()
    fact = f"knows of {', '.join(state.models)}" if state.models else "knows of no model yet"
    if held is not None and held[1] > STALE_AGE:
        return Finding(f"{fact}; locked by {held[0].describe(held[1])}", advice="invoke state.unlock")
    return Finding(f"{fact}; locked by {held[0].describe(held[1])}" if held else fact)
