"""What Vertex AI does for a custom job that belongs to an experiment: https://cloud.google.com/vertex-ai/docs/experiments.

The rest of Vertex AI Experiments is done by the SDK, with contexts, executions, artifacts and tensorboards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import json_format

from edge_tasks.emulator.errors import invalid
from edge_tasks.emulator.services.names import new_id, project_and_location

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context as Emulation

KIND = "Context"
# Which custom jobs belong to a run, as ExperimentRun.get_logged_custom_jobs reads it from the run's metadata.
JOBS = "_custom_jobs"
CONSOLE = "https://console.cloud.google.com/agent-platform/locations/{location}/training/{job}?project={project}"
# What the SDK writes into the context of a run that it starts.
RUN_METADATA = {"_params": {}, "_metrics": {}, "_state": "RUNNING"}


def join(emulation: Emulation, spec: Message) -> None:
    """Check the experiment and the run of a job's spec, and make a run when none is named."""
    database = emulation.database
    if spec.experiment_run and not spec.experiment:
        raise invalid("job_spec.experiment_run can only be set together with job_spec.experiment.")
    if not spec.experiment:
        return
    database.get(KIND, spec.experiment)
    if spec.experiment_run:
        database.get(KIND, spec.experiment_run)
        return
    run_id = new_id()
    run = emulation.surface.new(
        KIND,
        name=f"{spec.experiment}-{run_id}",
        display_name=run_id,
        schema_title="system.ExperimentRun",
        schema_version="0.0.1",
        parent_contexts=[spec.experiment],
        etag="1",
    )
    json_format.ParseDict(RUN_METADATA, run.metadata)
    run.create_time.GetCurrentTime()
    run.update_time.CopyFrom(run.create_time)
    database.insert(KIND, run.name, spec.experiment.rpartition("/contexts/")[0], run)
    spec.experiment_run = run.name


def note_job(emulation: Emulation, job: Message) -> None:
    """Write into the run of a job's spec that the job belongs to it.

    The etag stays: the SDK writes what it logs over the run that it has read, and over REST it gives up when another
    has written meanwhile.
    """
    if not job.job_spec.experiment_run:
        return
    run = emulation.database.get(KIND, job.job_spec.experiment_run)
    project, location = project_and_location(job.name)
    console = CONSOLE.format(location=location, job=job.name.rpartition("/")[2], project=project)
    noted = run.metadata.fields[JOBS].list_value.values.add()
    json_format.ParseDict({"custom_job_resource_name": job.name, "custom_job_console_uri": console}, noted)
    emulation.database.update(run.name, run)


def keep_jobs(before: Message, after: Message) -> None:
    """Keep the jobs of a run whose metadata a client has replaced by what it knew of it."""
    if JOBS in before.metadata.fields and JOBS not in after.metadata.fields:
        after.metadata.fields[JOBS].CopyFrom(before.metadata.fields[JOBS])
