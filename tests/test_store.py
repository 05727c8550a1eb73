"""The shared state under its lock: who may change it, and what happens when a holder dies."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.cloud import client as client_module
from edge_tasks.cloud import state_store as store_module
from edge_tasks.cloud.client import Cloud, connect
from edge_tasks.cloud.object_lock import ObjectLock, claimed
from edge_tasks.cloud.state_store import LockHolder, StateStore
from edge_tasks.domain.state import KEPT_CHANGES, KEPT_DEPLOYMENTS, Deployment, EdgeState, dump_state
from edge_tasks.errors import StateError, StateLockedError
from edge_tasks.explanations import code_of
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.repo.layout import LOCK_OBJECT, STATE_OBJECT
from edge_tasks.tools import process as process_identity
from edge_tasks.tools.user import user_name
from tests.buckets import bucket, emptied
from tests.tcp_proxy import TcpProxy


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with its own servers and a bucket."""
    with bucket(tmp_path_factory.mktemp("store")) as root:
        yield root


@pytest.fixture
def cloud(root: Path) -> Iterator[Cloud]:
    with emptied(connect(load_config(root, {}), root)) as cloud:
        yield cloud


@pytest.fixture
def store(cloud: Cloud) -> StateStore:
    return StateStore(cloud)


def one_more(state: EdgeState) -> EdgeState:
    """Return `state` with one more deployment, which has the next number: a lost one is missing at the end."""
    deployment = Deployment(
        model="projects/p/locations/l/models/m@1",
        deployed_model_id=str(made(state)),
        deployed_at=datetime.now(timezone.utc),
        deployed_by="ada",
    )
    return state.with_deployment("m", deployment)


def made(state: EdgeState) -> int:
    """Return how many deployments `one_more` has made."""
    deployed = state.model("m").deployed
    return int(deployed.deployed_model_id) + 1 if deployed else 0


def numbers(state: EdgeState) -> list[int]:
    """Return the numbers of the deployments that are remembered."""
    return [int(item.deployed_model_id) for item in state.model("m").history]


def test_the_state_is_empty_before_it_is_made_and_made_once(store: StateStore) -> None:
    assert store.load() == EdgeState()
    assert store.create() is True
    assert store.create() is False


def test_a_change_is_there_for_everybody_afterwards(store: StateStore, cloud: Cloud) -> None:
    with store.locked() as locked:
        locked.save(one_more(locked.state))
        locked.save(one_more(locked.state))
    assert len(StateStore(cloud).load().model("m").history) == 2
    assert store.holder() is None


def test_a_body_that_fails_saves_nothing_and_frees_the_lock(store: StateStore) -> None:
    with pytest.raises(ZeroDivisionError), store.locked() as locked:
        locked.save(one_more(locked.state))
        raise ZeroDivisionError
    assert store.holder() is None
    assert len(store.load().model("m").history) == 1


def test_why_a_body_failed_is_told_although_the_lock_cannot_be_removed(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "RETRY_LIMIT", 0.3)
    assert cloud.storage_url is not None
    with TcpProxy(int(cloud.storage_url.rpartition(":")[2])) as proxy:
        away = dataclasses.replace(cloud, storage_url=f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(ZeroDivisionError), StateStore(away).locked():
            proxy.cut()
            raise ZeroDivisionError
    assert StateStore(cloud).unlock() is not None


def test_only_one_holds_the_lock_and_the_other_learns_who(store: StateStore, cloud: Cloud) -> None:
    with store.locked():
        with pytest.raises(StateLockedError) as caught, StateStore(cloud).locked():
            pytest.fail("two holders")
        assert f"(process {os.getpid()})" in caught.value.problem
        assert caught.value.hint == "--lock-timeout 600 waits for that command, up to 10 minutes"
        assert code_of(caught.value.problem) == "E401"


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "format_version: hi", "format_version: 1\nmodels: {m: 5}", "a: 2026-13-45"]
)
def test_a_broken_state_is_read_as_it_is_and_replaced_by_a_fixed_one(
    store: StateStore, cloud: Cloud, text: str
) -> None:
    cloud.objects.write(STATE_OBJECT, text, content_type="text/plain")
    with pytest.raises(StateError) as caught, store.locked():
        pytest.fail("it was read")
    assert code_of(caught.value.problem) == "E403"
    assert str(caught.value.hint).startswith("invoke state.show --raw > state.yaml, ")
    assert store.raw() == text
    with pytest.raises(StateError, match="broken"):
        store.replace(text)
    store.replace(dump_state(one_more(EdgeState())))
    assert made(store.load()) == 1
    assert [change.what for change in store.load().changes] == [("replaced by what a person wrote",)]
    assert store.holder() is None


