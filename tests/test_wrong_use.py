"""What users get wrong: each answered by `error:` with the fact and `hint:` with the way out, and no traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_tasks import __version__
from tests.emulator.harness import eventually
from tests.repositories import Repository, another_environment, copy, disk, fill


@pytest.fixture(scope="module")
def repository(baked: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """One repository, initialised, with nothing trained; tests leave it as they found it."""
    repository = copy(baked["hello-world"], tmp_path_factory.mktemp("wrong-use"))
    repository.run("invoke", "init")
    yield repository
    repository.run("invoke", "local.stop", check=False)


@pytest.fixture
def elsewhere(repository: Repository, tmp_path: Path) -> Repository:
    """A folder that belongs to no repository."""
    return Repository(tmp_path, repository.environment)


def test_outside_a_repository(elsewhere: Repository) -> None:
    problem, hint = elsewhere.fails("edge", "model.list")
    assert problem == f"no `edge.yaml` in `{elsewhere.root}` or in a folder above it"
    assert "cookiecutter" in hint


def test_a_training_outside_a_repository(repository: Repository, elsewhere: Repository) -> None:
    script = str(repository.root / "models" / "hello-world" / "train.py")
    assert elsewhere.fails("python", script)[0].startswith("no `edge.yaml` in")


def test_broken_yaml(repository: Repository, elsewhere: Repository) -> None:
    (elsewhere.root / "edge.yaml").write_text("target: [\n")
    problem, hint = elsewhere.fails("edge", "config.show")
    assert problem.startswith("`edge.yaml` is not valid YAML: ")
    assert "line 2" in problem
    assert hint == f"fix `{elsewhere.root / 'edge.yaml'}`, then try again"


def test_an_unknown_model(repository: Repository) -> None:
    problem, hint = repository.fails("invoke", "model.deploy", "--name", "helo-world")
    assert problem == "`edge.yaml` has no model `helo-world`; it has `hello-world`"
    assert hint == "did you mean `hello-world`?"


@pytest.mark.parametrize("command", ["experiments.list --limit", "model.deploy --traffic"])
def test_a_number_that_is_none(repository: Repository, command: str) -> None:
    flag = command.split()[-1]
    assert repository.fails("invoke", *command.split(), "x") == ("`x` is not a number", f"such as {flag} 10")


def test_nothing_trained_yet(repository: Repository) -> None:
    problem, hint = repository.fails("invoke", "model.deploy")
    assert (problem, hint) == (
        "the model `hello-world` has not been trained yet",
        "dvc repro models/hello-world/dvc.yaml",
    )


def test_nothing_deployed_yet(repository: Repository) -> None:
    problem, hint = repository.fails("invoke", "model.predict")
    assert (problem, hint) == ("the model `hello-world` is not deployed", "invoke model.deploy --name hello-world")
    result = repository.run("./test_endpoint.sh", check=False)
    assert result.returncode == 1
    assert "the model `hello-world` is not deployed" in result.stderr


def test_a_port_that_is_taken(baked: dict[str, Path], repository: Repository, elsewhere: Repository) -> None:
    (elsewhere.root / "edge.yaml").write_bytes((repository.root / "edge.yaml").read_bytes())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        problem, hint = elsewhere.fails("edge", "local.start", "--port", str(port))
    assert str(port) in problem
    assert hint
    assert elsewhere.fails("edge", "local.status")[0] == "the local servers do not run"


LOCK = """
import sys, time
from pathlib import Path
from edge_tasks.cloud.client import connect
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.cloud.state_store import StateStore

with StateStore(connect(load_config(Path.cwd()), Path.cwd())).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_state_that_somebody_else_changes(repository: Repository) -> None:
    train = repository.root / "models" / "hello-world"
    repository.run("python", str(train / "train.py"), "with", "is_vertex=False")
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK],
        cwd=repository.root, env=repository.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        problem, hint = repository.fails("invoke", "model.deploy")
        assert problem.startswith("the shared state is locked by ")
        assert f"(process {holder.pid})" in problem
        assert hint.startswith("--lock-timeout 600 waits")
        assert f"process {holder.pid}" in repository.run("invoke", "state.show").stderr

        problem, hint = repository.fails("invoke", "state.unlock")
        assert problem.startswith("the shared state is locked by ")
        assert hint == "add `--yes` to unlock without being asked"
        assert f"process {holder.pid}" in repository.run("invoke", "state.unlock", "--yes").stderr
    finally:
        holder.communicate(timeout=30)
    assert "not locked" in repository.run("invoke", "state.unlock").stderr
    for name in ("trained_model.json", "metrics.json"):
        (train / name).unlink()


