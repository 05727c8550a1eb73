"""A round over all models, as CI makes it each day: look, write reports, delete what is old, and act on what is new."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig, Monitoring
from edge_tasks.domain.period import read_period
from edge_tasks.domain.progress import Progress
from edge_tasks.errors import EdgeError, NotFoundError
from edge_tasks.monitoring import drift_notes, feedback, page, requests, text, watch
from edge_tasks.monitoring.drift_notes import Drift
from edge_tasks.monitoring.watch import Watched
from edge_tasks.repo.files import write_atomically

REPORT, ISSUE, TRAIN = "report", "issue", "train"


class Service(Protocol):
    """The services around a CI job."""

    def open_issue(self, environ: Mapping[str, str], title: str, body: str) -> str:
        """Open an issue; return its number."""

    def comment(self, environ: Mapping[str, str], issue: str, body: str) -> bool:
        """Comment on an issue. False when it is closed."""

    def start_training(self, environ: Mapping[str, str], model: str) -> None:
        """Start what trains a model again."""


def look(
    cloud: Cloud, config: EdgeConfig, folder: Path, service: Service, environ: Mapping[str, str], progress: Progress
) -> list[str]:
    """Look at every model that keeps what it is asked; write reports into `folder`, and act on new drift.

    Return the models with a new drift that asks for nothing but a report. What fails for one model is raised after the
    others were looked at.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reported, failed = [], []
    for name, model in config.models.items():
        try:
            found, drift = _look(cloud, config, name, folder, service, environ, progress)
        except EdgeError as error:
            progress.step(f"`{name}`: {error.problem}")
            failed.append(error)
            continue
        if found and drift and drift.new and model.monitoring.on_drift == REPORT:
            reported.append(name)
    if failed:
        raise failed[0]
    return reported


def _look(
    cloud: Cloud,
    config: EdgeConfig,
    name: str,
    folder: Path,
    service: Service,
    environ: Mapping[str, str],
    progress: Progress,
) -> tuple[Watched | None, Drift | None]:
    settings = config.models[name].monitoring
    deployed = StateStore(cloud).load().model(name).deployed
    if deployed is None or not requests.is_kept(cloud, name):
        progress.step(f"`{name}` keeps nothing of what it is asked: invoke model.monitor --name {name} --on")
        return None, None
    try:
        found = watch.watch(cloud, name, read_period(settings.window), settings)
    except NotFoundError as error:
        progress.step(f"`{name}` cannot be compared: {error.problem}")
        return None, None
    _write(folder, found)
    progress.step(f"`{name}`, {found.requests} requests: {found.verdict}")
    _forget(cloud, config, name, settings, progress)
    with drift_notes.noted(cloud, config, found, deployed.version) as drift:
        if drift.new:
            act(settings.on_drift, found, drift, service, environ, progress)
        elif found.changed:
            progress.step(f"`{name}`: that is known, nothing more is done about it")
    return found, drift


def _write(folder: Path, found: Watched) -> None:
    document = json.dumps(text.document(found), indent=2, ensure_ascii=False) + "\n"
    for suffix, content in (("html", page.page(found)), ("md", text.markdown(found)), ("json", document)):
        write_atomically(folder / f"{found.model}.{suffix}", content.encode())


def _forget(cloud: Cloud, config: EdgeConfig, name: str, settings: Monitoring, progress: Progress) -> None:
    if settings.keep is not None:
        until = requests.now(cloud) - read_period(settings.keep)
        deleted = requests.delete(cloud, name, until) + feedback.delete(cloud, config, name, until)
        if deleted:
            progress.step(f"`{name}`: deleted what was kept before {until:%Y-%m-%d}")


def act(
    action: str, found: Watched, drift: Drift, service: Service, environ: Mapping[str, str], progress: Progress
) -> None:
    """Do what is asked for about a new drift; an issue that is opened is kept in `drift`."""
    model = found.model
    if action == ISSUE:
        body = text.markdown(found) + _where(environ)
        if drift.issue is not None and service.comment(environ, drift.issue, body):
            progress.step(f"`{model}`: commented on the issue {drift.issue}")
        else:
            drift.issue = service.open_issue(environ, f"`{model}`: what it is asked has changed", body)
            progress.step(f"`{model}`: opened the issue {drift.issue}")
    elif action == TRAIN:
        service.start_training(environ, model)
        progress.step(
            f"`{model}`: a training was started; its version gets 10 % of the requests, and waits for approval"
        )


def _where(environ: Mapping[str, str]) -> str:
    """Return a line that leads to the report."""
    link = environ.get("CIRCLE_BUILD_URL", "")
    if environ.get("GITHUB_RUN_ID"):
        server, repository = (
            environ.get("GITHUB_SERVER_URL", "https://github.com"),
            environ.get("GITHUB_REPOSITORY", ""),
        )
        link = f"{server}/{repository}/actions/runs/{environ['GITHUB_RUN_ID']}"
    return f"\nThe report with histograms is among the artifacts of {link}\n" if link else ""
