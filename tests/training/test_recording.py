"""A training records itself, whatever becomes of it; and whatever becomes of the record, the training continues."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import connect
from edge_tasks.cloud.run_store import RunStore
from edge_tasks.domain.runs import COMPLETED, DIED, FAILED, INTERRUPTED, RUNNING, utc_now
from edge_tasks.experiments.listing import Run, list_runs, load_run
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.tools import emulator_process
from tests.repositories import Repository, clean_environment

EDGE_YAML = """\
google_cloud_project: {project_id: my-project, region: us-central1}
storage_bucket: {bucket_name: my-bucket}
models: {wine: {endpoint_name: wine}}
"""

TRAIN = """\
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from edge_tasks.training import get_config_and_state, vertex_wrapper
from sacred import Experiment

from helper import squared

config, state = get_config_and_state()
ex = Experiment("wine", save_git_info=False)


@ex.config
def cfg():
    model_name = "wine"
    is_vertex = False
    rate = 0.5
    do = "nothing"


@ex.automain
@vertex_wrapper(config, state)
def run(_run, rate, do, model_output_dir="./"):
    for step in range(5 if _run else 0):
        _run.log_scalar("loss", squared(rate) / (step + 1), step)
    print("printed", flush=True)
    subprocess.run(["echo", "from a program"], check=True)
    if do == "bytes":
        os.write(1, b"no UTF-8: \\xff\\n")
    if do == "fail":
        print("last words")
        raise ValueError("no good")
    if do == "exit":
        sys.exit(0)
    if do == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
        _run.info["more"] = "x"
    if do == "fork" and os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    if do in ("sleep", "fork"):
        print("ready", file=sys.stderr, flush=True)
        time.sleep(60)
    if do == "nan":
        _run.log_scalar("loss", float("nan"), 5)
    if do == "plot":
        plots = Path(model_output_dir) / "plots"
        plots.mkdir()
        (plots / "curve.csv").write_text("x,y\\n1,2\\n")
        (plots / "notes.exe").write_text("not a plot")
        Path("words.txt").write_text("attached")
        _run.add_artifact("words.txt")
    (Path(model_output_dir) / "model").mkdir()
    (Path(model_output_dir) / "model" / "m.txt").write_text("m")
    (Path(model_output_dir) / "metrics.json").write_text('{"score": 0.75}')
    return {"answer": 42}
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with one model, whose bucket is there."""
    folder = tmp_path_factory.mktemp("recording")
    root = made(folder / "repository")
    (folder / "home").mkdir()
    try:
        storage.create_bucket(connect(load_config(root, {}), root))
        yield root
    finally:
        emulator_process.stop(root)


def made(root: Path) -> Path:
    model = root / "models" / "wine"
    model.mkdir(parents=True)
    (root / "edge.yaml").write_text(EDGE_YAML)
    (model / "train.py").write_text(TRAIN)
    (model / "helper.py").write_text("def squared(x):\n    return x * x\n")
    return root


@pytest.fixture
def repository(servers: Path) -> Repository:
    """The repository, without runs."""
    cloud = connect(load_config(servers, {}), servers)
    for blob in cloud.storage.list_blobs("my-bucket"):
        blob.delete()
    return Repository(servers, clean_environment(servers.parent / "home"))


def train(repository: Repository, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return repository.run("python", "models/wine/train.py", *words, check=False, **changes)


def recorded(repository: Repository) -> list[Run]:
    """Every run with everything, oldest first."""
    config = load_config(repository.root, {})
    cloud = connect(config, repository.root)
    listing = list_runs(cloud, config)
    assert listing.unreadable == {}
    return [load_run(cloud, config, run.model_name, run.run_id) for run in reversed(listing.runs)]


def only(repository: Repository) -> Run:
    (run,) = recorded(repository)
    return run


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_training_is_recorded_whole(repository: Repository) -> None:
    result = train(repository, "with", "rate=2.0", "seed=7")
    assert result.returncode == 0, result.stderr
    assert "No observers" not in result.stderr
    assert "warning" not in result.stderr
    run = only(repository)
    record = run.record
    assert record.status == COMPLETED
    assert record.parameters == {"model_name": "wine", "is_vertex": False, "rate": 2.0, "do": "nothing", "seed": 7}
    assert record.metrics == {"score": 0.75}
    assert record.result == {"answer": 42}
    assert (record.error, record.trace) == (None, None)
    assert record.started
    assert record.ended
    assert record.started <= record.ended <= utc_now()
    assert record.sources == {name: (repository.root / "models/wine" / name).stat().st_size for name in record.sources}
    assert set(record.sources) == {"train.py", "helper.py"}
    assert record.environment["sacred"] == "0.8.7"
    assert record.machine["python_version"]
    assert record.user
    assert record.target == "local"
    assert f'"run_id": "{record.run_id}"' in (repository.root / "models/wine/trained_model.json").read_text()
    assert run.series["loss"].steps == [0, 1, 2, 3, 4]
    assert run.series["loss"].values == [4.0, 2.0, 4 / 3, 1.0, 0.8]
    assert run.series["score"].values == [0.75]
    assert sorted(run.output.splitlines()) == [b"from a program", b"printed"]


def test_what_a_training_prints_appears_as_ever_and_is_kept_byte_for_byte(repository: Repository) -> None:
    command = [sys.executable, "models/wine/train.py", "with", "do=bytes"]
    result = subprocess.run(command, cwd=repository.root, env=repository.environment, capture_output=True)
    expected = [b"from a program", b"no UTF-8: \xff", b"printed"]
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == expected
    assert sorted(only(repository).output.splitlines()) == expected


def test_a_failure_is_recorded_with_its_last_words(repository: Repository) -> None:
    result = train(repository, "with", "do=fail")
    assert result.returncode == 1
    run = only(repository)
    assert run.record.status == FAILED
    assert run.record.error == "ValueError: no good"
    assert run.record.trace
    assert 'raise ValueError("no good")' in run.record.trace
    assert b"last words" in run.output.splitlines()
    assert len(run.series["loss"].steps) == 5
    assert run.record.metrics == {}


def test_a_training_that_ends_itself_has_failed_though_with_status_0(repository: Repository) -> None:
    """DVC would take the results that are there for those of the new code."""
    metrics = repository.root / "models/wine/metrics.json"
    before = metrics.read_bytes() if metrics.exists() else None
    result = train(repository, "with", "do=exit")
    assert result.returncode == 1
    assert "error: the training ended itself, so nothing was changed: sys.exit(0)" in result.stderr
    assert "hint: let `run` return" in result.stderr
    assert "Traceback" not in result.stderr
    assert only(repository).record.status == FAILED
    assert (metrics.read_bytes() if metrics.exists() else None) == before


def test_numbers_that_are_none_do_not_break_the_record(repository: Repository) -> None:
    assert train(repository, "with", "do=nan").returncode == 0
    assert only(repository).series["loss"].values[-1] is None


def started(repository: Repository, do: str = "sleep") -> subprocess.Popen[str]:
    """Start a training that sleeps, and return when it is recorded as running."""
    process = repository.start("python", "models/wine/train.py", "-b", "1", "with", f"do={do}")
    try:
        eventually(lambda: any(b"ready" in run.output for run in recorded(repository)))
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        raise
    return process


def test_ctrl_c_is_recorded_as_such(repository: Repository) -> None:
    process = started(repository)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    run = only(repository)
    assert run.record.status == INTERRUPTED
    assert run.record.ended


def test_a_killed_training_shows_as_died_and_keeps_what_it_printed(repository: Repository) -> None:
    process = started(repository)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    run = only(repository)
    assert b"ready" in run.output
    assert run.record.ended
    assert run.record.error
    assert "killed" in run.record.error


def test_a_training_that_is_killed_in_its_first_moment_is_recorded(repository: Repository) -> None:
    process = repository.start("python", "models/wine/train.py", "with", "do=sleep")
    assert process.stdout
    for line in process.stdout:
        if line == "ready\n":
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    run = only(repository)
    assert run.record.status == DIED
    assert run.record.parameters["do"] == "sleep"
    assert b"ready" in run.output
    assert set(run.record.sources) == {"train.py", "helper.py"}


def recorder_of(process: subprocess.Popen[str]) -> psutil.Process:
    found = [
        child
        for child in psutil.Process(process.pid).children()
        if "edge_tasks.tracking.uploader_process" in child.cmdline()
    ]
    (recorder,) = found
    return recorder


def test_a_killed_recorder_is_followed_by_another_one(repository: Repository) -> None:
    process = started(repository)
    recorder_of(process).kill()
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert "warning" not in printed
    run = only(repository)
    assert run.record.status == INTERRUPTED
    assert b"ready" in run.output
    assert len(run.series["loss"].steps) == 5


def seen_alive_after(moment: datetime, repository: Repository) -> None:
    eventually(lambda: (only(repository).record.heartbeat or moment) > moment)


def test_a_recorder_killed_again_and_again_is_followed_by_others_while_the_training_goes_on(
    repository: Repository,
) -> None:
    process = started(repository)
    try:
        for _ in range(2):
            recorder_of(process).kill()
            seen_alive_after(utc_now(), repository)
            assert only(repository).record.status == RUNNING
    finally:
        os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    assert "warning" not in printed
    run = only(repository)
    assert run.record.status == INTERRUPTED
    assert b"ready" in run.output
    assert len(run.series["loss"].steps) == 5


def test_processes_that_a_training_forked_neither_hold_its_record_up_nor_write_into_it(repository: Repository) -> None:
    process = started(repository, "fork")
    child = next(child for child in psutil.Process(process.pid).children() if child.name() != "tee")
    process.kill()
    try:
        eventually(lambda: only(repository).record.status == DIED)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    assert child.pid


def test_a_full_disk_stops_neither_a_training_nor_its_record(repository: Repository, tmp_path: Path) -> None:
    """The event log may grow to so many bytes and no further, as on a full disk."""
    result = train(repository, "with", "do=full")
    assert result.returncode == 0, result.stderr
    assert "cannot be recorded for now: [Errno 27] File too large" in result.stderr
    run = only(repository)
    assert run.record.status == COMPLETED
    assert run.record.metrics == {"score": 0.75}
    assert len(run.series["loss"].steps) == 5


def test_tags_given_to_a_running_training_stay(repository: Repository) -> None:
    process = started(repository)
    try:
        config = load_config(repository.root, {})
        store = RunStore(connect(config, repository.root), config)
        before = only(repository).record
        store.update("wine", before.run_id, lambda now: (now or before).changed(tags=("good",)))
        eventually(lambda: only(repository).record.heartbeat > before.heartbeat + timedelta(seconds=2))  # type: ignore[operator]
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert only(repository).record.tags == ("good",)
    assert only(repository).record.status == INTERRUPTED


def test_sacred_decides_whether_a_run_is_observed_and_its_output_taken(repository: Repository) -> None:
    assert train(repository, "-u").returncode == 0
    assert recorded(repository) == []
    assert train(repository, "-C", "no").returncode == 0
    assert only(repository).output == b""
    assert train(repository, "print_config").returncode == 0
    assert len(recorded(repository)) == 1


def test_a_call_of_the_function_itself_records_nothing(repository: Repository) -> None:
    code = """\
