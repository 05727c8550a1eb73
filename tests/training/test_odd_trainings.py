"""Trainings that do what most do not: their records are right, and they are held up by nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.domain.provenance import Provenance
from edge_tasks.domain.runs import COMPLETED, RunRecord
from edge_tasks.errors import ConfigError, EdgeError, TrainingError
from edge_tasks.experiments.text import table
from edge_tasks.jobs.package import repository_requirements
from edge_tasks.jobs.submit import check_parameters
from edge_tasks.jobs.training import _said_last, _with_signal
from edge_tasks.redaction import hide_secrets, secret_names
from edge_tasks.setup.requirements import Unfulfilled, unfulfilled, unfulfilled_of
from edge_tasks.tracking.output_capture import output_into
from edge_tasks.training.failure import check_command_line, show_plainly

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)

SECRETS = {"password": "hunter2", "db": {"api_key": "k-1"}, "hub_token": "t"}
HARMLESS = {"max_tokens": "12", "token": "", "tokens": "a b", "password_length": "8", "secret": 3, "key": "C"}


@pytest.mark.parametrize(
    ("typed", "fact", "hint"),
    [
        ("is_vertex=False", "`is_vertex=False` stands without `with` before it", "python t.py with is_vertex=False"),
        ("with parms.yaml C=1", "there is no file `parms.yaml` with parameters", "python t.py with params.yaml"),
        ("with other.json", "there is no file `other.json` with parameters", "python t.py with NAME=VALUE"),
    ],
)
def test_a_command_line_that_sacred_would_answer_with_a_traceback_is_refused(
    typed: str, fact: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("C: 1\n")
    with pytest.raises(TrainingError) as caught:
        check_command_line(["t.py", *typed.split()])
    assert (caught.value.problem, caught.value.hint) == (fact, hint)
    for good in (
        "",
        "with params.yaml C=2",
        "with named",
        "-h",
        "print_config with C=3",
        "--force with C=2",
        "-c a=b with C=2",
    ):
        check_command_line(["t.py", *good.split()])
    with pytest.raises(TrainingError) as elsewhere:
        check_command_line([str(tmp_path / "models" / "t.py"), "with", "nothing.yaml"])
    assert "nothing.yaml" in elsewhere.value.problem


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"- a\n- b\n", "`params.yaml` must hold names and values"),
        (b"C 10\n", "`params.yaml` must hold names and values"),
        (b"", "`params.yaml` must hold names and values"),
        (b"C: 1\n\tgamma: 1\n", "not valid YAML: a tab, where only spaces may stand (line 2, column 1)"),
        (b"C: [1\n", "`params.yaml` is not valid YAML: "),
        (b"a: &a\n  b: *a\n", "not valid YAML: `*a` stands inside of what it names (line 2, column 6)"),
        (b"C: 1\n5: 1\n", "`params.yaml`: `5` cannot be the name of a parameter"),
        (b"C: 1\non: 1\n", "`params.yaml`: `True` cannot be the name of a parameter"),
        (b"C: {a: {b.c: 1}}\n", "`params.yaml`: `b.c` cannot be the name of a parameter"),
        (b"C: 1\nD: \0\n", "special characters are not allowed (line 2)"),
        (b"C: " + b"[" * 20_000, "not valid YAML: lists and mappings stand too deep in each other"),
        (b"C: 1 # f\xfcr\n", "`params.yaml` cannot be read: it is not UTF-8 text"),
    ],
)
def test_a_file_of_parameters_that_sacred_would_answer_with_a_traceback_is_refused(
    content: bytes, fact: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(EdgeError) as caught:
        check_command_line(["t.py", "with", "params.yaml", "is_vertex=False"])
    assert fact in caught.value.problem
    assert caught.value.hint


@pytest.mark.parametrize(
    ("log", "said", "advice"),
    [
        (["x", "Traceback (most recent call last):", "    f()", "a.Odd: no", "reason"], "a.Odd: no", None),
        (["    f()", "    ^^^", "StopIteration"], "StopIteration", None),
        (["error: nothing was saved", "hint: save it", "reason"], "error: nothing was saved", "save it"),
        (["{", "    a", "}"], None, None),
        (["Killed"], None, None),
        ([], None, None),
    ],
)  # fmt: skip
def test_the_line_of_a_log_that_says_why_is_found(log: list[str], said: str | None, advice: str | None) -> None:
    assert _said_last(log) == (said, advice)


def test_secrets_are_known_by_their_names() -> None:
    assert secret_names(SECRETS | HARMLESS) == ["password", "db.api_key", "hub_token"]
    hidden = {"password": "***", "db": {"api_key": "***"}, "hub_token": "***"}
    assert hide_secrets(SECRETS | HARMLESS) == hidden | HARMLESS


def test_no_record_holds_a_secret_but_what_a_job_needs_is_sent_when_it_is_asked_for() -> None:
    made_from = Provenance(run_id="r", parameters={"rate": 1, "password": "hunter2"})
    assert made_from.parameters == {"rate": 1, "password": "***"}
    wanted = made_from.model_copy(update={"parameters": {"rate": 1, "password": "hunter2"}})
    spec = wanted.into(TrainingSpec, model_name="m", script="train.py", output_uri="gs://b/o")
    assert TrainingSpec.from_json(spec.to_json()).parameters["password"] == "hunter2"
    assert spec.provenance.parameters["password"] == "***"
    record = RunRecord(**spec.facts(), model_name="m", status=COMPLETED, created=NOW)
    assert "hunter2" not in record.model_dump_json()
    assert "hunter2" not in spec.provenance.description()


def test_a_job_with_a_secret_among_its_parameters_is_refused() -> None:
    check_parameters(HARMLESS)
    with pytest.raises(TrainingError, match="`password` looks like a secret") as refusal:
        check_parameters(SECRETS)
    assert str(refusal.value.hint).endswith("checks=False")


def test_runs_of_several_models_are_as_wide_as_those_of_one() -> None:
    def run(model: str, number: int, **parameters: Any) -> RunRecord:
        values: dict[str, Any] = {
            "model_name": model,
            "status": COMPLETED,
            "created": NOW,
            "started": NOW,
            "ended": NOW,
        }
        return RunRecord(run_id=f"{model}-{number}", parameters=parameters, metrics={f"{model}_score": 0.5}, **values)

    runs = [run("a", n, **{f"p{name}": name * n for name in range(20)}) for n in (1, 2)]
    runs += [run("b", n, kernel=kernel, C=1) for n, kernel in enumerate(("rbf", "poly"))]
    columns, rows = table(runs, NOW)
    assert columns == ["run", "model", "status", "started", "took", "user", "commit", "metrics", "parameters"]
    assert rows[-1][-2:] == ["b_score=0.5", "kernel=poly"]
    assert rows[0][-1].startswith("p1=1 p2=2 ")
    assert "p1" in table(runs[:2], NOW)[0]


def test_a_module_that_is_missing_is_told_with_what_installs_it(capsys: pytest.CaptureFixture[str]) -> None:
    error = ModuleNotFoundError("No module named 'numpy'", name="numpy")
    show_plainly(ModuleNotFoundError, error, None)
    assert capsys.readouterr().err == (
        f"error: this Python has no module `numpy` ({sys.executable})\n\n"
        "hint: activate the repository's environment (source .venv/bin/activate), or pip install -r requirements.txt\n"
    )


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("137", "137 (SIGKILL, often since the memory was used up)."),
        ("139", "139 (SIGSEGV)."),
        ("1", "1."),
        ("255", "255."),
    ],
)
def test_the_signal_that_ended_a_job_is_named(status: str, told: str) -> None:
    assert _with_signal(f"exited with a non-zero status of {status}.") == f"exited with a non-zero status of {told}"


def test_what_is_printed_is_recorded_though_a_program_is_left_behind(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "output.txt"
    with output_into(file):
        os.write(1, b"last words\n")
        left = subprocess.Popen(["sleep", "600"])
    assert file.read_text() == "last words\n"
    assert capfd.readouterr().out == "last words\n"
    assert left.poll() is None
    left.kill()
    left.wait()


def test_a_training_s_output_is_its_own_though_dvc_was_imported() -> None:
    code = "from edge_tasks.tools import dvc; dvc._import_dvc(); print('\\x1b]0;title\\x07\\x1b[31mred')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "\x1b]0;title\x07\x1b[31mred\n", done.stderr


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions of packages, which look as if they were installed here."""
    versions = {"vertex-edge": "0.1.0", "google-cloud-aiplatform": "2.7.0", "numpy": "1.26.4"}
    needs = {"google-cloud-pipeline-components": ["google-cloud-aiplatform>=1.14,<2"]}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    def distributions() -> list[types.SimpleNamespace]:
        return [
            types.SimpleNamespace(metadata={"Name": name}, version="2.20.0", requires=lines)
            for name, lines in needs.items()
        ]

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "distributions", distributions)
    monkeypatch.setattr(metadata, "requires", lambda _: ["google-cloud-aiplatform>=2.7,<3", 'x; extra == "local"'])
    return versions


def test_doctor_names_what_another_package_has_downgraded_and_what_is_missing(
    tmp_path: Path, installed: dict[str, str]
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("vertex-edge[local] @ file:///x\n-r other.txt\nnumpy==1.26.*  # pinned\n")
    assert unfulfilled() == unfulfilled_of(file) == []
    installed["google-cloud-aiplatform"] = "1.148.0"
    del installed["numpy"]
    culprit = "google-cloud-pipeline-components 2.20.0"
    assert unfulfilled() == [Unfulfilled("google-cloud-aiplatform", "1.148.0", "<3,>=2.7", (culprit,))]
    assert unfulfilled_of(file) == [Unfulfilled("numpy", "not", "==1.26.*", ())]


def test_requirements_in_another_encoding_are_told_and_a_mark_of_utf_8_is_none(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_bytes("numpy # für alle\n".encode("utf-16"))
    for reading in (unfulfilled_of, repository_requirements):
        with pytest.raises(ConfigError) as caught:
            reading(file)
        assert caught.value.problem == "`requirements.txt` cannot be read: it is not UTF-8 text"
    file.write_bytes(b"\xef\xbb\xbfnumpy\n")
    assert repository_requirements(file) == ("numpy",)
    assert unfulfilled_of(file) == []
