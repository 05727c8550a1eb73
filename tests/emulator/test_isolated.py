"""Isolated environments: jobs and models find what their image holds and what is required, and nothing else."""

from __future__ import annotations

import os
import shlex
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_tasks.emulator.runtime import environments, image_contents
from edge_tasks.emulator.runtime.environments import Environments, MakeError
from edge_tasks.emulator.runtime.image_contents import OWN_PYTHON, Contents
from tests import mistakes
from tests.emulator.harness import Emulator, eventually, has_ended
from tests.needs import UV
from tests.wheels import write_wheel

pytestmark = pytest.mark.needs("uv")

IMAGE = f"python:{OWN_PYTHON}-slim"
TRAINING_IMAGE = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"
BEANS = {"beans/__init__.py": "from peas import GREEN\n\ndef main():\n    print('counted', GREEN)\n"}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables that lead uv to a folder of wheels, and to no index."""
    folder = tmp_path_factory.mktemp("wheels")
    write_wheel(folder, "peas", "1.0", {"peas.py": "GREEN = 1\n"})
    write_wheel(folder, "peas", "2.0", {"peas.py": "GREEN = 2\n"})
    write_wheel(folder, "beans", "1.0", BEANS, requires=["peas<2"], program="beans:main")
    # What images have, in place of the real ones: the prebuilt for training, and those of Python.
    for name, version in (text.split("==") for text in (*image_contents.TRAINING, "numpy==2.1.0")):
        write_wheel(folder, name.replace("-", "_"), version, {f"{name.replace('-', '_')}.py": ""})
    write_wheel(folder, "setuptools", "79.0", {"setuptools/__init__.py": ""})
    write_wheel(folder, "wheel", "0.45", {"wheel/__init__.py": ""})
    return {
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(folder),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_CACHE_DIR": str(tmp_path_factory.mktemp("uv")),
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
    }


@pytest.fixture(scope="module")
def isolated(tmp_path_factory: pytest.TempPathFactory, packages: dict[str, str]) -> Iterator[Emulator]:
    data = tmp_path_factory.mktemp("isolated") / "data"
    running = Emulator(data, "--environments", "isolated", environment=packages)
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log_text(), running.log_text()


def run(isolated: Emulator, line: str, image: str = IMAGE) -> list[str]:
    job = isolated.run_job(["sh", "-c", line], image=image)
    assert job["state"] == "JOB_STATE_SUCCEEDED", isolated.output(job)
    return isolated.output(job)


def why(isolated: Emulator, line: str) -> str:
    job = isolated.run_job(["sh", "-c", line], image=IMAGE)
    assert job["state"] == "JOB_STATE_FAILED", isolated.output(job)
    return str(job["error"]["message"])


def test_a_job_finds_nothing_of_the_emulators_environment(isolated: Emulator) -> None:
    assert "No module named 'orjson'" in why(isolated, "python3 -c 'import orjson'")
    assert "No module named 'hypertune'" in why(isolated, "python -c 'import hypertune'")
    assert "No module named 'edge_tasks'" in why(isolated, "python -m edge_tasks.training.job")
    assert run(isolated, "command -v uvicorn || echo no program") == ["no program"]


def test_what_pip_installs_is_there_with_what_it_requires_and_its_programs(isolated: Emulator) -> None:
    assert run(isolated, "pip install beans && beans && python3 -c 'import peas; print(peas.GREEN)'") == [
        "counted 1",
        "1",
    ]


def test_pip_keeps_what_was_installed_before(isolated: Emulator) -> None:
    line = "pip install peas==1.0 && pip install beans && python -c 'import beans, peas; print(peas.GREEN)'"
    assert run(isolated, line) == ["1"]


def test_the_program_that_asks_pip_finds_it_too(isolated: Emulator) -> None:
    code = (
        "import subprocess, sys; subprocess.run([sys.executable, '-m', 'pip', 'install', 'peas==2.0'], check=True);"
        "import peas; print(peas.GREEN)"
    )
    assert run(isolated, f"python -c {shlex.quote(code)}") == ["2"]


def test_what_cannot_be_had_is_the_jobs_failure_with_the_installers_lines(isolated: Emulator) -> None:
    message = why(isolated, "pip install no-such-thing==3 && echo not reached")
    assert "non-zero status of 1" in message
    assert "no-such-thing==3" in message
    assert "uv could not install" in message
    assert "peas" in why(isolated, "pip install peas==2.0 beans")


def test_a_file_of_requirements_says_where_packages_are(isolated: Emulator, tmp_path: Path) -> None:
    write_wheel(tmp_path, "lentils", "1.0", {"lentils.py": "RED = 3\n"})
    (tmp_path / "more.txt").write_text("lentils  # red\n")
    (tmp_path / "requirements.txt").write_text(f"--find-links {tmp_path}\n-r more.txt\n")
    file = shlex.quote(str(tmp_path / "requirements.txt"))
    line = f"pip install -r {file} && python -c 'import lentils; print(lentils.RED)'"
    assert run(isolated, line) == ["3"]


def test_an_archive_brings_what_it_requires(isolated: Emulator, packages: dict[str, str]) -> None:
    wheel = Path(packages["UV_FIND_LINKS"]) / "beans-1.0-py3-none-any.whl"
    bucket = isolated.new_bucket()
    path = isolated.put(bucket, wheel.name, wheel.read_bytes()).replace("gs://", "/gcs/")
    assert run(isolated, f"pip install {path} && python -c 'import beans; beans.main()'") == ["counted 1"]


def submit_package(isolated: Emulator, folder: Path, requires: str) -> Any:
    """Run a package in a prebuilt training image; it prints which libraries it has found."""
    task = "import importlib.util, beans, numpy, hypertune\nprint(beans.GREEN, importlib.util.find_spec('orjson'))\n"
    wheel = write_wheel(folder, "counting", "1.0", {"counting/task.py": task}, requires=[requires])
    uri = isolated.put(isolated.new_bucket(), wheel.name, wheel.read_bytes())
    spec = {"executorImageUri": TRAINING_IMAGE, "packageUris": [uri], "pythonModule": "counting.task"}
    return isolated.wait_for_job(isolated.submit({"pythonPackageSpec": spec}))


def test_a_package_in_a_prebuilt_image_finds_what_that_holds_and_what_it_requires(
    isolated: Emulator, tmp_path: Path
) -> None:
    job = submit_package(isolated, tmp_path, "beans")
    assert job["state"] == "JOB_STATE_SUCCEEDED", isolated.output(job)
    assert isolated.output(job)[-1] == "1 None"


def test_a_package_whose_requirement_cannot_be_had_fails_with_the_installers_lines(
    isolated: Emulator, tmp_path: Path
) -> None:
    job = submit_package(isolated, tmp_path, "no-such-thing==3")
    assert job["state"] == "JOB_STATE_FAILED"
    assert "no-such-thing==3" in job["error"]["message"]


def test_the_pythons_of_managers_are_known_though_their_shims_do_not_run_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PYENV_ROOT", "ASDF_DATA_DIR", "MISE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "py env"))
    for place in (
        *("py env/versions/3.10.13", "py env/versions/3.1.2", "py env/versions/3.11.7", "py env/versions/3.10-dev"),
        *(".asdf/installs/python/3.10.2", ".local/share/mise/installs/python/3.10"),
    ):
        (tmp_path / place / "bin").mkdir(parents=True)
    assert [str(Path(found).relative_to(tmp_path)) for found in environments._managed("3.10")] == [
        "py env/versions/3.10.13/bin",
        ".asdf/installs/python/3.10.2/bin",
        ".local/share/mise/installs/python/3.10/bin",
    ]
    assert environments._managed("3.9") == []


def test_the_nearest_python_takes_the_place_of_one_that_is_not_there(isolated: Emulator) -> None:
    job = isolated.run_job(["python", "-c", "print('ran')"], image="python:3.4")
    notice, line = isolated.output(job)
    assert notice.startswith("The image has Python 3.4, which is not on this machine: Python 3.1")
    assert notice.endswith("Install it with: uv python install 3.4")
    assert line == "ran"


def test_the_kind_is_changed_while_the_emulator_runs(isolated: Emulator) -> None:
    here = "python3 -c 'import orjson; print(orjson.__name__)'"
    path = "/_emulator/environments"
    try:
        assert isolated.call("PUT", path, {"kind": "shared"}).body == {"kind": "shared"}
        assert run(isolated, here) == ["orjson"]
        assert '"environments": "shared"' in (isolated.data / "servers.json").read_text()
    finally:
        isolated.call("PUT", path, {"kind": "isolated"})
    assert isolated.get(path).body == {"kind": "isolated"}
    assert "orjson" in why(isolated, here)
    assert isolated.call("PUT", path, {"kind": "moon"}).error == (400, "INVALID_ARGUMENT")
    assert isolated.post(path, {"python": 3}).error == (400, "INVALID_ARGUMENT")
    assert isolated.post(path, {"python": "3.11", "options": ["--python", "x"]}).error == (400, "INVALID_ARGUMENT")
    answer = isolated.post(path, {"python": OWN_PYTHON, "requirements": ["-r /etc/passwd"]})
    assert "is not a requirement" in answer.message


# --- mistakes: what is said of them beforehand is in tests/test_readiness.py ---------------------------------------


@pytest.mark.parametrize("mistake", [each for each in mistakes.CODE if each.fails], ids=lambda mistake: mistake.name)
def test_without_checks_a_mistake_fails_as_on_google_cloud(isolated: Emulator, mistake: mistakes.CodeMistake) -> None:
    bucket = isolated.new_bucket()
    isolated.put(bucket, "train.py", mistake.train.encode())
    for name, source in mistake.modules.items():
        isolated.put(bucket, name, source.encode())
    words = " ".join(shlex.quote(text) for text in mistake.requirements)
    install = f"pip install {words} && " if words else ""
    line = f"{install}python3 /gcs/{bucket}/train.py"
    job = isolated.run_job(["sh", "-c", line], image=f"python:{mistake.takes_python or OWN_PYTHON}-slim")
    if mistake.takes_python and any("takes its place" in text for text in isolated.output(job)):
        pytest.skip(f"Python {mistake.takes_python} is not on this machine, and another one cannot tell")
    assert job["state"] == "JOB_STATE_FAILED"
    assert mistake.fails in job["error"]["message"]


def test_a_mistake_that_an_environment_cannot_tell_says_why() -> None:
    assert all(bool(each.fails) != bool(each.why_not) for each in mistakes.CODE)
    assert len(mistakes.CODE) + len(mistakes.ARTIFACTS) == 22


# --- how they are made -------------------------------------------------------------------------------------------


@pytest.fixture
def logged(tmp_path: Path, packages: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A uv that notes what it is asked for, before it does it."""
    uv = shutil.which(UV[0])
    assert uv is not None
    log, program = tmp_path / "log", tmp_path / "bin" / "uv"
    program.parent.mkdir()
    log.touch()
    program.write_text(f'#!/bin/sh\necho "$1 $2" >> {log}\n[ ! -e {tmp_path}/slow ] || sleep 1000\nexec {uv} "$@"\n')
    program.chmod(0o755)
    for name, value in {**packages, "PATH": f"{program.parent}:{os.environ['PATH']}"}.items():
        monkeypatch.setenv(name, value)
    return log