def test_no_google_credentials(repository: Repository) -> None:
    problem, hint = repository.fails("invoke", "model.list", EDGE_TARGET="gcp", NO_GCE_CHECK="true")
    assert problem == "no Google Cloud credentials were found on this machine"
    assert hint.startswith("gcloud auth application-default login")
    # DVC would be asked next.
    assert repository.fails("invoke", "ci.train", EDGE_TARGET="gcp", NO_GCE_CHECK="true") == (problem, hint)
    # Prices are Google's, also for the target on this machine.
    problem, hint = repository.fails("invoke", "cost.update", NO_GCE_CHECK="true")
    assert problem == "no Google Cloud credentials were found on this machine"
    assert hint == "gcloud auth application-default login, or see hours instead of prices"


def test_a_file_of_credentials_that_is_not_there_is_named(repository: Repository, tmp_path: Path) -> None:
    file = tmp_path / "google-cloud.json"  # as the workflows name it, before ci.setup's has been committed
    variables = {"EDGE_TARGET": "gcp", "NO_GCE_CHECK": "true", "GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    lost = f"no Google Cloud credentials were found on this machine: File {file}"
    problem, hint = repository.fails("invoke", "ci.deploy", **variables)
    assert problem == f"{lost} was not found (GOOGLE_APPLICATION_CREDENTIALS names it)"
    assert hint.startswith(
        "in CI: commit the file that invoke ci.setup makes; here: unset GOOGLE_APPLICATION_CREDENTIALS"
    )
    file.write_text("{")
    problem, _ = repository.fails("invoke", "ci.deploy", **variables)
    assert problem == f"{lost} is not a valid json file (GOOGLE_APPLICATION_CREDENTIALS names it)"


def test_no_network(repository: Repository, tmp_path: Path) -> None:
    """Credentials are there, but nothing answers: the names of Google's hosts cannot be resolved here."""
    key = tmp_path / "key.json"
    key.write_text(
        json.dumps({"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "t"})
    )
    problem, hint = repository.fails(
        "invoke", "model.list", EDGE_TARGET="gcp", GOOGLE_APPLICATION_CREDENTIALS=str(key),
        HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY="",
    )  # fmt: skip
    assert problem.startswith("cannot read the shared state: no answer")
    assert "check the network" in hint


def test_a_bucket_that_is_not_there(baked: dict[str, Path], repository: Repository) -> None:
    path = repository.root / "edge.yaml"
    text = path.read_text()
    try:
        path.write_text(re.sub(r"bucket_name: .*", "bucket_name: another-bucket", text))
        problem, hint = repository.fails("python", "models/hello-world/train.py", "with", "is_vertex=True")
    finally:
        path.write_text(text)
    assert (problem, hint) == ("the bucket `another-bucket` does not exist", "invoke init")


def test_a_payload_that_is_none(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("[1]")
    problem, _ = repository.fails("invoke", "model.predict", "--file", str(tmp_path / "p.json"))
    assert problem == f"`{tmp_path / 'p.json'}` has no list `instances`"


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["model.init", "Bad_Name"], "`Bad_Name` cannot be a model's name"),
        (["model.init", "hello-world"], "there is a model `hello-world` already"),
        (["model.init", "new", "--example", "digitz"], "there is no example `digitz`"),
    ],
)
def test_a_new_model_that_cannot_be(repository: Repository, arguments: list[str], fact: str) -> None:
    before = repository.run("git", "status", "--porcelain").stdout, (repository.root / "edge.yaml").read_bytes()
    assert repository.fails("invoke", *arguments)[0].startswith(fact)
    assert before == (
        repository.run("git", "status", "--porcelain").stdout,
        (repository.root / "edge.yaml").read_bytes(),
    )


def test_code_that_fails_in_a_job_shows_its_own_traceback(baked: dict[str, Path], hello_world: Repository) -> None:
    """The user's error is in the user's code, so the job's log has the traceback, and our words have none."""
    train = hello_world.root / "models" / "hello-world" / "train.py"
    train.write_text(
        train.read_text().replace("    metrics = {", '    raise ValueError("the user erred")\n    metrics = {')
    )
    hello_world.run("invoke", "init")
    result = hello_world.run("python", str(train), "with", "is_vertex=True", check=False)
    assert result.returncode == 1
    assert "| ValueError: the user erred" in result.stderr
    assert "exited with a non-zero status of 1" in result.stderr
    assert result.stderr.rstrip().endswith("hint: fix what the log says, then train again")
    assert not (train.parent / "trained_model.json").exists()


def test_data_that_were_not_fetched(baked: dict[str, Path], tmp_path: Path) -> None:
    digits = copy(baked["digits"], tmp_path)
    command = ("python", "models/digits/train.py", "with", "is_vertex=False")
    problem, hint = digits.fails(*command)
    assert problem == "DVC has not recorded a version of `data/digits.npz` yet"
    assert hint == "dvc repro models/digits/dvc.yaml"
    digits.run("dvc", "repro", "models/digits/dvc.yaml:prepare")
    (digits.root / "data" / "digits.npz").unlink()
    problem, hint = digits.fails(*command)
    assert problem == "there is no `data/digits.npz`"
    assert hint == "dvc pull data/digits.npz, or dvc repro when a stage makes it"


def test_data_that_dvc_never_recorded(baked: dict[str, Path], tmp_path: Path) -> None:
    digits = copy(baked["digits"], tmp_path)
    digits.run("invoke", "init")
    try:
        digits.run("python", "models/digits/prepare.py")
        problem, hint = digits.fails("python", "models/digits/train.py", "with", "is_vertex=True")
    finally:
        digits.run("invoke", "local.stop")
    assert problem == "DVC has not recorded a version of `data/digits.npz` yet"
    assert hint == "dvc repro models/digits/dvc.yaml"


def test_a_model_trained_with_another_library_than_the_serving_image_holds(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    hello_world.run("python", "models/hello-world/train.py", "with", "is_vertex=False")
    edge_yaml = hello_world.root / "edge.yaml"
    text = edge_yaml.read_text().replace("sklearn-cpu.1-6", "sklearn-cpu.1-5")
    edge_yaml.write_text(text)
    told = hello_world.run("invoke", "model.deploy", "--dry-run").stderr
    assert "serve it by the predictor" in told
    edge_yaml.write_text(text.replace("    serving_machine_type", "    serving: prebuilt\n    serving_machine_type"))
    problem, hint = hello_world.fails("invoke", "model.deploy")
    assert problem.startswith("`hello-world` was trained with scikit-learn 1.6.1, but its serving image holds 1.5")
    assert hint.startswith("pip install 'scikit-learn==1.5.*'")


def test_an_artifact_that_was_changed_by_hand_is_not_deployed(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    hello_world.run("python", "models/hello-world/train.py", "with", "is_vertex=False")
    (hello_world.root / "models" / "hello-world" / "model" / "model.joblib").write_bytes(b"garbage")
    problem, _ = hello_world.fails("invoke", "model.deploy")
    assert problem == "models/hello-world/model is not what trained_model.json tells of"


def test_a_full_disk_loses_nothing(baked: dict[str, Path], tmp_path: Path) -> None:
    with disk(tmp_path / "disk", megabytes=24) as small:
        repository = copy(baked["hello-world"], small / "here")
        train = ("python", "models/hello-world/train.py", "with", "is_vertex=False")
        repository.run("invoke", "init")
        repository.run(*train)
        trained = (repository.root / "models/hello-world/trained_model.json").read_bytes()
        filler = fill(small)
        for command in (train, ("invoke", "model.init", "second")):
            problem, hint = repository.fails(*command)
            assert problem.startswith("there is no space left on the disk")
            assert hint == "make room (df -h shows it), then try again"
        room = "make room (df -h shows it), then try again"
        problem, hint = repository.fails("invoke", "model.deploy")
        assert "No space left on this machine's disk" in problem
        assert hint == room
        # What is stored is whole: the advice is not to remove it.
        assert repository.fails("invoke", "local.save", "now")[1] == room
        assert (repository.root / "models/hello-world/trained_model.json").read_bytes() == trained
        filler.unlink()
        repository.run("invoke", "model.deploy")
        repository.run("invoke", "local.stop")


@pytest.mark.slow
def test_a_second_dvc_repro_at_once_is_told_who_is_at_work_and_harms_nothing(hello_world: Repository) -> None:
    """As seen in https://github.com/iterative/dvc/issues/9805."""
    repository, stage = hello_world, "models/hello-world/dvc.yaml"
    folder = repository.root / "models" / "hello-world"
    train = folder / "train.py"
    wait = "    import pathlib, time\n    pathlib.Path('../../began').touch()\n"
    wait += "    while not pathlib.Path('../../go').exists():\n        time.sleep(0.05)\n"
    train.write_text(train.read_text().replace("    X = np.array", f"{wait}    X = np.array", 1))
    repository.set_parameter("hello-world", "is_vertex", "false")
    first = repository.start("dvc", "repro", stage)
    try:
        deadline = time.monotonic() + 120
        while not (repository.root / "began").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        second = repository.run("dvc", "repro", stage, check=False)
    finally:
        (repository.root / "go").touch()
        said, _ = first.communicate(timeout=240)
    assert second.returncode != 0
    assert "Traceback" not in second.stderr
    assert re.search(r"busy|lock", second.stderr), second.stderr
    assert str(first.pid) in second.stderr
    assert first.returncode == 0, said
    assert "up to date" in repository.run("dvc", "status", stage).stdout


@pytest.mark.slow
def test_after_a_dvc_that_was_killed_the_next_takes_what_its_job_has_trained(hello_world: Repository) -> None:
    """As seen in https://github.com/iterative/dvc/issues/2804: the lock of the killed one is in nobody's way."""
    repository, command = hello_world, ("dvc", "repro", "models/hello-world/dvc.yaml")
    train = repository.root / "models" / "hello-world" / "train.py"
    train.write_text(
        train.read_text().replace("    X = np.array", "    import time; time.sleep(2)\n    X = np.array", 1)
    )
    repository.run("invoke", "init")
    first = repository.start(*command)
    assert first.stdout is not None
    while "running" not in (line := first.stdout.readline()):
        assert line, "it has ended before its job ran"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    repository.run(*command)
    for _ in first.stdout:  # what it had started has ended
        pass
    first.stdout.close()
    jobs = json.loads(repository.run("invoke", "jobs.list", "--json").stdout)
    assert [job["state"] for job in jobs] == ["succeeded"]
    assert json.loads(repository.run("invoke", "model.list", "--json").stdout)[0]["registered"] == "1"
    assert "up to date" in repository.run("dvc", "status", command[2]).stdout


def test_a_copy_of_a_repository_has_servers_of_its_own(hello_world: Repository, tmp_path: Path) -> None:
    hello_world.run("invoke", "init")
    copied = copy(hello_world.root, tmp_path / "copy")
    try:
        copied.run("invoke", "model.list")
        here, there = (each.run("invoke", "local.status").stdout for each in (hello_world, copied))
        assert here != there
        copied.run("invoke", "local.stop")
        assert hello_world.run("invoke", "local.status").stdout == here
    finally:
        copied.run("invoke", "local.stop", check=False)


def test_servers_whose_card_is_broken_can_be_stopped(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    (hello_world.root / ".edge/emulator/servers.json").write_text("{garbage")
    problem, hint = hello_world.fails("invoke", "model.list")
    assert problem.startswith("the local servers run, but")
    assert hint == "invoke local.stop"
    assert hello_world.fails("invoke", "local.status") == (problem, hint)
    assert problem in hello_world.run("invoke", "doctor", check=False).stdout
    assert hello_world.run("invoke", "local.stop").stderr.strip() == "> stopped the local servers"
    hello_world.run("invoke", "model.list")


def test_servers_of_another_release_are_named_until_they_are_stopped(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    card = hello_world.root / ".edge/emulator/servers.json"
    told = f"the local servers are those of vertex-edge 0.0.9, and {__version__} is installed; to use it: invoke"
    assert told not in hello_world.run("invoke", "doctor", check=False).stdout
    card.write_text(json.dumps({**json.loads(card.read_text()), "release": "0.0.9"}))
    assert told in hello_world.run("invoke", "doctor", check=False).stdout
    assert f"> warning: {told}" in hello_world.run("dvc", "repro", "models/hello-world/dvc.yaml").stderr
    hello_world.run("invoke", "local.stop")
    assert told not in hello_world.run("invoke", "model.deploy").stderr


def test_servers_that_another_environment_has_started_are_named_before_a_job_and_a_model(
    hello_world: Repository, tmp_path: Path
) -> None:
    python = another_environment(tmp_path / "venv")
    hello_world.run(str(python), "-m", "invoke", "local.start")
    told = (
        f"the local servers run in {tmp_path / 'venv'}, and jobs and models have its packages, not those of "
        f"{sys.prefix}; to use these: invoke local.stop"
    )
    assert told not in hello_world.run("invoke", "init").stderr
    for command in (("dvc", "repro", "models/hello-world/dvc.yaml"), ("invoke", "model.deploy")):
        assert f"> warning: {told}\n" in hello_world.run(*command).stderr
    assert told in hello_world.run("invoke", "doctor", check=False).stdout
    hello_world.run("invoke", "local.stop")
    again = hello_world.run("invoke", "model.train", "--force")
    assert "submitted" in again.stderr
    assert told not in again.stderr
    assert told not in hello_world.run("invoke", "doctor", check=False).stdout


@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
def test_servers_that_a_killed_command_left_starting_are_waited_for_or_replaced(
    hello_world: Repository, end: signal.Signals
) -> None:
    data = hello_world.root / ".edge" / "emulator"
    data.mkdir(parents=True)
    command = [sys.executable, "-m", "edge_tasks.emulator", "--data", str(data)]
    with subprocess.Popen(command, env=hello_world.environment, stdout=subprocess.PIPE) as left:
        eventually((data / "lock").exists, "it has the folder")
        left.send_signal(signal.SIGSTOP)
        asked = hello_world.start("invoke", "init")
        eventually((data.parent / "emulator.log").exists, "others are started")
        left.send_signal(end)
        said, _ = asked.communicate(timeout=60)
        assert asked.returncode == 0, said
        pid = json.loads((data / "servers.json").read_text())["pid"]
        assert (pid == left.pid) == (end == signal.SIGCONT)
        hello_world.run("invoke", "local.stop")


def test_a_place_that_cannot_be_written_to_is_named_before_any_work(repository: Repository) -> None:
    for command in ("model.report", "ci.compare", "pipeline.export"):
        assert repository.fails("invoke", command, "--output", "models") == (
            "`models` is a folder",
            "--output names a file: --output models/FILE",
        )
        assert repository.fails("invoke", command, "--output", "not/there.md") == (
            "there is no folder `not`",
            "mkdir -p not",
        )
    for command in ("model.image", "ci.monitor"):
        problem, hint = repository.fails("invoke", command, "--output", "edge.yaml/new")
        assert (problem, hint) == ("`edge.yaml` is a file", "choose another place for --output")


def test_stored_data_that_are_broken_are_answered_with_the_tasks_that_help(hello_world: Repository) -> None:
    hello_world.run("invoke", "init")
    hello_world.run("invoke", "local.stop")
    index = hello_world.root / ".edge/emulator/cloud-storage/index.sqlite3"
    reset = "invoke local.reset removes all that the local servers stored"
    try:
        whole = index.read_bytes()
        index.write_bytes(b"garbage" * 1000)
        problem, hint = hello_world.fails("invoke", "model.list")
        assert problem.startswith("the emulator's Cloud Storage cannot be opened: ")
        assert hint == reset  # and not an option of a command that nobody here has typed
        problem, hint = hello_world.fails("invoke", "local.save", "new")
        assert problem.endswith("/.edge/emulator cannot be read: file is not a database")
        assert hint == reset
        index.write_bytes(whole)
        hello_world.run("invoke", "local.save", "good")
        index.write_bytes(b"garbage" * 1000)
        assert hello_world.fails("invoke", "model.list")[1] == (
            f"invoke local.load NAME goes back to a snapshot (good); {reset}"
        )
        hello_world.run("invoke", "local.load", "good", "--yes")
        hello_world.run("invoke", "model.list")
    finally:
        shutil.rmtree(hello_world.root / ".edge/snapshots", ignore_errors=True)


def test_a_repository_in_a_folder_with_an_odd_name_works_and_can_be_moved(
    baked: dict[str, Path], tmp_path: Path
) -> None:
    repository = copy(baked["hello-world"], tmp_path / "Zoë's new folder")
    repository.run("invoke", "init")
    repository.run("dvc", "repro", "models/hello-world/dvc.yaml")
    repository.run("dvc", "push")
    repository.run("invoke", "local.stop")
    moved = Repository(repository.root.rename(tmp_path / "moved"), repository.environment)
    moved.run("dvc", "push")
    moved.run("invoke", "model.deploy")
    assert json.loads(moved.run("./test_endpoint.sh").stdout)["predictions"]
    moved.run("invoke", "local.stop")


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (("model.undeploy", "--wait", "5"), "--wait is called --lock-timeout now; the old name goes with 0.2"),
        (("model.deploy", "--no-wait", "--dry-run"), "--no-wait is called --async now; the old name goes with 0.2"),
    ],
)
def test_the_old_name_of_a_flag_is_understood_and_says_the_new_one(
    hello_world: Repository, words: tuple[str, ...], note: str
) -> None:
    hello_world.run("invoke", "init")
    said = hello_world.run("invoke", *words, check=False).stderr
    assert f"note: {note}\n" in said
    assert "note:" not in hello_world.run("invoke", "model.undeploy", "--lock-timeout", "5").stderr
