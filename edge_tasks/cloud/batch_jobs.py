"""Every call to Vertex AI's batch prediction jobs.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.jobs import Job, JobApi, hours_run, job_fields, machines
from edge_tasks.domain.prices import PREDICTION, Use


@dataclass(frozen=True)
class BatchJob(Job):
    """A batch prediction job as it is now: how many instances were predicted, and where the results lie."""

    successful: int
    failed: int
    output_uri: str
    version: str = ""


def create_batch_job(
    cloud: Cloud,
    display_name: str,
    *,
    model: str,
    input_uri: str,
    instances_format: str,
    output_uri: str,
    machine: Mapping[str, Any],
    replica_count: int,
    labels: Mapping[str, str],
) -> BatchJob:
    """Create a job that asks the model version `model` (.../models/M@V) about each instance of a file.

    `instances_format` is `jsonl` or `csv`, `machine` a MachineSpec. The results go to a folder below `output_uri`.
    """
    job = {
        "display_name": display_name,
        "labels": dict(labels),
        "model": model,
        "input_config": {"instances_format": instances_format, "gcs_source": {"uris": [input_uri]}},
        "output_config": {"predictions_format": "jsonl", "gcs_destination": {"output_uri_prefix": output_uri}},
        "dedicated_resources": {
            "machine_spec": dict(machine),
            "starting_replica_count": replica_count,
            "max_replica_count": replica_count,
        },
    }
    return BATCH_JOBS.create(cloud, job)


def _job(message: Any) -> BatchJob:
    resources = message.dedicated_resources
    used = machines(PREDICTION, resources.machine_spec, resources.starting_replica_count or 1)
    return BatchJob(
        **job_fields(message),
        uses=(Use(used, hours_run(message)),),
        successful=int(message.completion_stats.successful_count),
        failed=int(message.completion_stats.failed_count),
        output_uri=message.output_info.gcs_output_directory,
        version=message.model_version_id or message.model.partition("@")[2],
    )


BATCH_JOBS = JobApi("batch prediction job", "batch_prediction_job", _job)
