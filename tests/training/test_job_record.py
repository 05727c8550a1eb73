"""The record of a job: one, with any number of writers, and closed by the laptop when the job cannot."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.jobs import Job
from edge_tasks.cloud.run_store import RunStore
from edge_tasks.domain.config import EdgeConfig, Experiments
from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.domain.progress import Silence
from edge_tasks.domain.runs import COMPLETED, FAILED, INTERRUPTED, QUEUED, RUNNING, RunRecord, utc_now
from edge_tasks.jobs.job_record import JobRecord
from edge_tasks.repo.trained_model import TrainedModel

ORDER = TrainingSpec(
    run_id="20261122-204655-1a2b3c4d",
    model_name="wine",
    script="train.py",
    output_uri="gs://my-bucket/vertex/wine/20261122-204655-1a2b3c4d/output",
    parameters={"rate": 0.5},
    data={"data/x.csv": "gs://my-bucket/dvcstore/files/md5/ab/cdef"},
    commit="c" * 40,
    dirty=True,
    user="ada",
)
CREATED = datetime(2026, 11, 22, 20, 47, tzinfo=timezone.utc)


def job(state: str, error: str | None = None) -> Job:
    return Job("projects/p/locations/l/customJobs/7", state, error, {}, CREATED)


@pytest.fixture
def laptop(cloud: Cloud, config: EdgeConfig) -> JobRecord:
    return JobRecord(cloud, config, ORDER, job("PENDING"), Silence())


def now(store: RunStore) -> RunRecord:
    (listed,) = store.list().runs
    record = store.read("wine", ORDER.run_id).record
    assert listed == record.summary()
    return record


def by_job(store: RunStore, **changes: object) -> None:
    """Write as the job itself does."""
    store.update("wine", ORDER.run_id, lambda record: (record or began()).changed(**changes))


def began() -> RunRecord:
    return RunRecord(run_id=ORDER.run_id, model_name="wine", status=RUNNING, created=utc_now(), started=utc_now())


def test_a_job_is_recorded_when_it_is_submitted(laptop: JobRecord, store: RunStore) -> None:
    laptop.submitted()
    record = now(store)
    assert (record.status, record.created, record.user) == (QUEUED, CREATED, "ada")
    assert record.job == "projects/p/locations/l/customJobs/7"
    assert (record.commit, record.dirty) == ("c" * 40, True)
    assert record.data == {"data/x.csv": "abcdef"}
    assert record.parameters == {"rate": 0.5}


def test_a_job_that_was_faster_than_its_laptop_goes_on_as_it_is(laptop: JobRecord, store: RunStore) -> None:
    by_job(store, host="worker")
    laptop.submitted()
    record = now(store)
    assert (record.status, record.host, record.user) == (RUNNING, "worker", "ada")
    assert record.job == "projects/p/locations/l/customJobs/7"


def test_a_job_that_never_began_is_closed_with_the_reason(laptop: JobRecord, store: RunStore) -> None:
    laptop.submitted()
    laptop.failed(job("FAILED", "pip ended with 1"), ["no such package", "bye"])
    record = now(store)
    assert (record.status, record.error, record.trace) == (FAILED, "pip ended with 1", "no such package\nbye")
    assert record.ended


def test_a_job_that_was_cancelled_in_the_queue_is_interrupted(laptop: JobRecord, store: RunStore) -> None:
    laptop.submitted()
    laptop.failed(job("CANCELLED"), [])
    assert (now(store).status, now(store).error) == (INTERRUPTED, "the job ended as CANCELLED")


def test_the_end_of_a_job_that_never_began_is_shown_in_vertex_ai_experiments(
    cloud: Cloud, config: EdgeConfig, store: RunStore
) -> None:
    wanting = config.model_copy(update={"experiments": Experiments(vertex_experiment="my-runs")})
    JobRecord(cloud, wanting, ORDER, job("PENDING"), Silence()).failed(job("FAILED", "pip ended with 1"), [])
    assert now(store).status == FAILED
    name = f"{cloud.parent}/metadataStores/default/contexts/my-runs-{ORDER.run_id}"
    context = cloud.metadata.get_context(name=name)
    assert json.loads(type(context).to_json(context))["metadata"] == {
        "_params": {"rate": 0.5},
        "_metrics": {},
        "_state": "FAILED",
    }


def test_what_a_job_says_of_its_failure_stays(laptop: JobRecord, store: RunStore) -> None:
    by_job(store, status=FAILED, error="ValueError: no good", trace="Traceback")
    laptop.failed(job("FAILED", "the replica ended with 1"), ["last line"])
    assert (now(store).error, now(store).trace) == ("ValueError: no good", "Traceback")


def test_a_job_that_was_killed_is_closed_with_the_reason(laptop: JobRecord, store: RunStore) -> None:
    by_job(store, status=RUNNING)
    laptop.failed(job("FAILED", "out of memory"), [])
    assert (now(store).status, now(store).error) == (FAILED, "out of memory")


def test_a_registered_model_is_added_to_the_record_and_tags_stay(laptop: JobRecord, store: RunStore) -> None:
    by_job(store, status=COMPLETED, ended=CREATED, tags=("good",), environment={"numpy": "1"})
    trained = TrainedModel(
        model_name="wine",
        run_id=ORDER.run_id,
        target="local",
        trained_at=CREATED,
        trained_by="ada",
        model="projects/p/locations/l/models/wine-1@3",
        artifact_uri="gs://my-bucket/a",
        artifact_sha256="ab",
        metrics={"score": 1.0},
        environment={"scikit-learn": "1.6.1"},
    )
    for _ in range(2):  # a laptop that takes a finished job's result does the same again
        laptop.succeeded(trained)
    record = now(store)
    assert (record.status, record.ended, record.tags) == (COMPLETED, CREATED, ("good",))
    assert record.model_version == "projects/p/locations/l/models/wine-1@3"
    assert (record.artifact_uri, record.artifact_sha256, record.metrics) == ("gs://my-bucket/a", "ab", {"score": 1.0})
    assert record.environment == {"numpy": "1", "scikit-learn": "1.6.1"}


def test_trouble_with_the_record_is_told_and_ends_nothing(cloud: Cloud, config: EdgeConfig) -> None:
    told: list[str] = []

    class Told(Silence):
        def step(self, text: str) -> None:
            told.append(text)

    blob = cloud.bucket.blob(f"experiments/runs/wine/{ORDER.run_id}.json")
    blob.upload_from_string("garbage")
    JobRecord(cloud, config, ORDER, job("PENDING"), Told()).submitted()
    (line,) = told
    assert line.startswith(f"the run {ORDER.run_id} is recorded in part only: gs://my-bucket/experiments/runs/wine/")