import sys
sys.path.insert(0, "models/wine")
import train
print(train.run(None, 1.0, "nothing", sys.argv[1]))
"""
    folder = repository.root.parent / "called"
    folder.mkdir()
    assert "42" in repository.run(sys.executable, "-c", code, str(folder)).stdout
    assert recorded(repository) == []


@pytest.mark.slow
def test_without_a_bucket_a_training_says_so_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    fresh = Repository(made(tmp_path / "fresh"), clean_environment(tmp_path / "home"))
    result = train(fresh)
    assert result.returncode == 0, result.stderr
    assert re.search(
        r"^warning: the run \S+ is not recorded: there is no bucket `my-bucket` yet\n\nhint: invoke init$",
        result.stderr,
        re.MULTILINE,
    )
    assert not (fresh.root / ".edge" / "emulator").exists()
    assert (fresh.root / "models/wine/trained_model.json").exists()


@pytest.mark.slow
def test_a_run_that_the_bucket_did_not_take_is_sent_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    root = made(tmp_path / "early")
    repository = Repository(root, clean_environment(tmp_path / "home"))
    assert "next training, or experiments.list, sends it" in train(repository, "with", "rate=3.0").stderr
    assert train(repository, "with", "do=fail").returncode == 1
    try:
        storage.create_bucket(connect(load_config(root, {}), root))
        result = train(repository, "with", "rate=1.0")
        assert "warning" not in result.stderr
        runs = recorded(repository)
    finally:
        emulator_process.stop(root)
    # The first two may have begun in the same second, and then have no order.
    (failed,) = (run for run in runs if run.record.status == FAILED)
    first, last = (run for run in runs if run.record.status == COMPLETED)
    assert failed.record.error == "ValueError: no good"
    assert first.record.parameters["rate"] == 3.0
    assert first.record.metrics == {"score": 0.75}
    assert first.record.ended
    assert last.record.started
    assert first.record.ended < last.record.started
    assert set(first.record.sources) == {"train.py", "helper.py"}
    assert first.series["loss"].values[0] == 9.0
    assert sorted(first.output.splitlines()) == [b"from a program", b"printed"]
    assert not list((root / ".edge" / "unsent").glob("*/*/*"))


@pytest.mark.slow
def test_a_bucket_that_goes_away_does_not_stop_a_training(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    root = made(tmp_path / "lonely")
    repository = Repository(root, clean_environment(tmp_path / "home"))
    config = load_config(root, {})
    try:
        storage.create_bucket(connect(config, root))
        connect(config, root).bucket.delete()
        result = train(repository)
    finally:
        emulator_process.stop(root)
    assert result.returncode == 0, result.stderr
    assert re.search(
        r"^warning: the run \S+ is not recorded: the bucket `my-bucket` does not exist", result.stderr, re.MULTILINE
    )


def test_many_trainings_at_once_are_all_recorded_once(repository: Repository) -> None:
    """25 runs each by 8 processes: EDGE_TEST_RUNS=25."""
    processes, each = 8, int(os.environ.get("EDGE_TEST_RUNS", "2"))
    code = """\
