"""A pipeline of the repository, submitted and followed; what its trainings gave is put where `dvc repro` puts it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_tasks.cloud import pipeline_jobs, storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.job_logs import LogLine, job_log
from edge_tasks.cloud.pipeline_jobs import PIPELINE_JOBS, PipelineJob, TaskRun
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.domain.pipeline_plan import MODEL_KEY, STAGE, TRAIN, VERSION_KEY, Task
from edge_tasks.domain.pipeline_spec import root_parameter
from edge_tasks.errors import CloudError, ConfigError, DataError, NotFoundError, TrainingError
from edge_tasks.jobs.output_dir import staging_folder
from edge_tasks.jobs.submit import check_parameters
from edge_tasks.jobs.waiter import JobSession, JobWaiter
from edge_tasks.pipelines.export import Export
from edge_tasks.repo import layout
from edge_tasks.repo.results import publish, read_results, set_aside
from edge_tasks.repo.trained_model import find_trained_model
from edge_tasks.tools import dvc

COLUMNS = ["pipeline job", "pipeline", "state", "created (UTC)", "tasks"]

# Of each task; it is Vertex AI's own limit of a pipeline's run, of which no field tells.
_LIMIT = 7 * 24 * 3600.0
_ENDED_WELL = ("SUCCEEDED", "SKIPPED")


class PipelineRun:
    """One run of an exported pipeline. `chosen` are values that go over those of a model's params.yaml."""

    def __init__(self, config: EdgeConfig, root: Path, export: Export, chosen: Mapping[str, Any]):
        self._config = config
        self._root = root
        self._export = export
        self._chosen = dict(chosen)
        if chosen and len(export.models) > 1:
            raise ConfigError("a parameter is one model's, and the pipeline has several", "invoke pipeline.run --name")

    def submit(self, session: JobSession, *, checks: bool = True, force: bool = False) -> PipelineJob:
        """Send code and data, and start the pipeline. With `force` no task gives again what it gave before."""
        export, cloud = self._export, session.cloud
        if checks:
            export.check()
            check_parameters(self._chosen)
        for note in export.notes():
            session.progress.step(note)
        export.send(cloud, session.progress)
        document = dict(export.document)
        if force:
            document = _uncached(document)
        settings = self._config.models[export.models[0]]
        wanted = pipeline_jobs.job_of(
            document,
            display_name=export.name,
            parameters=self._values(),
            labels=layout.pipeline_labels(self._config, export.models),
            service_account=settings.training_service_account,
        )
        job = PIPELINE_JOBS.create(cloud, wanted)
        session.progress.step(f"submitted pipeline job {job.job_id} ({cloud.vertex_url})")
        if page := pipeline_jobs.console_page(cloud, job):
            session.progress.step(page)
        return job

    def follow(self, session: JobSession, job: PipelineJob) -> PipelineJob:
        """Wait until the pipeline has ended. Raises TrainingError when a task has failed."""
        told: dict[str, str] = {}

        def look(now: PipelineJob) -> bool:
            news = [task for task in _own_tasks(now) if told.get(task.name) != task.state]
            for task in news:
                told[task.name] = task.state
                session.progress.step(f"{task.name}: {task.state.lower()}")
            return bool(news)

        waiter = JobWaiter(
            session=session, api=PIPELINE_JOBS, timeout=_LIMIT, later="invoke pipeline.list shows it", on_look=look
        )
        ended = waiter.follow(job)
        if ended.state != "SUCCEEDED":
            raise _failure(ended)
        return ended

    def take(self, session: JobSession, job: PipelineJob) -> list[Path]:
        """Put what the trainings gave into the models' folders; return the files that tell of it, trained_model.json.

        What `dvc repro` would record is recorded, unless code or data have changed since the pipeline was exported.
        """
        tasks = {task.name: task for task in job.tasks}
        return [self._take(session, tasks, task) for task in self._export.tasks if task.kind == TRAIN]

    def _take(self, session: JobSession, tasks: Mapping[str, TaskRun], task: Task) -> Path:
        model, progress = task.model, session.progress
        made = tasks[task.name].outputs[MODEL_KEY]
        run_id = str(made.metadata["run_id"])
        spec = self._spec(session, model, run_id)
        staging = layout.output_dir(self._root, run_id)
        with staging_folder(staging):
            progress.step(f"fetching artifact and metrics of run {run_id}")
            session.connection.ask(lambda cloud: storage.download_folder(cloud, spec.output_uri, staging))
            results = read_results(staging)
            trained = results.trained(
                self._config.target,
                model,
                spec.provenance,
                job=spec.pipeline,
                model=_version(tasks, model),
                artifact_uri=made.uri,
                labels=layout.run_labels(model, spec, spec.chosen),
            )
            if self._chosen:
                folder = layout.try_folder(self._root, model)
                set_aside(results, folder, trained)
                progress.step(
                    f"a try, with other parameters than params.yaml ({', '.join(self._chosen)}): models/{model} is as"
                    f" it was; the results are in {folder.relative_to(self._root)}"
                )
                return folder / "trained_model.json"
            folder = layout.model_folder(self._root, model)
            before = find_trained_model(folder, model)
            if before is not None and (before.run_id, before.model) == (run_id, trained.model):
                progress.step(f"models/{model} holds the results of this run already")
            else:
                publish(results, folder, trained)
                progress.step(f"trained `{model}`: {trained.model}")
        self._record(session, task, tasks)
        return folder / "trained_model.json"

    def _record(self, session: JobSession, task: Task, runs: Mapping[str, TaskRun]) -> None:
        """Have DVC take for done what the pipeline did, as if it had run here: nothing is overwritten for that."""
        if self._export.digests != Export(self._config, self._root, self._export.models).digests:
            session.progress.step("code or data have changed since: dvc repro trains again")
            return
        try:
            stages = [other for other in self._export.tasks if other.kind == STAGE]
            for other in stages:
                for key, path in other.outputs.items():
                    if not (self._root / path).exists():
                        dvc.fetch(self._root, path, str(runs[other.name].outputs[key].metadata["hash"]))
            dvc.commit(self._root, [one.stage.address for one in (*stages, task) if one.stage is not None])
        except DataError as error:
            session.progress.step(f"{error.problem}; dvc repro will train again")

    def _spec(self, session: JobSession, model: str, run_id: str) -> TrainingSpec:
        name = layout.job_spec(self._config, model, run_id)
        return TrainingSpec.from_json(
            session.connection.ask(lambda cloud: storage.read(cloud, f"gs://{cloud.bucket_name}/{name}")).decode()
        )

    def _values(self) -> dict[str, Any]:
        if not self._chosen:
            return {}
        task = next(task for task in self._export.tasks if task.kind == TRAIN)
        return {root_parameter(task, self._export.models): self._chosen}