WANTED = Contents(OWN_PYTHON, ("peas==1.0",), ("beans",))


def test_of_several_that_want_the_same_one_makes_it(tmp_path: Path, logged: Path) -> None:
    makers = [Environments(tmp_path / "cache") for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        found = {made.folder for made in pool.map(lambda maker: maker.ensure(WANTED), makers)}
    assert len(found) == 1
    assert logged.read_text().splitlines() == ["venv --no-project", "pip install", "pip install"]
    assert (found.pop() / "lib" / f"python{OWN_PYTHON}" / "site-packages" / "beans").is_dir()


def test_what_was_made_takes_no_uv(tmp_path: Path, logged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Environments(tmp_path / "cache").ensure(WANTED)
    monkeypatch.setenv("PATH", "/nowhere")
    assert Environments(tmp_path / "cache").ensure(WANTED) == first


def test_the_order_of_requirements_makes_no_other_environment(tmp_path: Path, logged: Path) -> None:
    made = Environments(tmp_path / "cache")
    one, other = (made.ensure(Contents(OWN_PYTHON, (), names)) for names in (("peas", "wheel"), ("wheel", "peas")))
    assert one == other
    assert made.ensure(Contents(OWN_PYTHON, (), ("peas",))) != one


def test_one_that_was_left_half_made_is_made_again(tmp_path: Path, logged: Path) -> None:
    made = Environments(tmp_path / "cache").ensure(WANTED)
    (made.folder / "environment.json").unlink()
    (made.folder / "left").touch()
    assert Environments(tmp_path / "cache").ensure(WANTED) == made
    assert not (made.folder / "left").exists()


def test_one_that_cannot_be_made_leaves_nothing(tmp_path: Path, logged: Path) -> None:
    with pytest.raises(MakeError, match="no-such-thing"):
        Environments(tmp_path / "cache").ensure(Contents(OWN_PYTHON, (), ("no-such-thing",)))
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_without_uv_the_command_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MakeError, match="Install it with: pip install uv"):
        Environments(tmp_path / "cache").ensure(WANTED)


def test_an_end_of_the_emulator_ends_what_is_being_made(tmp_path: Path, logged: Path) -> None:
    (tmp_path / "slow").touch()
    making = Environments(tmp_path / "cache")
    failures: list[MakeError] = []

    def make() -> None:
        try:
            making.ensure(WANTED)
        except MakeError as error:
            failures.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    eventually(logged.read_text, "uv has started")
    living = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    (uv,) = [child.pid for child in living if "venv" in child.cmdline()]
    making.close()
    thread.join()
    assert "is being stopped" in str(failures[0])
    eventually(lambda: has_ended(uv), "uv has ended")


def test_what_pip_was_told_of_packages_goes_for_uv(
    tmp_path: Path, logged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", os.environ["UV_FIND_LINKS"])
    monkeypatch.delenv("UV_FIND_LINKS")
    assert Environments(tmp_path / "cache").ensure(WANTED).python.exists()