import sys
sys.path.insert(0, "models/wine")
import train
for number in sys.argv[1:]:
    assert train.ex.run(config_updates={"rate": float(number)}).result == {"answer": 42}
"""
    rates = [[float(process * each + run) for run in range(each)] for process in range(processes)]
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(lambda mine: repository.run(sys.executable, "-c", code, *map(str, mine)), rates))
    runs = recorded(repository)
    assert len({run.record.run_id for run in runs}) == processes * each
    assert sorted(run.record.parameters["rate"] for run in runs) == [rate for mine in rates for rate in mine]
    for run in runs:
        assert run.record.status == COMPLETED
        assert run.record.metrics == {"score": 0.75}
        assert len(run.series["loss"].steps) == 5
        assert b"printed" in run.output


def test_plots_and_what_sacred_is_handed_are_recorded(repository: Repository) -> None:
    assert train(repository, "with", "do=plot").returncode == 0
    record = only(repository).record
    assert (record.plots, record.attachments) == ({"curve.csv": 8}, {"words.txt": 8})
    config = load_config(repository.root, {})
    store = RunStore(connect(config, repository.root), config)
    assert store.file("wine", str(record.run_id), "plots/curve.csv") == b"x,y\n1,2\n"
    assert store.file("wine", str(record.run_id), "attachments/words.txt") == b"attached"
    memory = store.system("wine", str(record.run_id))["memory (MB)"]
    assert memory.values
    assert all(10 < (value or 0) < 10_000 for value in memory.values)