@pytest.mark.parametrize("content", ["{", "[]", '{"pid": "x"}'])
def test_a_lock_that_nobody_can_read_is_removed_by_hand_alone(store: StateStore, cloud: Cloud, content: str) -> None:
    whole = {
        **dataclasses.asdict(LockHolder("", "", 0, "", "", "")),
        "machine": process_identity.machine(),
        "started": "s",
    }
    with contextlib.suppress(ValueError):
        found = json.loads(content)
        content = json.dumps({**whole, **found}) if isinstance(found, dict) else content
    cloud.objects.write(LOCK_OBJECT, content, content_type="text/plain", metadata={"renewed": "2026-01-01"})
    with pytest.raises(StateLockedError, match="locked by somebody on an unknown host") as caught, store.locked():
        pytest.fail("two holders")
    assert str(caught.value.hint).startswith("invoke state.unlock")  # its time has no zone
    store.unlock()
    assert store.holder() is None


INCREMENT = """
import os, sys
from pathlib import Path
from edge_tasks.cloud.client import connect
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.cloud.object_lock import ObjectLock
from edge_tasks.cloud.state_store import LockHolder, StateStore
from tests.test_store import one_more

root = Path(sys.argv[1])
store = StateStore(connect(load_config(root, {}), root))
for _ in range(int(sys.argv[2])):
    with store.locked(timeout=float(sys.argv[3])) as locked:
        alone = os.open(root / "holder", os.O_CREAT | os.O_EXCL)  # fails when there are two holders
        locked.save(one_more(locked.state))
        os.close(alone)
        os.unlink(root / "holder")
    print("one more", flush=True)
"""


def incrementing(root: Path, count: int, wait: float = 240) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", INCREMENT, str(root), str(count), str(wait)]
    return subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True)


