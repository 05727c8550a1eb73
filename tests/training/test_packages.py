"""The packages that travel to a job: what is in them, what is not, and that pip can build them."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import edge_tasks
from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.errors import TrainingError
from edge_tasks.jobs.package import Contents, model_files, read_contents

SPEC = TrainingSpec(
    run_id="20261122-204655-00000000",
    model_name="digits",
    script="train.py",
    output_uri="gs://bucket/vertex/digits/run/output",
    parameters={"C": 10.0},
    addresses={},
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "digits"
    for name in ("train.py", "layers/__init__.py", "layers/dense.py", "words/stop words.txt", "params.yaml"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    for name in (
        "model/model.joblib",
        "plots/p.csv",
        "metrics.json",
        "trained_model.json",
        ".env",
        "__pycache__/t.pyc",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("not to travel")
    (tmp_path / "edge.yaml").write_text("target: local\n")
    (tmp_path / "requirements.txt").write_text(
        "# ours\nvertex-edge[local]==0.1.0\nscikit-learn==1.6.1  # as the image\n-r other.txt\n"
        "numpy==1.26.4; python_version < '3.13'\n"
    )
    return tmp_path


def names(archive: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


def contents(root: Path, *requirements: str) -> Contents:
    return read_contents(root, model_files(root, root / "models" / "digits"), requirements)


def build(root: Path, *requirements: str) -> dict[str, bytes]:
    return contents(root, *requirements).packages(SPEC)


def test_code_and_files_of_the_model_travel_and_outputs_and_secrets_stay(root: Path) -> None:
    own, model = build(root).values()
    folder = root / "models" / "digits"
    assert names(model) == {
        *("PKG-INFO", "setup.py", "edge_model/__init__.py", "edge_model/order.json", "edge_model/files/edge.yaml"),
        *(
            f"edge_model/files/models/digits/{path.relative_to(root / 'models/digits')}"
            for path in model_files(root, folder).sent
        ),
    }
    assert {path.name for path in model_files(root, folder).sent} == {
        *("train.py", "__init__.py", "dense.py", "stop words.txt", "params.yaml"),
    }
    assert "edge_tasks/training/job.py" in names(own)
    assert not any(name.startswith(("edge_tasks/emulator", "edge_tasks/tasks")) for name in names(own))


def test_what_links_lead_to_and_names_of_any_letters_travel(root: Path) -> None:
    folder = root / "models" / "digits"
    (root / "shared").mkdir()
    (root / "shared" / "wörter.txt").write_text("süß")
    (folder / "linked").symlink_to(root / "shared")
    (folder / "linked.txt").symlink_to(root / "shared" / "wörter.txt")
    (folder / "round").symlink_to(folder)
    (folder / "broken").symlink_to(root / "nothing")
    _, model = build(root).values()
    with tarfile.open(fileobj=io.BytesIO(model)) as tar:
        found = {name.partition("models/digits/")[2] for name in tar.getnames()}
        assert {"linked/wörter.txt", "linked.txt", "layers/dense.py"} <= found
        assert not [name for name in found if name.startswith(("round", "broken"))]
        text = tar.extractfile("edge_model-0/edge_model/files/models/digits/linked/wörter.txt")
        assert text is not None
        assert text.read().decode() == "süß"


def test_parameters_of_any_kind_arrive_as_they_were() -> None:
    odd = {
        "list": [1, 2.5, "a b", None],
        "quotes": '"it\'s" `$HOME` $(id) \\ %s {x}',
        "letters": "süß 数字 \n\t",
        "empty": "",
        "nothing": None,
        "long": "x" * 100_000,
        "nested": {"deep": {"flag": True}},
    }
    spec = SPEC.model_copy(update={"parameters": odd})
    assert TrainingSpec.from_json(spec.to_json()).parameters == odd


def test_the_same_content_gives_the_same_bytes(root: Path) -> None:
    assert build(root) == build(root)


@pytest.mark.parametrize("name", [".env", "server.key", "Credentials.json", "my-service-account-1.json", "prod.env"])
def test_what_may_hold_a_secret_stays_and_is_told(root: Path, name: str) -> None:
    path = root / "models" / "digits" / "deep" / name
    path.parent.mkdir()
    path.write_text("secret")
    files = model_files(root, root / "models" / "digits")
    assert path in files.secrets
    assert path not in files.sent


@pytest.mark.slow
def test_data_that_dvc_keeps_stay_and_are_told(root: Path) -> None:
    folder = root / "models" / "digits"
    (folder / "words.csv").write_text("a,b\n")
    (folder / "images").mkdir()
    (folder / "images" / "1.png").write_text("png")
    for command in (
        ["init", "--no-scm", "--quiet"],
        ["add", "--quiet", str(folder / "words.csv"), str(folder / "images")],
    ):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=root, check=True, capture_output=True)
    files = model_files(root, folder)
    assert set(files.data) == {folder / "words.csv", folder / "images" / "1.png"}
    assert not {path.name for path in files.sent} & {"words.csv", "1.png", "words.csv.dvc", "images.dvc", ".gitignore"}


def test_the_fingerprint_tells_code_and_requirements_but_not_the_order_or_words_about_the_model(root: Path) -> None:
    first = contents(root).fingerprint(parameters={"C": 1})
    (root / "models" / "digits" / "README.md").write_text("About it.")
    (root / "models" / "digits" / "params.yaml").write_text("# a comment\n")
    (root / "edge.yaml").write_text("target: gcp\n")
    assert contents(root).fingerprint(parameters={"C": 1}) == first
    assert contents(root).fingerprint(parameters={"C": 2}) != first
    assert contents(root, "pandas>=2").fingerprint(parameters={"C": 1}) != first
    (root / "models" / "digits" / "layers" / "dense.py").write_text("# changed\n")
    assert contents(root).fingerprint(parameters={"C": 1}) != first


def test_requirements_travel_without_this_package_itself(root: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(build(root, "pandas>=2")["edge_model-0.tar.gz"])) as tar:
        metadata = tar.extractfile("edge_model-0/PKG-INFO")
        assert metadata is not None
        lines = metadata.read().decode().splitlines()
    assert [line for line in lines if line.startswith("Requires-Dist")] == [
        "Requires-Dist: scikit-learn==1.6.1",
        "Requires-Dist: numpy==1.26.4; python_version < '3.13'",
        "Requires-Dist: pandas>=2",
    ]


def test_a_requirement_that_is_none_is_named_with_its_line(root: Path) -> None:
    (root / "requirements.txt").write_text("numpy\n=oops=\n")
    with pytest.raises(TrainingError, match=r"`requirements\.txt`, line 2: =oops="):
        build(root)


def test_the_distributions_build_and_hold_every_file(root: Path, tmp_path: Path) -> None:
    """setuptools, which pip uses where the job runs, makes of them what the submitter put in."""
    for name, content in build(root).items():
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(tmp_path / "src", filter="data")
        source = tmp_path / "src" / name.removesuffix(".tar.gz")
        built = tmp_path / "built" / source.name
        subprocess.run(
            [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(built)],
            cwd=source, check=True, capture_output=True,
        )  # fmt: skip
        expected = names(content) - {"PKG-INFO", "setup.py"}
        assert {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()} == expected


@pytest.fixture
def fingerprint_with(root: Path, tmp_path: Path) -> Callable[[str], str]:
    """Return what tells the fingerprint of a training after a change of a module of vertex-edge."""
    folder = tmp_path / "site"
    package = Path(edge_tasks.__file__).parent
    shutil.copytree(package, folder / "edge_tasks", ignore=shutil.ignore_patterns("emulator", "__pycache__", "page"))
    code = (
        "import sys; from pathlib import Path; from edge_tasks.jobs.package import *; root = Path(sys.argv[1]); "
        "print(read_contents(root, model_files(root, root / 'models/digits')).fingerprint())"
    )

    def fingerprint(module: str) -> str:
        path = folder / "edge_tasks" / module
        before = path.read_text()
        path.write_text(f"{before}\n_CHANGED = True\n")
        command = [sys.executable, "-c", code, str(root)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        path.write_text(before)
        return done.stdout

    return fingerprint


@pytest.mark.slow
def test_a_change_in_doctor_or_in_a_task_trains_no_model_again(fingerprint_with: Callable[[str], str]) -> None:
    changed = {module: fingerprint_with(module) for module in ("setup/doctor.py", "tasks/model.py", "jobs/waiter.py")}
    assert len(set(changed.values())) == 1
    assert fingerprint_with("training/data.py") not in changed.values()
    assert fingerprint_with("tracking/uploader.py") not in changed.values()


@pytest.mark.slow
def test_what_travels_imports_by_itself(root: Path, tmp_path: Path) -> None:
    own, _ = contents(root).packages(SPEC).values()
    with tarfile.open(fileobj=io.BytesIO(own)) as tar:
        tar.extractall(tmp_path / "job", filter="data")
    (folder,) = (tmp_path / "job").iterdir()
    modules = [f"edge_tasks.{name}" for name in ("training.job", "training.sklearn", "tracking.uploader_process")]
    code = (
        f"import edge_tasks, {', '.join(modules)}, edge_tasks.cloud.state_store, edge_tasks.cloud.vertex_experiments\n"
        f"assert edge_tasks.__file__.startswith({str(folder)!r}), edge_tasks.__file__"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
