"""Predictions for a whole file: a batch prediction job on the version that serves, or on the newest trained one.

No endpoint is needed for it. https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions
"""

from __future__ import annotations

import csv
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from edge_tasks.cloud import batch_jobs, model_registry, storage
from edge_tasks.cloud.batch_jobs import BATCH_JOBS, BatchJob
from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig, ModelConfig
from edge_tasks.domain.machines import check_machine, machine_spec
from edge_tasks.domain.prices import Machine
from edge_tasks.domain.provenance import new_run_id
from edge_tasks.domain.signature import FILE_NAME as SIGNATURE_FILE
from edge_tasks.domain.signature import TABLE, TEXTS, Signature
from edge_tasks.errors import CloudError, DataError, NotFoundError
from edge_tasks.jobs.csv_instances import as_json_lines, check_words_are_quoted
from edge_tasks.jobs.csv_results import as_csv
from edge_tasks.jobs.once import SameJob
from edge_tasks.jobs.waiter import JobSession, JobWaiter, ReconnectingCloud
from edge_tasks.releases import preflight
from edge_tasks.repo import layout
from edge_tasks.repo.files import write_atomically
from edge_tasks.repo.trained_model import find_trained_model

FORMATS = ("jsonl", "csv")

# So many instances of a file that reading them takes seconds.
_MANY = 100_000

# Seconds that a job may run.
_TIMEOUT = 24 * 3600.0

_RESULTS, _ERRORS = "prediction.results-", "prediction.errors_stats-"


@dataclass(frozen=True)
class Outcome:
    """What a batch prediction gave: `errors` is the file with the instances that failed, if there are any."""

    successful: int
    failed: int
    output: Path
    errors: Path | None


def prepared(session: JobSession, config: EdgeConfig, root: Path, name: str, source: Path, output: Path) -> Prediction:
    """Return the prediction of every instance of the file `source` by the model `name`, checked; nothing is sent yet.

    Both files are .jsonl (one JSON value a line) or .csv (with a header); of a model whose signature has columns, a
    .csv is a table as pandas writes it. Raises DataError for a file that cannot be predicted, NotFoundError without a
    version.
    """
    count = check_input(source)
    _format_of(output)
    model = model_registry.get_model(session.cloud, _version(session.cloud, config, root, name))
    prediction = Prediction(session, config, name, model, source, output, count, _signature(session.cloud, model))
    if count >= _MANY:
        session.progress.step(f"reading {count:,} instances of {source.name}")
    _ = prediction.content  # what is wrong with it is said now
    return prediction


