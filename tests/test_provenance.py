"""One provenance goes from a job's specification into its record, its trained model and its deployments, and back."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.domain.job_spec import TrainingSpec, TuningTarget
from edge_tasks.domain.provenance import Commit, Provenance
from edge_tasks.domain.runs import QUEUED, RunRecord, dump_record, parse_record
from edge_tasks.domain.state import Deployment, EdgeState, Origin, dump_state, parse_state
from edge_tasks.repo.trained_model import TrainedModel, load_trained_model, save_trained_model

NOW = datetime(2026, 11, 22, 20, 46, 55, tzinfo=timezone.utc)
ADDRESS = "gs://b/dvcstore/files/md5/26/ab0db9"
FULL = Provenance(
    run_id="20261122-204655-00000000",
    commit="0123456789abcdef",
    dirty=True,
    data={"data/train.npz": "26ab0db9"},
    parameters={"C": 10.0, "layers": [1, 2]},
    user="ada",
    environment={"python": "3.10.14", "scikit-learn": "1.6.1"},
)


def test_every_field_is_there_to_be_lost() -> None:
    """What follows shows something only as long as no field of FULL is as it would be by default."""
    assert all(getattr(FULL, name) != getattr(Provenance(), name) for name in Provenance.model_fields)


def through_specification(before: Provenance) -> Provenance:
    addresses = {"data/train.npz": ADDRESS}
    spec = before.into(TrainingSpec, model_name="m", script="train.py", output_uri="gs://b/o", addresses=addresses)
    return TrainingSpec.from_json(spec.to_json())


def through_record(before: Provenance) -> Provenance:
    return parse_record(dump_record(before.into(RunRecord, model_name="m", status=QUEUED, created=NOW)))


def through_deployment(before: Provenance) -> Provenance:
    origin = before.into(Origin, metrics={"accuracy": 0.9})
    deployment = Deployment(
        **dict(origin), model="models/1@2", deployed_model_id="1", deployed_at=NOW, deployed_by="grace"
    )
    state = parse_state(dump_state(EdgeState().with_deployment("m", deployment)))
    deployed = state.model("m").deployed
    assert deployed is not None
    assert deployed.origin == origin
    return deployed


def through_trained_model(before: Provenance, folder: Path) -> Provenance:
    trained = before.into(TrainedModel, model_name="m", target="local", trained_at=NOW, artifact_sha256="0" * 64)
    save_trained_model(folder, trained)
    return load_trained_model(folder, "m")


def test_no_field_is_lost_on_the_way_from_a_job_to_its_deployment(tmp_path: Path) -> None:
    made_from = FULL
    for kind in (
        through_specification(FULL),
        through_record(FULL),
        through_trained_model(FULL, tmp_path),
        through_deployment(FULL),
    ):
        assert kind.provenance == made_from


def test_without_git_there_is_no_commit() -> None:
    assert Provenance.of_checkout("run", None).facts() == {"run_id": "run"}
    clean = Provenance.of_checkout("run", Commit("abc", dirty=False))
    assert (clean.commit, clean.dirty) == ("abc", False)


class TestOldFiles:
    """As they were written before there was one provenance."""

    def test_a_specification_that_holds_addresses_as_data(self) -> None:
        old = {
            "run_id": "r",
            "model_name": "m",
            "script": "train.py",
            "output_uri": "gs://b/o",
            "parameters": {"C": 1},
            "data": {"data/train.npz": ADDRESS},
            "commit": "abc",
            "dirty": False,
            "user": "ada",
            "search": {"metric": "accuracy", "types": {"C": "DOUBLE"}},
        }
        spec = TrainingSpec.from_json(json.dumps(old))
        assert spec.addresses == {"data/train.npz": ADDRESS}
        assert spec.data == FULL.data
        assert spec.search == TuningTarget("accuracy", {"C": "DOUBLE"})
        assert (spec.commit, spec.dirty, spec.user) == ("abc", False, "ada")

    def test_a_trained_model(self, tmp_path: Path) -> None:
        old: dict[str, Any] = {
            "format_version": 1,
            "model_name": "m",
            "run_id": "r",
            "target": "gcp",
            "trained_at": "2026-11-22T20:46:55Z",
            "trained_by": "ada",
            "artifact_sha256": "0" * 64,
            "commit": "abc",
            "dirty": False,
            "data": {"data/train.npz": "26ab0db9"},
        }
        (tmp_path / "trained_model.json").write_text(json.dumps(old))
        trained = load_trained_model(tmp_path, "m")
        assert (trained.user, trained.commit, trained.data) == ("ada", "abc", FULL.data)
        save_trained_model(tmp_path, trained)
        assert json.loads((tmp_path / "trained_model.json").read_text()).items() >= old.items()

    def test_a_state(self) -> None:
        old = """
format_version: 1
models:
  m:
    endpoint: e
    deployed: {run_id: r, job: null, commit: abc, dirty: false, data: {}, parameters: {C: 1}, metrics: {accuracy: 0.9},
               model: models/1@2, deployed_model_id: '1', deployed_at: '2026-11-22T20:46:55Z', deployed_by: ada}
"""
        deployed = parse_state(old).model("m").deployed
        assert deployed is not None
        assert (deployed.run_id, deployed.commit, deployed.parameters) == ("r", "abc", {"C": 1})
        assert (deployed.user, deployed.environment) == (None, {})

    @pytest.mark.parametrize("more", [{}, {"data": {"a": "1"}, "environment": {"python": "3.10"}, "user": "ada"}])
    def test_a_record(self, more: dict[str, Any]) -> None:
        old = {"format_version": 1, "run_id": "r", "model_name": "m", "status": "QUEUED", "created": str(NOW), **more}
        record = parse_record(json.dumps(old))
        assert record.facts() == {"run_id": "r", **more}
