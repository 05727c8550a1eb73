"""What is shown to those who approve a release: the last training next to the version that serves."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.state import Deployment, EdgeState
from edge_tasks.releases.serving_comparison import compared, markdown
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.repo.trained_model import TrainedModel, save_trained_model
from tests.test_messages import EDGE_YAML

THEN = datetime(2026, 1, 2, tzinfo=timezone.utc)
OLD = {"run_id": "r1", "commit": "a" * 40, "parameters": {"C": 1, "kernel": "rbf"}, "data": {"data/x.csv": "1" * 32}}
NEW = {"run_id": "r2", "commit": "b" * 40, "parameters": {"C": 2, "kernel": "rbf"}, "data": {"data/x.csv": "2" * 32}}


def found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, serves: bool = True, **changes: Any
) -> list[dict[str, Any]]:
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "edge.yaml").write_text(f"{EDGE_YAML}\nmodels: {{one: {{endpoint_name: one-endpoint}}}}\n")
    folder = tmp_path / "models/one"
    folder.mkdir(parents=True)
    more = {"model": "projects/p/locations/l/models/m@2", "metrics": {"f1": 0.75, "kind": "a|b"}, **NEW, **changes}
    common = {"model_name": "one", "target": "local", "trained_at": THEN, "artifact_sha256": "0" * 64}
    if more["run_id"]:
        save_trained_model(folder, TrainedModel.model_validate({**common, **more}))
    deployed = Deployment(
        model="projects/p/locations/l/models/m@1",
        deployed_model_id="7",
        deployed_at=THEN,
        deployed_by="Ada",
        metrics={"f1": 0.5, "gone": 1},
        **OLD,  # type: ignore[arg-type]
    )
    state = EdgeState().with_deployment("one", deployed) if serves else EdgeState()
    monkeypatch.setattr(StateStore, "__init__", lambda _self, _cloud: None)
    monkeypatch.setattr(StateStore, "load", lambda _self: state)
    return compared(tmp_path, load_config(tmp_path), None)  # type: ignore[arg-type]


def test_all_metrics_and_what_else_differs_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model,) = found(tmp_path, monkeypatch, dirty=True)
    assert model["serves"]["version"] == "1"
    assert model["trained"]["version"] == "2"
    assert not model["serves already"]
    assert model["metrics"] == {
        "f1": {"old": 0.5, "new": 0.75, "diff": 0.25},
        "gone": {"old": 1, "new": None},
        "kind": {"old": None, "new": "a|b"},
    }
    assert model["parameters"] == {"C": {"old": 1, "new": 2, "diff": 1}}
    shown = markdown([model])
    assert "## one, against what serves\n\n| | serves | new | difference |" in shown
    for row in (
        "| commit | aaaaaaaaaaaa | bbbbbbbbbbbb |  |",
        "| f1 | 0.5 | 0.75 | +0.25 |",
        "| kind |  | a\\|b |  |",
        "| parameter C | 1 | 2 | changed |",
        "| data data/x.csv | 111111111111 | 222222222222 | changed |",
        "The code: `git diff aaaaaaaaaaaa bbbbbbbbbbbb -- models/one src`",
        "It was trained with changes that were not committed, so no commit tells its code.",
    ):
        assert f"\n{row}\n" in shown


def test_a_first_version_is_told_and_one_that_serves_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = markdown(found(tmp_path / "first", monkeypatch, serves=False))
    assert "Nothing serves yet: this would be the first version.\n\n| | serves | new |" in first
    assert "changed |" not in first
    assert "Version 1 serves already" in markdown(found(tmp_path / "same", monkeypatch, run_id="r1"))
    assert "It has not been trained yet." in markdown(found(tmp_path / "none", monkeypatch, run_id=None))
    (tmp_path / "same/models/one/trained_model.json").write_text("<<<<<<< a\n=======\n>>>>>>> b\n")
    broken = compared(tmp_path / "same", load_config(tmp_path / "same"), None)  # type: ignore[arg-type]
    assert "`models/one/trained_model.json` holds both sides of a git merge (line 1)." in markdown(broken)