def list_jobs(cloud: Cloud, config: EdgeConfig) -> list[PipelineJob]:
    """Return the pipeline jobs of the repository, newest first."""
    (label,) = layout.pipeline_labels(config, ()).items()
    return PIPELINE_JOBS.find(cloud, *label)


def find_job(cloud: Cloud, config: EdgeConfig, text: str) -> PipelineJob:
    """Return the pipeline job whose id is `text`, or begins so. Raises NotFoundError when none does, or several."""
    word = text.rpartition("/")[2]
    jobs = list_jobs(cloud, config)
    found = [job for job in jobs if job.job_id == word] or [job for job in jobs if word and job.job_id.startswith(word)]
    if len(found) != 1:
        problem = f"`{text}` begins several pipeline jobs" if found else f"there is no pipeline job `{text}`"
        raise NotFoundError(problem, "invoke pipeline.list shows them")
    return PIPELINE_JOBS.get(cloud, found[0].name)


def row(job: PipelineJob) -> list[str]:
    """Return the row of COLUMNS of a pipeline job."""
    own = list(_own_tasks(job))
    done = sum(task.state in _ENDED_WELL for task in own)
    created = f"{job.created:%Y-%m-%d %H:%M}"
    return [job.job_id, job.pipeline, job.state.lower(), created, f"{done} of {len(own)}" if own else ""]


def describe(job: PipelineJob) -> dict[str, Any]:
    """Return all that is known of a pipeline job as plain JSON."""
    return {
        "job": job.job_id,
        "name": job.name,
        "pipeline": job.pipeline,
        "display_name": job.display_name,
        "state": job.state.lower(),
        "created": job.created.isoformat(),
        "error": job.error,
        "tasks": [
            {"name": task.name, "state": task.state.lower(), "error": task.error, "job": task.job}
            for task in _own_tasks(job)
        ],
    }


def cancel(cloud: Cloud, job: PipelineJob) -> None:
    """Cancel a pipeline job. Raises CloudError when it has ended."""
    if job.done:
        raise CloudError(
            f"the pipeline job {job.job_id} has ended already, as {job.state.lower()}", "invoke pipeline.list"
        )
    PIPELINE_JOBS.cancel(cloud, job.name)


def printed(cloud: Cloud, job: PipelineJob, task: str | None = None) -> Iterator[LogLine]:
    """Yield what the tasks of a pipeline job, or one of them, have printed so far."""
    tasks = [one for one in _own_tasks(job) if task in (None, one.name)]
    if not tasks:
        names = ", ".join(one.name for one in _own_tasks(job)) or "none yet"
        raise NotFoundError(f"the pipeline job {job.job_id} has no task `{task}`", f"it has: {names}")
    for one in tasks:
        if one.job:
            yield from job_log(one.job.rpartition("/")[2]).new_lines(cloud)


def _own_tasks(job: PipelineJob) -> Iterator[TaskRun]:
    """Yield the tasks of a pipeline job, without the one that stands for the whole."""
    return (task for task in job.tasks if task.name != job.job_id)


def _version(tasks: Mapping[str, TaskRun], model: str) -> str | None:
    """Return the name of the version that the pipeline has registered of a model."""
    names: Sequence[str] = [
        str(artifact.metadata.get("resourceName", ""))
        for task in tasks.values()
        if task.name.endswith("-register") and task.name.startswith(model.lower().replace("_", "-"))
        for key, artifact in task.outputs.items()
        if key == VERSION_KEY
    ]
    return names[0] if names else None


def _uncached(document: dict[str, Any]) -> dict[str, Any]:
    root = document["root"]
    tasks = {name: {**task, "cachingOptions": {}} for name, task in root["dag"]["tasks"].items()}
    return {**document, "root": {**root, "dag": {**root["dag"], "tasks": tasks}}}


def _failure(job: PipelineJob) -> TrainingError:
    failed = [task for task in _own_tasks(job) if task.state == "FAILED"]
    if failed:
        reason = f"the task {failed[0].name} failed: {failed[0].error or 'no reason was given'}"
    else:
        reason = job.error or "no reason was given"
    return TrainingError(
        f"the pipeline job {job.job_id} ended as {job.state.lower()}: {reason}",
        f"invoke pipeline.logs {job.job_id}" if failed else "invoke pipeline.list",
    )
