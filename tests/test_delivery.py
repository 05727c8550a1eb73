"""Recording what was trained: on top of what others pushed meanwhile, never over it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.progress import Silence
from edge_tasks.domain.state import Deployment, ModelState
from edge_tasks.errors import ConfigError, DataError, GitError
from edge_tasks.releases import ci_pipeline, operations
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.repo.trained_model import TrainedModel, load_trained_model, save_trained_model
from edge_tasks.setup.initialise import set_up_dvc
from tests.test_messages import EDGE_YAML


def run(root: Path, *arguments: str) -> str:
    name = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    done = subprocess.run(["git", *name, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A remote with one commit on main."""
    origin, first = tmp_path / "origin.git", tmp_path / "first"
    subprocess.run(["git", "-c", "init.defaultBranch=main", "init", "--quiet", "--bare", str(origin)], check=True)
    run(tmp_path, "clone", "--quiet", str(origin), str(first))
    run(first, "checkout", "--quiet", "-B", "main")
    write(first, "README.md", "one\n")
    write(first, "models/m/metrics.json", '{"score": 1}\n')
    run(first, "add", "--all")
    run(first, "commit", "--quiet", "--message", "First")
    run(first, "push", "--quiet", "origin", "main")
    return origin


@pytest.fixture
def ci(origin: Path, tmp_path: Path) -> Path:
    """A clone in which CI has trained."""
    run(tmp_path, "clone", "--quiet", str(origin), str(tmp_path / "ci"))
    write(tmp_path / "ci", "models/m/metrics.json", '{"score": 2}\n')
    write(tmp_path / "ci", "models/m/dvc.lock", "lock\n")
    write(tmp_path / "ci", "notes.txt", "left by something else\n")
    return tmp_path / "ci"


def somebody_pushes(origin: Path, name: str, text: str, message: str = "Meanwhile") -> None:
    other = origin.parent / "other"
    if not other.exists():
        run(origin.parent, "clone", "--quiet", str(origin), str(other))
    write(other, name, text)
    run(other, "add", "--all")
    run(other, "commit", "--quiet", "--message", message)
    run(other, "push", "--quiet", "origin", "main")


def test_the_results_and_nothing_else_are_committed(origin: Path, ci: Path) -> None:
    assert ci_pipeline.record(ci, "main", Silence())
    shown = run(origin, "show", "--name-only", "--format=%s", "main").split("\n")
    assert shown[0] == "Record what was trained [skip ci]"
    assert set(shown[1:]) - {""} == {"models/m/metrics.json", "models/m/dvc.lock"}


def test_the_results_go_on_top_of_what_others_pushed(origin: Path, ci: Path) -> None:
    somebody_pushes(origin, "README.md", "two\n")
    assert ci_pipeline.record(ci, "main", Silence())
    assert run(origin, "log", "--format=%s", "main").splitlines() == [
        "Record what was trained [skip ci]",
        "Meanwhile",
        "First",
    ]
    assert run(origin, "show", "main:README.md") == "two\n"


def test_results_of_two_trainings_are_not_mixed(origin: Path, ci: Path) -> None:
    somebody_pushes(origin, "models/m/metrics.json", '{"score": 3}\n')
    with pytest.raises(GitError, match="somebody else changed the same results on `main` meanwhile"):
        ci_pipeline.record(ci, "main", Silence())
    assert run(origin, "show", "main:models/m/metrics.json") == '{"score": 3}\n'
    assert not (ci / ".git" / "rebase-merge").exists()


def test_results_of_the_last_commit_take_the_place_of_those_of_one_before(origin: Path, ci: Path) -> None:
    """Two pull requests were merged at once: the first one's pipeline records while the second one's trains."""
    record = "Record what was trained [skip ci]"
    somebody_pushes(origin, "models/m/metrics.json", '{"score": 3}\n', record)
    somebody_pushes(origin, "models/other/metrics.json", '{"score": 4}\n', record)
    write(ci, "README.md", "changed here, and not a result\n")
    assert ci_pipeline.record(ci, "main", Silence())
    assert run(origin, "log", "--format=%s", "main").splitlines() == [record, record, record, "First"]
    assert run(origin, "show", "main:models/m/metrics.json") == '{"score": 2}\n'
    assert run(origin, "show", "main:models/m/dvc.lock") == "lock\n"
    assert run(origin, "show", "main:models/other/metrics.json") == '{"score": 4}\n'
    assert run(origin, "show", "main:README.md") == "one\n"
    assert (ci / "README.md").read_text() == "changed here, and not a result\n"


def test_a_gitignore_that_dvc_wrote_does_not_keep_the_results_back(origin: Path, ci: Path) -> None:
    write(ci, "README.md", "changed here, and not a result\n")
    somebody_pushes(origin, "src/code.py", "two = 2\n")
    assert ci_pipeline.record(ci, "main", Silence())
    assert run(origin, "show", "main:models/m/metrics.json") == '{"score": 2}\n'
    assert (ci / "README.md").read_text() == "changed here, and not a result\n"


def test_a_remote_that_lets_nobody_write_is_told_from_one_that_moved(origin: Path, ci: Path) -> None:
    hook = origin / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'protected branch' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(GitError, match="cannot push to `main`: ") as caught:
        ci_pipeline.record(ci, "main", Silence())
    assert "let CI write to the repository" in str(caught.value.hint)