@dataclass(frozen=True)
class Prediction:
    """One batch prediction: the model version, the file with `count` instances, and where the results go."""

    session: JobSession
    config: EdgeConfig
    name: str
    model: model_registry.ModelVersion
    source: Path
    output: Path
    count: int
    signature: Signature | None = None
    job_id: str = field(default_factory=new_run_id)

    @property
    def settings(self) -> ModelConfig:
        """What edge.yaml says of the model."""
        return self.config.models[self.name]

    @property
    def rows(self) -> Signature | None:
        """What the rows of the file are, which is a table then; None where it is sent as it is."""
        known = self.signature is not None and self.signature.form in (TABLE, TEXTS)
        return self.signature if known and _format_of(self.source) == "csv" else None

    @cached_property
    def content(self) -> bytes | Path:
        """What is sent; of a large table it takes a while. Raises DataError when the model cannot take it."""
        if self.rows is not None:
            return as_json_lines(self.source, self.rows)
        if _format_of(self.source) == "csv":
            check_words_are_quoted(self.source)
        return self.source

    @property
    def _format(self) -> str:
        return _format_of(self.source) if self.rows is None else "jsonl"

    def describe(self) -> Iterator[str]:
        """Yield what would be predicted, by what, a line for each thing. ConfigError when no such machine exists."""
        by_name = ", by the names of their columns" if self.rows is not None and self.rows.form == TABLE else ""
        yield f"instances: {self.count} of {self.source}{by_name}"
        yield f"version: {self.model.version} of `{self.name}` ({self.model.versioned_name})"
        yield f"machines: {self._checked_machines()}"
        yield f"results: {self.output}"

    def run(self, *, force: bool = False) -> Outcome:
        """Predict, and write the results to `output`; instances that fail are written to another file next to it.

        A job that predicts the same already is followed, and the results of one that has succeeded are taken, unless
        `force` is set. Raises CloudError when the job fails.
        """
        job = self._found_or_submitted(force=force)
        waiter = JobWaiter(session=self.session, api=BATCH_JOBS, timeout=_TIMEOUT, later="predict again to follow it")
        job = waiter.follow(job)
        if job.state not in ("SUCCEEDED", "PARTIALLY_SUCCEEDED"):
            raise CloudError(
                f"the {BATCH_JOBS.noun} {job.job_id} ended as {job.state}: {job.error or 'no reason was given'}",
                "it was not the predictions that failed: predict again"
                if job.may_succeed_again
                else f"look at the instances in {self.source}, and at the model's test_payload.json",
            )
        return _bring_back(self.session.connection, job, self.source, self.output)

    def _found_or_submitted(self, *, force: bool) -> BatchJob:
        fingerprint = _fingerprint(self.source, self.model, self.settings)
        same = SameJob(
            api=BATCH_JOBS,
            label=layout.BATCH_LABEL,
            fingerprint=fingerprint,
            claim=layout.batch_claim(self.config, self.name, fingerprint),
            has_done="has predicted this already: taking its results",
            does="predicts this already: following it",
            again="to predict again: --force",
            usable=lambda cloud, job: not job.done or storage.has_objects(cloud, job.output_uri),
        )
        create = partial(self._create, fingerprint)
        return same.find_or_submit(self.session.cloud, self.session.progress, self._upload, create, force=force)

    @property
    def _machine_key(self) -> str:
        return f"models.{self.name}.serving_machine_type"

    def _checked_machines(self) -> Machine:
        """Return the machines that predict. Raises ConfigError when Vertex AI has no such machines."""
        machines = preflight.serving_machines(self.settings)
        check_machine(self._machine_key, machines)
        return machines

    def _upload(self) -> str:
        preflight.check_quota(self.session.cloud, self._machine_key, self._checked_machines())
        self.session.progress.step(f"uploading {self.count} instances of {self.source.name}")
        name = f"{self.source.stem}.{self._format}"
        target = layout.batch_input(self.config, self.name, self.job_id, name)
        return storage.upload(self.session.cloud, self.content, target)

    def _create(self, fingerprint: str, input_uri: str) -> BatchJob:
        cloud = self.session.cloud
        job = batch_jobs.create_batch_job(
            cloud,
            f"{self.name}-{self.job_id}",
            model=self.model.versioned_name,
            input_uri=input_uri,
            instances_format=self._format,
            output_uri=f"gs://{cloud.bucket_name}/{layout.batch_output(self.config, self.name, self.job_id)}",
            machine=_machine(self.settings),
            replica_count=self.settings.min_replica_count,
            labels={**self.settings.labels, layout.MODEL_LABEL: self.name, layout.BATCH_LABEL: fingerprint},
        )
        self.session.progress.step(
            f"submitted {BATCH_JOBS.noun} {job.job_id} for version {self.model.version} ({cloud.vertex_url})"
        )
        return job


