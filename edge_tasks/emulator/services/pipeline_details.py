"""The tasks of a pipeline job as clients see them (`job_detail.task_details`), and what of them is kept for a restart.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs#PipelineTaskDetail
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import Code
from edge_tasks.emulator.pipelines.steps import CANCELLED, NOT_TRIGGERED, RUNNING, Outcome, Step
from edge_tasks.emulator.services.names import new_id

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context

KIND = "PipelineJob"
PENDING = "PENDING"


class Details:
    """The task details of one pipeline job; every change is in the store before the next thing happens."""

    def __init__(self, context: Context, job: str) -> None:
        self._context = context
        self._job = job
        row = context.database.find(KIND, job)
        assert row is not None
        self._kept = {path: Outcome.from_json(json.loads(text)) for path, text in row.private.get("done", {}).items()}
        self._ids = {detail.task_unique_name: str(detail.task_id) for detail in row.message.job_detail.task_details}

    def kept(self, step: Step) -> Outcome | None:
        """Return how a task has ended already, in an earlier life of the emulator."""
        return self._kept.get(step.path)

    def execution(self, step: Step) -> str:
        """Return the execution of a task that was started before; empty when there is none."""
        detail = self._find(self._context.database.get(KIND, self._job), step)
        return str(detail.execution.name) if detail is not None else ""

    def task_id(self, step: Step) -> str:
        """Return the id of a task."""
        return self._ids.setdefault(step.path, new_id())

    def add(self, step: Step, state: str = PENDING) -> None:
        """Note a task; one that was there before a restart begins again."""
        job = self._context.database.get(KIND, self._job)
        detail = self._find(job, step)
        if detail is None:
            detail = job.job_detail.task_details.add()
            detail.task_id, detail.task_name = int(self.task_id(step)), step.name or job.name.rpartition("/")[2]
            detail.task_unique_name = step.path
            if step.path:
                detail.parent_task_id = int(self._ids.get(step.parent.path if step.parent else "", 0))
            detail.create_time.GetCurrentTime()
            for name, artifacts in step.artifacts.items():
                self._add_artifacts(detail.inputs[name], artifacts)
        self._set_state(detail, state)
        self._save(job)

    def begin(self, step: Step, execution: str) -> None:
        """Note that a task runs."""
        job = self._context.database.get(KIND, self._job)
        detail = self._found(job, step)
        self._set_state(detail, RUNNING)
        if not detail.HasField("start_time"):
            detail.start_time.GetCurrentTime()
        if execution:
            detail.execution.CopyFrom(self._context.database.get("Execution", execution))
        self._save(job)

    def note_job(self, step: Step, name: str, *, failed: bool = False) -> None:
        """Note the custom job that runs a task, or that the one it had has failed and another one comes."""
        job = self._context.database.get(KIND, self._job)
        container = self._found(job, step).executor_detail.container_detail
        if failed:
            container.failed_main_jobs.append(name)
        else:
            container.main_job = name
        self._save(job)

    def end(self, step: Step, outcome: Outcome) -> None:
        """Note how a task ended; one that has done its work is not done again after a restart."""
        job = self._context.database.get(KIND, self._job)
        detail = self._find(job, step)
        if detail is None:
            self.add(step)
            job = self._context.database.get(KIND, self._job)
            detail = self._found(job, step)
        self._set_state(detail, outcome.state, outcome)
        if outcome.state != NOT_TRIGGERED:
            detail.end_time.GetCurrentTime()
        if outcome.message and outcome.state != CANCELLED:
            detail.error.code, detail.error.message = outcome.code, outcome.message
        if detail.execution.name:
            detail.execution.CopyFrom(self._context.database.get("Execution", detail.execution.name))
        for name, artifacts in outcome.artifacts.items():
            self._add_artifacts(detail.outputs[name], artifacts)
        if outcome.well and step.component.graph is None:
            self._kept[step.path] = outcome
            self._save(job, done={step.path: json.dumps(outcome.as_json())})
        else:
            self._save(job)

    def _find(self, job: Message, step: Step) -> Message | None:
        number = int(self._ids.get(step.path, 0))
        return next((detail for detail in job.job_detail.task_details if detail.task_id == number), None)

    def _found(self, job: Message, step: Step) -> Message:
        detail = self._find(job, step)
        assert detail is not None
        return detail

    def _set_state(self, detail: Message, state: str, outcome: Outcome | None = None) -> None:
        detail.state = self._context.surface.enum_value("PipelineTaskDetail.State", state)
        status = detail.pipeline_task_status.add()
        status.state = detail.state
        status.update_time.GetCurrentTime()
        if outcome is not None and outcome.message and state != CANCELLED:
            status.error.code, status.error.message = outcome.code or Code.INTERNAL.number, outcome.message

    def _add_artifacts(self, to: Message, artifacts: list[dict[str, object]]) -> None:
        for artifact in artifacts:
            row = self._context.database.find("Artifact", str(artifact["name"]))
            if row is not None:
                to.artifacts.add().CopyFrom(row.message)

    def _save(self, job: Message, **private: object) -> None:
        job.update_time.GetCurrentTime()
        self._context.database.update(self._job, job, **private)