def test_nothing_new_makes_no_commit(origin: Path, ci: Path) -> None:
    ci_pipeline.record(ci, "main", Silence())
    assert not ci_pipeline.record(ci, "main", Silence())
    assert run(origin, "rev-list", "--count", "main") == "2\n"


def test_a_training_that_fails_leaves_what_was_trained_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
    trained = TrainedModel(
        model_name="m", run_id="r", target="gcp", trained_at=moment, trained_by="ada", artifact_sha256="0"
    )
    save_trained_model(folder, trained)
    config = EdgeConfig.model_validate(
        {
            "google_cloud_project": {"project_id": "my-project", "region": "us-central1"},
            "storage_bucket": {"bucket_name": "my-bucket"},
            "models": {"m": {"endpoint_name": "m"}},
        }
    )
    # There is no dvc.yaml here, so DVC stops at once.
    with pytest.raises(DataError, match="cannot train"):
        ci_pipeline.train(tmp_path, config, Silence())
    assert load_trained_model(folder, "m") == trained


def deployment(run_id: str, commit: str, version: int) -> Deployment:
    return Deployment(
        run_id=run_id,
        commit=commit,
        model=f"projects/p/locations/l/models/m@{version}",
        deployed_model_id=str(version),
        deployed_at=datetime(2026, 1, 2, tzinfo=timezone.utc),
        deployed_by="Ada",
    )


class Told:
    """What a pipeline deploys, and what it says."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, state: ModelState) -> None:
        self.steps: list[str] = []
        self.done: list[str] = []
        settings = SimpleNamespace(scale_to_zero=None)
        self.release: Any = SimpleNamespace(
            cloud=None, root=root, name="m", folder=root / "models/m", settings=settings, progress=self
        )
        trained = TrainedModel(
            model_name="m", run_id="r1", target="gcp", trained_at=datetime.now(timezone.utc), artifact_sha256="0" * 64
        )
        save_trained_model(self.release.folder, trained)
        monkeypatch.setattr(ci_pipeline, "_state", lambda _cloud, _name: state)
        for name in ("deploy", "promote", "rollback"):
            monkeypatch.setattr(operations, name, self._doing(name))

    def step(self, text: str) -> None:
        self.steps.append(text)

    def _doing(self, name: str) -> Callable[..., Any]:
        def do(*_: Any) -> Any:
            self.done.append(name)
            return SimpleNamespace(version="3")

        return do


def test_a_release_that_is_approved_after_a_later_one_leaves_what_that_has_deployed(
    origin: Path, ci: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    somebody_pushes(origin, "models/m/train.py", "new\n", "Train otherwise")
    later = run(origin, "rev-parse", "main").strip()
    state = ModelState(deployed=deployment("r2", later, 2))
    told = Told(ci, monkeypatch, state)
    ci_pipeline.deploy([told.release], 10)
    assert told.done == ["deploy"]  # a clone that does not know the later commit cannot tell
    run(ci, "fetch", "--quiet", "origin")
    told = Told(ci, monkeypatch, state)
    ci_pipeline.deploy([told.release], 10)
    ci_pipeline.promote([told.release])
    assert told.done == []
    assert told.steps[0].startswith("`m` version 2, of a later commit, is deployed already, and stays")
    assert told.steps[0].endswith("invoke model.rollback --name m")
    # The release of the later commit, and of one that takes it back to the training of before.
    run(ci, "reset", "--quiet", "--hard", later)
    told = Told(ci, monkeypatch, state)
    ci_pipeline.deploy([told.release], 10)
    assert told.done == ["deploy"]


def test_only_the_own_version_is_promoted_or_taken_off(ci: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = run(ci, "rev-parse", "HEAD").strip()
    serving = deployment("r0", head, 1)
    for run_id, expected in (("r1", ["promote", "rollback"]), ("r2", [])):
        told = Told(ci, monkeypatch, ModelState(deployed=serving, candidate=deployment(run_id, head, 2)))
        ci_pipeline.promote([told.release])
        ci_pipeline.cancel([told.release])
        assert told.done == expected
    assert told.steps == ["`m` version 2 is another release's, and stays"] * 2


def test_a_remote_that_nobody_committed_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    run(tmp_path, "init", "--quiet")
    write(tmp_path, "edge.yaml", f"target: gcp\n{EDGE_YAML}")
    write(tmp_path, ".dvc/config", "[core]\n    remote = store\n['remote \"store\"']\n    url = ../.edge/dvcstore\n")
    config = load_config(tmp_path, {})
    assert config.target == "gcp"
    with pytest.raises(ConfigError, match=r"`.dvc/config`, as it is committed, does not lead where edge.yaml says"):
        set_up_dvc(tmp_path, config, Silence(), as_committed=True)
    set_up_dvc(tmp_path, config, Silence(), as_committed=True)  # now it does
    # EDGE_TARGET leads this machine's DVC elsewhere, which changes nothing that is committed.
    set_up_dvc(tmp_path, load_config(tmp_path, {"EDGE_TARGET": "local"}), Silence(), as_committed=True)
