"""Starting, stopping, being killed, and starting again."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import psutil
import pytest

from edge_tasks import __version__
from tests.emulator.harness import ECHO, PARENT, Emulator, child_environment, eventually

pytestmark = pytest.mark.usefixtures("not_forked")

Start = Callable[..., Emulator]


def start_badly(*arguments: str) -> str:
    """Start an emulator that cannot start and return what it says."""
    command = [sys.executable, "-m", "edge_tasks.emulator", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    problem, empty, hint = done.stderr.splitlines()
    assert problem.startswith("error: ")
    assert empty == ""
    assert hint.startswith("hint: ")
    return problem


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_it_announces_itself_in_a_file_and_a_line(own_emulator: Start, tmp_path: Path) -> None:
    running = own_emulator()
    data = tmp_path / "data"
    assert running.line == (
        f"Vertex AI emulator at {running.url}, by gRPC at {running.servers['grpc_address']},"
        f" Cloud Storage at {running.storage_url}, data in {data}\n"
    )
    assert running.servers == {
        "pid": running.process.pid,
        "started": psutil.Process(running.process.pid).create_time(),
        "data": str(data),
        "vertex_url": running.url,
        "storage_url": running.storage_url,
        "grpc_address": running.servers["grpc_address"],
        "environments": "shared",
        "prefix": sys.prefix,
        "release": __version__,
        "version": 1,
    }
    assert running.servers["grpc_address"].startswith("127.0.0.1:")


def test_sigterm_ends_everything_and_leaves_no_process(own_emulator: Start) -> None:
    running = own_emulator()
    endpoint = running.create_endpoint()
    running.deployed(endpoint, running.upload(ECHO))
    job = running.create_job(["sh", "-c", "sleep 1000 & echo started; wait"])
    eventually(lambda: running.output(job), "the job has started")
    tree = running.tree()
    assert len(tree) >= 5
    assert running.stop() == 0
    assert all_gone(tree)
    assert not (running.data / "servers.json").exists()


def test_a_client_that_waits_for_an_operation_does_not_hold_up_a_stop(own_emulator: Start) -> None:
    running = own_emulator()
    slow = running.upload(b"c__builtin__\neval\n(S'__import__(\"time\").sleep(1000)'\ntR.")
    operation = running.deploy(running.create_endpoint(), slow).body
    answers: list[object] = []

    def poll() -> None:
        try:
            answers.append(running.get(operation["name"]).status)
        except OSError as error:
            answers.append(error)

    client = threading.Thread(target=poll)
    client.start()
    tree = running.tree()
    assert running.stop() == 0
    client.join()
    assert len(answers) == 1
    assert all_gone(tree)


def test_sigkill_leaves_no_server_and_no_job(own_emulator: Start) -> None:
    running = own_emulator()
    running.deployed(running.create_endpoint(), running.upload(ECHO))
    job = running.create_job(["sh", "-c", "sleep 1000 & echo started; wait"])
    eventually(lambda: running.output(job), "the job has started")
    tree = running.tree()
    running.kill()
    eventually(lambda: all_gone(tree), "everything has ended")


def test_state_survives_a_stop_and_endpoints_serve_again(own_emulator: Start) -> None:
    first = own_emulator()
    model = first.upload(ECHO)
    endpoint = first.create_endpoint()
    first.deployed(endpoint, model)
    job = first.run_job(["echo", "hello"])
    before = [first.get(name).body for name in (model, endpoint, job["name"])]
    first.stop()
    second = own_emulator()
    assert [second.get(name).body for name in (model, endpoint, job["name"])] == before
    assert (second.url, second.storage_url) == (first.url, first.storage_url)
    assert second.predict(endpoint, [5]).body["predictions"] == [5]
    assert second.output(job) == ["hello"]


def test_after_a_kill_interrupted_work_has_failed_with_the_reason(own_emulator: Start) -> None:
    first = own_emulator()
    endpoint = first.create_endpoint()
    first.deployed(endpoint, first.upload(ECHO))
    job = first.create_job(["sh", "-c", "echo started; sleep 1000"])
    eventually(lambda: first.output(job), "the job has started")
    slow = first.upload(b"c__builtin__\neval\n(S'__import__(\"time\").sleep(1000)'\ntR.")
    deploy = first.deploy(endpoint, slow, {}).body
    first.kill()
    second = own_emulator()
    ended = second.get(job).body
    assert ended["state"] == "JOB_STATE_FAILED"
    assert "The emulator was stopped" in ended["error"]["message"]
    assert second.get(deploy["name"]).body["error"]["code"] == 10
    assert len(second.get(endpoint).body["deployedModels"]) == 1
    assert second.predict(endpoint, [5]).body["predictions"] == [5]


def test_what_belongs_to_nothing_is_removed_at_the_next_start(own_emulator: Start) -> None:
    running = own_emulator()
    running.upload(ECHO)
    running.run_job(["true"])
    running.stop()
    folders = [running.data / "models", running.data / "jobs"]
    kept = [sorted(folder.iterdir()) for folder in folders]
    for folder in folders:
        (folder / "left-over").mkdir()
    own_emulator()
    assert [sorted(folder.iterdir()) for folder in folders] == kept


def test_nothing_that_was_confirmed_is_lost_when_it_is_killed_at_any_moment(own_emulator: Start) -> None:
    """Three rounds; VERTEX_EMULATOR_KILLS asks for more."""
    random = Random(1)
    confirmed: list[str] = []
    serving: list[str] = []

    def work(running: Emulator, until: threading.Event) -> None:
        # What was not confirmed when the emulator was killed may be there or not.
        with contextlib.suppress(OSError, AssertionError, KeyError):
            while not until.is_set():
                endpoint = running.create_endpoint()
                confirmed.extend([endpoint, running.upload(None)])
                running.response(running.call("DELETE", f"/v1/{endpoint}"))
                confirmed.remove(endpoint)
                confirmed.append(running.create_job(["true"]))
                served = running.create_endpoint()
                running.deployed(served, running.upload(ECHO))
                serving.append(served)
                running.predict(served)

    for _ in range(int(os.environ.get("VERTEX_EMULATOR_KILLS", "3"))):
        running = own_emulator()
        until, wanted = threading.Event(), len(confirmed) + random.randrange(12)
        worker = threading.Thread(target=work, args=(running, until))
        worker.start()
        eventually(lambda wanted=wanted: len(confirmed) >= wanted, "some are confirmed")  # type: ignore[misc]
        tree = running.tree()
        running.process.kill()
        until.set()
        worker.join()
        running.kill()
        eventually(lambda tree=tree: all_gone(tree), "everything has ended")  # type: ignore[misc]
        # An endpoint whose deletion was under way may be there or not.
        sure = [name for name in confirmed if "/endpoints/" not in name]
        again = own_emulator()
        assert [name for name in sure if again.get(name).status != 200] == []
        jobs = [again.get(name).body for name in sure if "/customJobs/" in name]
        assert {job["state"] for job in jobs} <= {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"}
        assert all(job["error"]["message"] for job in jobs if job["state"] == "JOB_STATE_FAILED")
        for name in serving[-3:]:
            assert again.predict(name, [7]).body["predictions"] == [7]
        again.stop()


def test_one_emulator_for_each_data_folder(own_emulator: Start, tmp_path: Path) -> None:
    running = own_emulator()
    problem = start_badly("--data", str(tmp_path / "data"))
    assert f"(pid {running.process.pid}, {running.url})" in problem
    assert running.get("/_emulator/health").status == 200


@pytest.mark.parametrize("option", ["--port", "--storage-port"])
def test_a_port_that_is_taken_is_named(option: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} " in start_badly("--data", str(tmp_path), option, str(port))


def test_the_last_ports_are_left_to_others_when_they_are_taken(own_emulator: Start) -> None:
    first = own_emulator()
    first.stop()
    with socket.create_server(("127.0.0.1", int(first.url.rpartition(":")[2]))):
        second = own_emulator()
    assert second.url != first.url
    assert second.storage_url == first.storage_url


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file" / "data") in start_badly("--data", str(tmp_path / "file" / "data"))


def test_a_store_of_a_newer_version_is_refused(own_emulator: Start, tmp_path: Path) -> None:
    import sqlite3

    own_emulator().stop()
    store = tmp_path / "data" / "store.sqlite3"
    connection = sqlite3.connect(store)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "newer version" in start_badly("--data", str(tmp_path / "data"))


def test_a_store_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite3").write_bytes(b"no database" * 100)
    assert str(tmp_path / "store.sqlite3") in start_badly("--data", str(tmp_path))


def test_what_a_lost_store_or_index_told_of_is_not_removed(own_emulator: Start, tmp_path: Path) -> None:
    running = own_emulator()
    model, bucket = running.upload(ECHO), running.new_bucket()
    running.put(bucket, "a.txt", b"content" * 99999)
    running.stop()
    artifact = tmp_path / "data" / "models" / "x" / "model.joblib"
    artifact.parent.mkdir(parents=True)
    artifact.write_bytes(b"model")
    for lost in ("store.sqlite3", "cloud-storage/index.sqlite3"):
        file = tmp_path / "data" / lost
        whole = file.read_bytes()
        file.write_bytes(b"")
        told = start_badly("--data", str(tmp_path / "data"))
        assert f"cannot be opened: {file}: it is missing or empty, and there are files in" in told
        file.unlink()
        assert start_badly("--data", str(tmp_path / "data")) == told
        file.write_bytes(whole)
        assert artifact.is_file()
    again = own_emulator()
    assert again.get(f"/v1/{model}").status == 200
    assert again.read(bucket, "a.txt") == b"content" * 99999


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    script = (
        "import runpy, sys; sys.modules['uvicorn'] = None; "
        f"sys.argv = ['x', '--data', {str(tmp_path)!r}]; runpy.run_module('edge_tasks.emulator', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=child_environment())
    assert done.returncode == 1
    assert done.stderr.startswith("error: the package uvicorn is not installed\n\nhint: ")
    assert "pip install 'vertex-edge[local]'" in done.stderr


def test_a_deep_folder_with_odd_characters_works(own_emulator: Start, tmp_path: Path) -> None:
    """A Unix socket's path has 107 bytes at most, and a path in a shell command must not need quotes."""
    data = tmp_path / ("deep folder $(x) " * 3) / ("d" * 100) / ("e" * 100)
    running = own_emulator(data)
    endpoint = running.create_endpoint()
    running.deployed(endpoint, running.upload(ECHO))
    assert running.predict(endpoint, [5]).body["predictions"] == [5]
    bucket = running.new_bucket()
    running.put(bucket, "a.txt", b"content")
    assert running.output(running.run_job(["sh", "-c", f"cat /gcs/{bucket}/a.txt | cat"])) == ["content"]


def test_two_emulators_do_not_disturb_each_other(own_emulator: Start, tmp_path: Path) -> None:
    first, second = own_emulator(tmp_path / "1"), own_emulator(tmp_path / "2")
    assert first.url != second.url
    first.create_endpoint()
    assert second.get(f"{PARENT}/endpoints").body == {}
    assert json.loads((first.data / "servers.json").read_text())["pid"] == first.process.pid
    assert os.getpgid(first.process.pid) == os.getpgid(second.process.pid)