def _fingerprint(source: Path, model: model_registry.ModelVersion, settings: ModelConfig) -> str:
    """Return one hash (32 hex digits) over all that decides what a job gives, and on what it runs."""
    what = {
        "instances": hashlib.sha256(source.read_bytes()).hexdigest(),
        "format": _format_of(source),
        "model": [model.versioned_name, model.artifact_uri],  # a version may be deleted, and its number used again
        "machine": [_machine(settings), settings.min_replica_count],
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _signature(cloud: Cloud, model: model_registry.ModelVersion) -> Signature | None:
    """Return the signature next to the artifact of a version; None when it has none that can be read."""
    if not model.artifact_uri:
        return None
    try:
        return Signature.from_json(storage.read(cloud, f"{model.artifact_uri.rstrip('/')}/{SIGNATURE_FILE}"))
    except (NotFoundError, ValueError):
        return None


def check_input(path: Path) -> int:
    """Return how many instances a file holds. Raises DataError when it is not a .jsonl or .csv with instances."""
    form = _format_of(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            count = sum(1 for line in file if line.strip()) if form == "jsonl" else _count_rows(file)
            if form == "jsonl":
                file.seek(0)
                _check_json(path, file)
    except csv.Error as error:
        raise DataError(
            f"`{path}` cannot be read: {error}", "write one JSON value a line, into a .jsonl file"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        hint = "give a file with --input FILE"
        if isinstance(error, UnicodeDecodeError):
            hint = f"save it as UTF-8, for instance: iconv -f latin1 -t utf-8 {path}"
        raise DataError(f"`{path}` cannot be read: {reason}", hint) from None
    if count < 1:
        raise DataError(f"`{path}` holds no instances", "write one JSON value a line, or a CSV header and rows")
    return count


def _count_rows(file: Any) -> int:
    return sum(1 for row in csv.reader(file) if any(map(str.strip, row))) - 1


def _check_json(path: Path, file: Any) -> None:
    """Raise DataError for the first line that is not JSON; what a model makes of a value only the job can tell."""
    for number, line in enumerate(file, start=1):
        try:
            if line.strip():
                json.loads(line)
        except (ValueError, RecursionError) as error:  # noqa: PERF203  each line has its number
            raise DataError(f"`{path}`, line {number} is not JSON: {error}", "write one JSON value a line") from None


def _format_of(path: Path) -> str:
    form = path.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise DataError(f"`{path}` is neither .jsonl nor .csv", "name a file with one of these endings")
    return form


def _machine(settings: ModelConfig) -> dict[str, Any]:
    return machine_spec(
        settings.serving_machine_type, settings.serving_accelerator_type, settings.serving_accelerator_count
    )


def _version(cloud: Cloud, config: EdgeConfig, root: Path, name: str) -> str:
    """Return the version that serves, else the one that was trained last and is in this cloud's registry."""
    deployed = StateStore(cloud).load().model(name).deployed
    if deployed is not None:
        return deployed.model
    trained = find_trained_model(layout.model_folder(root, name), name)
    if trained is not None and trained.model and trained.target == config.target:
        return trained.model
    raise NotFoundError(
        f"no version of `{name}` is in the registry", f"train it as a job, or invoke model.deploy --name {name}"
    )


def _bring_back(connection: ReconnectingCloud, job: BatchJob, source: Path, output: Path) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="edge-batch-") as temporary:
        folder = Path(temporary)
        connection.ask(lambda cloud: storage.download_folder(cloud, job.output_uri, folder))
        results = [json.loads(line) for line in _lines(folder, _RESULTS)]
        errors = list(_lines(folder, _ERRORS))
    if _format_of(output) == "csv":
        text = as_csv(results, _header(source))
    else:
        text = "".join(f"{json.dumps(result)}\n" for result in results)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, text.encode())
    errors_file = output.with_name(f"{output.stem}.errors.jsonl")
    errors_file.unlink(missing_ok=True)
    if errors:
        write_atomically(errors_file, "".join(errors).encode())
    return Outcome(len(results), max(job.failed, len(errors)), output, errors_file if errors else None)


def _lines(folder: Path, prefix: str) -> Iterator[str]:
    for path in sorted(folder.rglob(f"{prefix}*")):
        with path.open(encoding="utf-8") as file:
            yield from (line for line in file if line.strip())


def _header(source: Path) -> list[str]:
    """Return the names in the first line of a CSV file; none of another file."""
    if _format_of(source) != "csv":
        return []
    with source.open(encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file))
