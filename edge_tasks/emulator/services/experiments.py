"""What Vertex AI does for a custom job that belongs to an experiment: https://cloud.google.com/vertex-ai/docs/experiments.

The rest of Vertex AI Experiments is done by the SDK, with contexts, executions, artifacts and tensorboards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import json_format

from edge_tasks.emulator.errors import invalid
from edge_tasks.emulator.services.names import new_id

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context as Emulation

KIND = "Context"
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
