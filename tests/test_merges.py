"""What git could not merge, of two who changed or trained the same model, is said so and not as something else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge_tasks.errors import ConfigError, DataError, EdgeError, TrainingError
from edge_tasks.explanations import code_of
from edge_tasks.jobs.run_script import run_script
from edge_tasks.models.report import add_model_to_report, report
from edge_tasks.releases.branch_comparison import compare, compared
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.repo.glance import glance
from edge_tasks.repo.params_yaml import read_parameters
from edge_tasks.repo.text_files import BOTH_SIDES_HINT
from edge_tasks.repo.trained_model import TrainedModel, load_trained_model, save_trained_model, trained_model_problem
from edge_tasks.setup import doctor
from edge_tasks.tools import dvc
from tests.test_messages import EDGE_YAML

BOTH_SIDES = "C: 1\n<<<<<<< HEAD\ngamma: 2\n=======\ngamma: 3\n>>>>>>> origin/main\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "models/one").mkdir(parents=True)
    (tmp_path / "edge.yaml").write_text(EDGE_YAML)
    git(tmp_path, "init", "--quiet")
    return tmp_path


def git(root: Path, *arguments: str, check: bool = True) -> None:
    person = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    subprocess.run(["git", "-C", str(root), *person, *arguments], check=check, capture_output=True)


def refused(error: EdgeError, file: str) -> None:
    assert error.problem == f"`{file}` holds both sides of a git merge (line 2)"
    assert error.hint == BOTH_SIDES_HINT
    assert code_of(error.problem) == "E801"


def test_a_file_with_git_s_marks_is_not_called_broken_yaml(root: Path) -> None:
    (root / "models/one/params.yaml").write_text(BOTH_SIDES)
    with pytest.raises(ConfigError) as caught:
        read_parameters(root / "models/one")
    refused(caught.value, "models/one/params.yaml")
    (root / "edge.yaml").write_text(BOTH_SIDES)
    with pytest.raises(ConfigError) as caught:
        load_config(root)
    refused(caught.value, "edge.yaml")


def test_a_report_stage_that_git_could_not_merge_is_not_called_missing(root: Path) -> None:
    (root / "dvc.yaml").write_text(BOTH_SIDES)
    with pytest.raises(ConfigError) as caught:
        add_model_to_report(root, "one")
    refused(caught.value, "dvc.yaml")


def test_a_trained_model_that_git_could_not_merge_is_not_called_untrained(root: Path) -> None:
    folder = root / "models/one"
    assert trained_model_problem(folder, "one") is None  # not trained yet
    (folder / "trained_model.json").write_text(BOTH_SIDES)
    with pytest.raises(TrainingError) as caught:
        load_trained_model(folder, "one")
    refused(caught.value, "models/one/trained_model.json")
    problem = trained_model_problem(folder, "one")
    assert problem is not None
    refused(problem, "models/one/trained_model.json")
    (root / "edge.yaml").write_text(f"{EDGE_YAML}\nmodels: {{one: {{endpoint_name: one-endpoint}}}}\n")
    assert f"{problem.problem}.\n" in report(root, load_config(root))


def test_the_record_of_a_model_that_was_renamed_is_not_called_unreadable(root: Path) -> None:
    folder = root / "models/one"
    then = datetime(2026, 1, 2, tzinfo=timezone.utc)
    save_trained_model(
        folder, TrainedModel(model_name="old", run_id="r", target="local", trained_at=then, artifact_sha256="0" * 64)
    )
    assert trained_model_problem(folder, "one") is None
    with pytest.raises(TrainingError, match="tells of the model `old`, not of `one`"):
        load_trained_model(folder, "one")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_dvc_cannot_read_is_named_from_the_root(
    root: Path, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if elsewhere:
        monkeypatch.chdir(root / "models/one")
    lock = root / "models/one/dvc.lock"
    lock.with_name("dvc.yaml").write_text("stages:\n  train:\n    cmd: echo\n")
    lock.write_text(BOTH_SIDES)
    with pytest.raises(DataError) as caught:
        dvc.tracked_paths(root)
    refused(caught.value, "models/one/dvc.lock")
    lock.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"`models/one/dvc.lock` cannot be read: it is not UTF-8 text"):
        dvc.tracked_paths(root)
    assert dvc.recorded_md5(root / "models/one", "model") is None
    lock.unlink()
    lock.mkdir()
    assert dvc.recorded_md5(root / "models/one", "model") is None
    lock.rmdir()
    lock.write_text("schema: '2.0'\nschema: '2.0'\n")
    with pytest.raises(DataError, match=r"`models/one/dvc.lock` is not valid YAML: found duplicate key") as caught:
        dvc.tracked_paths(root)
    assert caught.value.hint == "fix `models/one/dvc.lock`"
    lock.unlink()
    lock.with_name("dvc.yaml").write_text("stages:\n  train:\n    comand: echo\n")
    with pytest.raises(DataError, match=r"DVC cannot read `models/one/dvc.yaml`: "):
        dvc.tracked_paths(root)


@pytest.mark.parametrize("file", ["params.yaml", "dvc.yaml", "dvc.lock"])
def test_the_file_for_which_dvc_refuses_the_stages_of_all_models_is_named_with_its_line(root: Path, file: str) -> None:
    one, other = root / "models/one", root / "models/other"
    other.mkdir()
    for folder in (one, other):
        (folder / "dvc.yaml").write_text("stages: {train: {cmd: echo, params: [{params.yaml: }]}}")
        (folder / "params.yaml").write_text("C: 1\n")
        (folder / "train.py").touch()
    (one / file).write_text("stages:\n  a: [1\n")
    commands: list[Callable[[], object]] = [
        lambda: dvc.stream(root, "repro", doing="train"),
        lambda: dvc.run(root, "repro", doing="train"),
        lambda: compare(root, "main"),  # DVC would say that its parameters are gone
        lambda: compared(root, "main"),
    ]
    if file == "params.yaml":
        commands.append(lambda: run_script(root, "one", []))
    for refusing in commands:
        with pytest.raises(EdgeError) as caught:
            refusing()
        assert caught.value.problem.startswith(f"`models/one/{file}` is not valid YAML: ")
        assert caught.value.problem.endswith("(line 3, column 1)")
        assert caught.value.hint == f"fix `models/one/{file}`"


def test_the_doctor_tells_of_a_merge_that_is_not_finished(root: Path) -> None:
    for branch, value in (("main", 1), ("other", 2), ("third", 3)):
        git(root, "checkout", "--quiet", "-b", branch)
        if branch == "third":
            git(root, "reset", "--quiet", "--hard", "HEAD~1")
        (root / "models/one/params.yaml").write_text(f"C: {value}\n")
        git(root, "add", ".")
        git(root, "commit", "--quiet", "-m", branch)
    git(root, "merge", "--quiet", "other", check=False)
    found = {result.check: result for result in doctor.examine_repository(root)}
    assert found["git"].state.value == "broken"
    assert found["git"].fact == "a merge is not finished: git has both sides of `models/one/params.yaml`"
    assert found["git"].fix == BOTH_SIDES_HINT
    assert found["data"].state.value == "unknown"


@pytest.mark.parametrize("value", ["2026-13-45", "9" * 5000])
def test_a_date_that_no_calendar_has_is_a_mistake_in_the_file(root: Path, value: str) -> None:
    (root / "models/one/params.yaml").write_text(f"when: {value}\n")
    with pytest.raises(ConfigError, match=r"`models/one/params.yaml` is not valid YAML: .* \(line 1, col") as caught:
        read_parameters(root / "models/one")
    assert caught.value.hint == "fix `models/one/params.yaml`"
    # DVC passes on what its YAML library raises, without the name of the file.
    (root / "models/one/dvc.yaml").write_text(
        "stages: {train: {cmd: echo, params: [{params.yaml: }]}}\nvars: [params.yaml]"
    )
    with pytest.raises(DataError) as passed:
        dvc.tracked_paths(root)
    assert (passed.value.problem, passed.value.hint) == (caught.value.problem, caught.value.hint)
    (root / "edge.yaml").write_text(f"{EDGE_YAML}\nwhen: {value}\n")
    with pytest.raises(ConfigError, match=r"`edge.yaml` is not valid YAML: "):
        load_config(root)
    assert glance(root) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"- a\n", "`.dvc/config` is broken: File contains no section headers. (line 1)"),
        (b"[core]\nremote\n", "`.dvc/config` is broken: Source contains parsing errors: "),
        (b"\xff\xfe", "`.dvc/config` cannot be read: it is not UTF-8 text"),
        (BOTH_SIDES.encode(), "`.dvc/config` holds both sides of a git merge (line "),
        (None, "`.dvc/config` cannot be read: Is a directory"),
    ],
)
def test_a_broken_file_of_dvcs_settings_is_named(root: Path, content: bytes | None, problem: str) -> None:
    config = root / ".dvc" / "config"
    config.unlink(missing_ok=True)
    if content is None:
        config.mkdir()
    else:
        config.write_bytes(content)
    with pytest.raises(DataError) as caught:
        dvc.tracked_paths(root)
    assert caught.value.problem.startswith(problem)
