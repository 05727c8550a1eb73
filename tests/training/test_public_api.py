"""What a train.py imports: it is documented, and importing it has no effect on the interpreter."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import edge_tasks.training
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.state import EdgeState
from edge_tasks.errors import DataError
from edge_tasks.training import TrainingState, data_path, data_uri, open_data, vertex_wrapper

DOCS = Path(__file__).parents[2] / "docs"

BARE = """
from sacred import Experiment

from edge_tasks.training import vertex_wrapper

ex = Experiment("bare", save_git_info=False)


@ex.config
def config():
    model_name = "digits"
    is_vertex = False


@ex.automain
@vertex_wrapper
def run(model_output_dir=None):
    return 7
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_the_reference_documents_every_name_and_no_other() -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    names = {line.rpartition(".")[2] for line in text.splitlines() if line.startswith("### edge_tasks.training.")}
    assert names == {*edge_tasks.training.__all__, "save_results"}
    assert all(hasattr(edge_tasks.training, name) for name in edge_tasks.training.__all__)


@pytest.mark.slow
def test_importing_a_train_py_changes_nothing_in_the_interpreter(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(BARE)
    code = (
        "import sys, sacred.run; warn = sacred.run.Run.warn_if_unobserved; import train; "
        "assert sys.excepthook is sys.__excepthook__; assert sacred.run.Run.warn_if_unobserved is warn; "
        "print(train.run())"
    )
    done = run(tmp_path, "-W", "ignore", "-c", code)
    assert done.stdout == "7\n", done.stderr


def test_ctrl_c_while_a_train_py_imports_is_one_line(tmp_path: Path) -> None:
    for name in ("", "open_data", "get_config_and_state"):
        ask = f"from edge_tasks.training import {name}\n" if name else "import edge_tasks.training\n"
        (tmp_path / "train.py").write_text(f"{ask}import signal\nsignal.raise_signal(signal.SIGINT)\n")
        done = run(tmp_path, "train.py")
        assert (done.returncode, done.stderr) == (-signal.SIGINT, "interrupted\n")
    (tmp_path / "train.py").write_text("import edge_tasks.training\n1 / 0\n")
    assert "ZeroDivisionError" in run(tmp_path, "train.py").stderr


def test_a_program_of_one_s_own_is_interrupted_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "analysis.py").write_text("import edge_tasks.training\nraise KeyboardInterrupt\n")
    assert "Traceback" in run(tmp_path, "analysis.py").stderr


def test_a_bare_decorator_reads_edge_yaml_when_a_run_begins(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(BARE)
    done = run(tmp_path, "train.py")
    assert done.returncode == 1
    assert f"error: no `edge.yaml` in `{tmp_path.resolve()}`" in done.stderr
    assert "Traceback" not in done.stderr
    assert "No observers" not in done.stderr


def test_a_script_that_ends_while_it_is_imported_says_so_in_two_lines(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("from edge_tasks.training import get_config_and_state\nget_config_and_state()\n")
    done = run(tmp_path, "train.py")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: no `edge.yaml` in `{tmp_path.resolve()}`")
    assert "Traceback" not in done.stderr


def test_a_function_that_takes_no_folder_is_refused_in_both_forms() -> None:
    with pytest.raises(TypeError, match="model_output_dir"):
        vertex_wrapper(lambda: None)


class TestState:
    def test_names_that_it_does_not_have_are_errors_before_anything_is_read(self, tmp_path: Path) -> None:
        state = TrainingState(EdgeConfig.model_construct(), tmp_path)
        with pytest.raises(AttributeError):
            _ = state.endpoints  # type: ignore[attr-defined]

    def test_it_shows_what_the_shared_state_holds(self, tmp_path: Path) -> None:
        state = TrainingState(EdgeConfig.model_construct(), tmp_path)
        state.__dict__["value"] = EdgeState().with_endpoint("digits", "e")
        assert state.models == {"digits": state.model("digits")}
        assert state.model("digits").endpoint == "e"
        assert (state.changes, state.format_version) == ((), 1)


class TestData:
    @pytest.fixture(autouse=True)
    def in_a_job(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Data that lie where a DVC remote on this machine has them."""
        from edge_tasks.domain.job_spec import TrainingSpec
        from edge_tasks.training.context import SPEC_VARIABLE

        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        stored = tmp_path / "store" / "ab" / "cdef"
        stored.parent.mkdir(parents=True)
        stored.write_text("größer\n", encoding="utf-8")
        spec = TrainingSpec(
            run_id="r", model_name="m", script="t.py", output_uri="gs://b/o", addresses={"data/words.txt": str(stored)}
        )
        (tmp_path / "order.json").write_text(spec.to_json())
        monkeypatch.setenv(SPEC_VARIABLE, str(tmp_path / "order.json"))

    def test_a_path_and_its_text_are_the_same(self) -> None:
        assert data_path("data/words.txt").name == "words.txt"
        assert data_uri("data/words.txt") == str(data_path("data/words.txt"))

    def test_files_open_as_bytes_or_as_text(self) -> None:
        with open_data("data/words.txt") as file:
            assert file.read() == "größer\n".encode()
        with open_data("data/words.txt", "r") as text:
            assert text.read() == "größer\n"

    def test_nobody_writes_data(self) -> None:
        with pytest.raises(DataError, match="are not opened with the mode `w`"):
            open_data("data/words.txt", "w")  # type: ignore[call-overload]
