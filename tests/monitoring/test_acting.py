"""What a drift leads to: a report, an issue, a training. Never twice for the same one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from edge_tasks.cloud.client import Cloud
from edge_tasks.domain.baseline import make_baseline
from edge_tasks.domain.config import EdgeConfig, Monitoring
from edge_tasks.errors import EdgeError
from edge_tasks.monitoring import drift_notes, feedback, rounds, text
from edge_tasks.monitoring.watch import Watched, compared
from edge_tasks.repo import layout
from edge_tasks.tools import ci_service
from edge_tasks.tools.ci_service import CiServiceError
from tests.json_service import Asked, served

NUMBERS = [float(number) for number in range(500)]
BASELINE = make_baseline({"age": NUMBERS, "fee": NUMBERS}, "its training")


def drifted(*columns: str, by: float = 400.0, requests: int = 500) -> Watched:
    """What is found when some columns have changed."""
    now = {name: [value + by * (name in columns) for value in NUMBERS[:requests]] for name in ("age", "fee")}
    return compared("digits", BASELINE, now, Monitoring())


class Service:
    """GitHub and CircleCI, as far as a job asks them: issues with comments, and started pipelines."""

    def __init__(self) -> None:
        self.issues: dict[str, list[str]] = {}
        self.closed: set[str] = set()
        self.started: list[Any] = []
        self.refusal: int | None = None
        self.headers: dict[str, str] = {}
        self.url = ""

    def answer(self, asked: Asked) -> tuple[int, Any]:
        self.headers, body = dict(asked.headers), asked.body
        if self.refusal is not None:
            return self.refusal, {"message": "Resource not accessible by integration"}
        match [asked.method, *asked.path.strip("/").split("/")]:
            case ["POST", "repos", "ada", "churn", "issues"]:
                number = str(len(self.issues) + 1)
                self.issues[number] = [body["title"], body["body"]]
                return 201, {"number": int(number)}
            case ["GET", "repos", "ada", "churn", "issues", number]:
                return 200, {"state": "closed" if number in self.closed else "open"}
            case ["POST", "repos", "ada", "churn", "issues", number, "comments"]:
                self.issues[number].append(body["body"])
                return 201, {"id": 1}
            case ["POST", "repos", "ada", "churn", "actions", "workflows", "retrain.yml", "dispatches"]:
                self.started.append(body)
                return 204, None
            case ["POST", "api", "v2", "project", *slug, "pipeline"]:
                self.started.append(["/".join(slug), body])
                return 201, {"number": 25, "state": "pending"}
        return 404, {"message": "Not Found"}

    @property
    def github(self) -> dict[str, str]:
        return {
            "GITHUB_ACTIONS": "true", "GITHUB_TOKEN": "token", "GITHUB_REPOSITORY": "ada/churn",
            "GITHUB_API_URL": self.url, "GITHUB_RUN_ID": "77",
        }  # fmt: skip

    @property
    def circleci(self) -> dict[str, str]:
        return {
            "CIRCLECI": "true", "CIRCLE_TOKEN": "token", "CIRCLE_PROJECT_USERNAME": "ada", "CIRCLE_API_URL": self.url,
            "CIRCLE_PROJECT_REPONAME": "churn", "GITHUB_TOKEN": "token", "GITHUB_API_URL": self.url,
        }  # fmt: skip


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with served(service.answer) as service.url:
        yield service


# --- the services -------------------------------------------------------------------------------------------------


def test_a_job_opens_an_issue_and_comments_on_it_until_somebody_closes_it(service: Service) -> None:
    for environ in (service.github, service.circleci):
        issue = ci_service.open_issue(environ, "a title", "a body")
        assert service.headers["Authorization"] == "Bearer token"
        assert ci_service.comment(environ, issue, "more")
        service.closed.add(issue)
        assert not ci_service.comment(environ, issue, "again")
        assert service.issues[issue] == ["a title", "a body", "more"]


def test_a_job_starts_the_training_of_its_own_ci(service: Service) -> None:
    ci_service.start_training(service.github, "digits")
    ci_service.start_training(service.circleci, "digits")
    ids = {"CIRCLE_ORGANIZATION_ID": "o", "CIRCLE_PROJECT_ID": "p"}
    ci_service.start_training(service.circleci | ids, "digits")
    asked = {"branch": "main", "parameters": {"retrain": "digits"}}
    assert service.started == [
        {"ref": "main", "inputs": {"model": "digits"}}, ["gh/ada/churn", asked], ["circleci/o/p", asked],
    ]  # fmt: skip


def test_what_a_job_lacks_is_told(service: Service) -> None:
    with pytest.raises(CiServiceError, match="there is no GITHUB_TOKEN"):
        ci_service.open_issue({}, "a", "b")
    with pytest.raises(CiServiceError, match="there is no CIRCLE_TOKEN"):
        ci_service.start_training({"CIRCLECI": "true"}, "digits")
    with pytest.raises(CiServiceError, match="not a job of CircleCI or GitHub") as refused:
        ci_service.start_training({}, "digits")
    assert "invoke ci.train --again digits" in str(refused.value.hint)
    service.refusal = 403
    with pytest.raises(CiServiceError, match="GitHub answered 403 Resource not accessible"):
        ci_service.open_issue(service.github, "a", "b")
    with pytest.raises(CiServiceError, match="GitHub cannot be reached"):
        ci_service.open_issue(service.github | {"GITHUB_API_URL": "http://127.0.0.1:1"}, "a", "b")


# --- never twice --------------------------------------------------------------------------------------------------


def new(cloud: Cloud, config: EdgeConfig, watched: Watched, version: str = "1") -> list[str]:
    with drift_notes.noted(cloud, config, watched, version) as drift:
        return drift.new


def test_the_same_drift_is_new_once_for_each_version(cloud: Cloud, config: EdgeConfig) -> None:
    assert new(cloud, config, drifted()) == []
    assert new(cloud, config, drifted("age")) == ["age"]
    assert new(cloud, config, drifted("age")) == []
    assert new(cloud, config, drifted("age", "fee")) == ["fee"]
    assert new(cloud, config, drifted("fee")) == []
    # A column that has recovered meanwhile is new when it changes again.
    assert new(cloud, config, drifted("age")) == ["age"]
    assert new(cloud, config, drifted("age"), version="2") == ["age"]


def test_too_few_requests_change_nothing_of_what_is_known(cloud: Cloud, config: EdgeConfig) -> None:
    assert new(cloud, config, drifted("age")) == ["age"]
    assert new(cloud, config, drifted(requests=50)) == []
    assert new(cloud, config, drifted("age")) == []


def test_what_could_not_be_done_is_done_by_the_next_run(cloud: Cloud, config: EdgeConfig) -> None:
    with pytest.raises(EdgeError), drift_notes.noted(cloud, config, drifted("age"), "1"):
        raise EdgeError("GitHub is away")
    assert new(cloud, config, drifted("age")) == ["age"]


def test_of_two_jobs_at_once_one_acts(cloud: Cloud, config: EdgeConfig) -> None:
    start, found = threading.Barrier(2), []

    def job() -> None:
        start.wait()
        found.append(new(cloud, config, drifted("age")))

    jobs = [threading.Thread(target=job) for _ in range(2)]
    for one in jobs:
        one.start()
    for one in jobs:
        one.join()
    assert sorted(found) == [[], ["age"]]


def test_people_are_told_in_one_issue_until_they_close_it(
    cloud: Cloud, config: EdgeConfig, service: Service, progress: Progress
) -> None:
    for columns in (("age",), ("age",), ("age", "fee"), ("fee",)):
        act(cloud, config, drifted(*columns), service, progress)
    assert list(service.issues) == ["1"]
    title, first, second = service.issues["1"]
    assert title == "`digits`: what it is asked has changed"
    assert "| age |" in first
    assert "https://github.com/ada/churn/actions/runs/77" in first
    assert "| fee |" in second
    service.closed.add("1")
    act(cloud, config, drifted("age", "fee"), service, progress)
    assert list(service.issues) == ["1", "2"]
    assert progress.steps[-1] == "`digits`: opened the issue 2"


def test_a_training_is_started_once(cloud: Cloud, config: EdgeConfig, service: Service, progress: Progress) -> None:
    for _ in range(3):
        act(cloud, config, drifted("age"), service, progress, "train")
    assert service.started == [{"ref": "main", "inputs": {"model": "digits"}}]
    assert progress.steps[-1].startswith("`digits`: a training was started")


def act(
    cloud: Cloud, config: EdgeConfig, found: Watched, service: Service, progress: Progress, what: str = "issue"
) -> None:
    with drift_notes.noted(cloud, config, found, "1") as drift:
        if drift.new:
            rounds.act(what, found, drift, ci_service, service.github, progress)


class Progress:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def log(self, text: str) -> None:
        self.steps.append(text)

    def waiting(self, text: str, elapsed: float) -> None:
        """Nothing is waited for here."""


@pytest.fixture
def progress() -> Progress:
    return Progress()


# --- true answers -------------------------------------------------------------------------------------------------


def test_true_answers_are_kept_once_and_deleted_by_age(cloud: Cloud, config: EdgeConfig) -> None:
    first: list[dict[str, Any]] = [
        {"request_id": "1", "instance": 0, "label": "no"},
        {"key": "customer", "value": "7", "label": "no"},
    ]
    feedback.store(cloud, config, "digits", first)
    feedback.store(cloud, config, "digits", first)
    feedback.store(cloud, config, "digits", [first[0] | {"label": "yes"}])
    # What is damaged holds no label.
    cloud.objects.write(f"{layout.feedback(config, 'digits')}/x.jsonl", b'\xff\n{"request_id"\n[]\n7\n{"key": "a"}\n')
    labels = feedback.load(cloud, config, "digits")
    assert (labels.by_request, labels.by_key) == ({("1", 0): "yes"}, {"customer": {"7": "no"}})
    now = datetime.now(timezone.utc)
    assert feedback.delete(cloud, config, "digits", now - timedelta(hours=1)) == 0
    assert feedback.delete(cloud, config, "digits", now + timedelta(hours=1)) == 3
    assert len(feedback.load(cloud, config, "digits")) == 0
    assert "not enough" in text.markdown(drifted(requests=5))