# EDGE_TEST_CONTENTION="16 1000" is the measure that was agreed on; it takes minutes.
PROCESSES, INCREMENTS = map(int, os.environ.get("EDGE_TEST_CONTENTION", "4 40").split())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_changes_by_several_processes_are_never_lost_and_never_two_hold_the_lock(store: StateStore, root: Path) -> None:
    shares = [INCREMENTS // PROCESSES + (number < INCREMENTS % PROCESSES) for number in range(PROCESSES)]
    processes = [incrementing(root, share, wait=1200) for share in shares]
    for process in processes:
        process.communicate(timeout=1500)
    assert [process.returncode for process in processes] == [0] * PROCESSES
    assert numbers(store.load()) == list(range(INCREMENTS))[-KEPT_DEPLOYMENTS:]


@pytest.mark.slow
def test_holders_that_are_killed_at_random_lose_nothing_that_was_told(
    store: StateStore, cloud: Cloud, root: Path
) -> None:
    """Each is killed with -9 at a random moment; its lock stays, names it, and `unlock` frees it for the next."""
    told, randomly = 0, random.Random(4)
    for _ in range(6):
        process = incrementing(root, 1000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(randomly.uniform(0.0, 0.3))
        process.kill()
        told += 1 + len(process.communicate(timeout=30)[0].splitlines())
        (root / "holder").unlink(missing_ok=True)
        held = store.holder()
        if held is not None:
            assert held[0].pid == process.pid
            assert store.unlock() == held[0]
        saved = made(store.load())
        # The change that was saved when its process was killed may not have been told.
        assert saved in (told, told + 1)
        told = saved
    with store.locked() as locked:
        locked.save(one_more(locked.state))
    assert numbers(store.load()) == list(range(told + 1))[-KEPT_DEPLOYMENTS:]


def test_a_change_costs_six_requests(store: StateStore, cloud: Cloud) -> None:
    store.create()
    requests: list[str] = []
    cloud.storage._http.hooks["response"].append(lambda response, *_, **__: requests.append(response.request.method))
    with store.locked() as locked:
        locked.save(one_more(locked.state))
    assert requests == ["POST", "GET", "GET", "POST", "GET", "DELETE"]


def test_the_state_remembers_who_changed_what_and_forgets_the_oldest(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/invoke", "model.deploy", "--name", "m"])
    with store.locked() as locked:
        locked.save(one_more(locked.state))
        locked.save(locked.state)  # changes nothing
        locked.save(locked.state.without_deployment("m"))
    changes = store.load().changes
    assert [change.what for change in changes] == [
        ("m: deployed none -> version 1",),
        ("m: deployed version 1 -> none",),
    ]
    assert {change.command for change in changes} == {"invoke model.deploy --name m"}
    assert {change.by for change in changes} == {user_name()}
    state = store.load()
    for _ in range(KEPT_CHANGES):
        state = state.with_change(changes[0])
    assert len(state.changes) == KEPT_CHANGES
    assert changes[1] not in state.changes


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (["train.py", "with", "db_password=hunter2", "rate=3"], "train.py with db_password=*** rate=3"),
        (["invoke", "x", "--api-token", "abc"], "invoke x --api-token ***"),
        (["invoke", "mongodb://ada:pw@host/db"], "invoke mongodb://***@host/db"),
    ],
)
def test_no_secret_of_a_command_gets_into_lock_or_state(
    store: StateStore, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, command: list[str], kept: str
) -> None:
    monkeypatch.setattr(sys, "argv", command)
    with store.locked() as locked:
        assert json.loads(cloud.bucket.blob(LOCK_OBJECT).download_as_bytes())["command"] == kept
        locked.save(one_more(locked.state))
    assert store.load().changes[-1].command == kept


HOLD = INCREMENT.split("for _ in")[0] + "with store.locked():\n    print('locked', flush=True)\n    sys.stdin.read()\n"


def killed_holder(root: Path) -> subprocess.Popen[str]:
    """Return a process that was killed while it held the lock."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        holder.kill()
    return holder


def test_the_lock_of_a_process_of_this_machine_that_was_killed_is_taken_over(store: StateStore, root: Path) -> None:
    holder = killed_holder(root)
    told: list[str] = []
    with store.locked(tell=told.append) as locked:
        locked.save(one_more(locked.state))
    assert len(told) == 1
    assert told[0].startswith("took over the lock of a process that is gone: ")
    assert f"(process {holder.pid})" in told[0]
    assert store.holder() is None
    with store.locked(tell=told.append):
        assert len(told) == 1


def test_a_holder_is_gone_only_when_machine_number_and_start_say_so() -> None:
    here, began = process_identity.machine(), process_identity.started(os.getpid())
    assert began is not None

    def holder(**changes: Any) -> LockHolder:
        values: dict[str, Any] = {
            "owner": "ada",
            "host": "h",
            "pid": os.getpid(),
            "command": "",
            "created": "",
            "token": "",
        }
        return LockHolder(**values | {"machine": here, "started": began} | changes)

    assert not holder().is_gone()
    assert holder(started="1").is_gone()  # the number is another's by now
    assert not holder(started="1", machine="another").is_gone()
    assert not holder(started="", machine="").is_gone()  # of a version that did not write it
    ended = subprocess.Popen(["true"])
    began = process_identity.started(ended.pid) or "0"
    ended.wait()
    assert holder(pid=ended.pid).is_gone()


def test_the_lock_of_a_killed_holder_elsewhere_is_told_by_its_age_and_can_be_removed(
    store: StateStore, cloud: Cloud, root: Path
) -> None:
    holder = killed_holder(root)
    blob = cloud.bucket.get_blob(LOCK_OBJECT)
    blob.upload_from_string(json.dumps({**json.loads(blob.download_as_bytes()), "machine": "another"}))
    blob.metadata = {"token": "another", "renewed": "2026-01-01T00:00:00Z"}
    blob.patch()
    with pytest.raises(StateLockedError) as caught, store.locked():
        pytest.fail("a stale lock is never taken over silently")
    assert f"(process {holder.pid})" in caught.value.problem
    assert "no sign of life for" in caught.value.problem
    assert caught.value.hint == "invoke state.unlock, if that process no longer lives"
    removed = store.unlock()
    assert removed is not None
    assert removed.pid == holder.pid
    with store.locked() as locked:
        locked.save(one_more(locked.state))


def test_a_lock_that_was_removed_while_held_stops_the_next_write(store: StateStore) -> None:
    with pytest.raises(StateError, match="the lock was removed"), store.locked() as locked:
        store.unlock()
        locked.save(one_more(locked.state))
    assert store.load() == EdgeState()


def test_a_lock_that_somebody_else_took_meanwhile_stops_the_next_write_and_stays_theirs(
    store: StateStore, cloud: Cloud
) -> None:
    other = ObjectLock(cloud.objects, LOCK_OBJECT)
    theirs = LockHolder("grace", "another-host", 1, "invoke", "2026-11-22T20:46:55Z", other.token)
    with pytest.raises(StateError, match="the lock was removed"), store.locked() as locked:
        store.unlock()
        assert other.take(json.dumps(dataclasses.asdict(theirs)).encode())
        locked.save(one_more(locked.state))
    held = store.holder()
    assert held is not None
    assert held[0] == theirs


def test_a_lock_that_was_renewed_is_still_our_own(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "RENEW_INTERVAL", 0.02)
    with store.locked() as locked:
        time.sleep(0.5)
        locked.check()
        locked.save(one_more(locked.state))
    assert store.holder() is None


def test_renewing_shows_that_the_holder_lives(store: StateStore, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "RENEW_INTERVAL", 0.02)
    with store.locked():
        blob = cloud.bucket.get_blob(LOCK_OBJECT)
        blob.metadata = {**blob.metadata, "renewed": "2026-01-01T00:00:00Z"}
        blob.patch()
        deadline = time.monotonic() + 10
        while True:
            held = store.holder()
            assert held is not None
            if held[1] < 60:
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_state_that_was_changed_behind_the_lock_is_not_overwritten(store: StateStore, cloud: Cloud) -> None:
    with pytest.raises(StateError, match="somebody else changed the shared state"), store.locked() as locked:
        cloud.bucket.blob(STATE_OBJECT).upload_from_string("format_version: 1\nmodels: {other: {endpoint: e}}\n")
        locked.save(one_more(locked.state))
    assert set(store.load().models) == {"other"}


def test_an_upload_whose_answer_was_lost_is_known_as_our_own(store: StateStore) -> None:
    """The client repeats it and is told that the object is there already: with our content, so it is ours."""
    state = one_more(EdgeState())
    first = store._save(state, 0)
    assert store._save(state, 0) == first


def test_a_lock_whose_answer_was_lost_is_known_as_our_own(cloud: Cloud) -> None:
    mine = ObjectLock(cloud.objects, LOCK_OBJECT)
    assert mine.take(b"mine")
    assert mine.take(b"mine")
    assert not ObjectLock(cloud.objects, LOCK_OBJECT).take(b"theirs")
    assert cloud.bucket.blob(LOCK_OBJECT).download_as_bytes() == b"mine"


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"\xff"])
def test_a_lock_that_holds_garbage_still_locks_and_can_be_removed(
    store: StateStore, cloud: Cloud, garbage: bytes
) -> None:
    cloud.bucket.blob(LOCK_OBJECT).upload_from_string(garbage)
    with pytest.raises(StateLockedError, match="somebody on an unknown host"), store.locked():
        pytest.fail("it was locked")
    assert store.unlock() is not None


@pytest.mark.parametrize("garbage", [b"", b"{", b"\xff", b"format_version: 99", b"models: 3"])
def test_a_broken_state_is_never_overwritten(store: StateStore, cloud: Cloud, garbage: bytes) -> None:
    cloud.bucket.blob(STATE_OBJECT).upload_from_string(garbage)
    with pytest.raises(StateError), store.locked():
        pytest.fail("there is no state to change")
    assert cloud.bucket.blob(STATE_OBJECT).download_as_bytes() == garbage
    assert store.holder() is None


class InterruptingProxy(TcpProxy):
    """Sends Ctrl-C while the first object is on its way, which then takes its time."""

    told = False

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        from_client = source.getsockname()[1] == self.port
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                # It may come on a connection on which something was asked before.
                if from_client and not self.told and data.startswith(b"POST /upload"):
                    self.told = True
                    time.sleep(0.2)  # all of it is sent by now
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.5)
                    with contextlib.suppress(BlockingIOError):
                        data += source.recv(65536, socket.MSG_DONTWAIT)
                    target.sendall(data)
                    time.sleep(0.2)  # the server does not see at once that nobody waits
                    continue
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def interrupted(cloud: Cloud) -> Iterator[Cloud]:
    """The same bucket, on a way to which Ctrl-C meets the first object."""
    assert cloud.storage_url is not None
    with InterruptingProxy(int(cloud.storage_url.rpartition(":")[2])) as proxy:
        yield dataclasses.replace(cloud, storage_url=f"http://127.0.0.1:{proxy.port}")
        assert proxy.told


@pytest.mark.slow
def test_ctrl_c_while_the_lock_is_being_made_leaves_no_lock(cloud: Cloud, interrupted: Cloud) -> None:
    with pytest.raises(KeyboardInterrupt), StateStore(interrupted).locked():
        pass
    time.sleep(0.7)  # who went away has left the request on its way
    assert StateStore(cloud).holder() is None


@pytest.mark.slow
def test_ctrl_c_while_a_claim_is_being_made_leaves_no_claim(cloud: Cloud, interrupted: Cloud) -> None:
    with pytest.raises(KeyboardInterrupt), claimed(interrupted, "claims/one"):
        pass
    time.sleep(0.7)
    assert ObjectLock(cloud.objects, "claims/one").held() is None
