"""Model servers that are forked: what works in them, what they share, and who ends whom."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edge_tasks.emulator.runtime import forks
from edge_tasks.emulator.time_limit import time_limit
from tests.emulator.harness import ECHO, Emulator, eventually, model_of
from tests.emulator.test_lifecycle import all_gone

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="servers are forked on Linux only"),
    pytest.mark.usefixtures("not_forked"),
]

Start = Callable[..., Emulator]
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One that is the parent of its fork server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_TESTS_FORK", "no")
        running = Emulator(tmp_path_factory.mktemp("forks") / "data")
    yield running
    assert running.stop() == 0


def fork_server(running: Emulator) -> psutil.Process:
    """The process that the servers are forked from: the one of our own children that runs its module."""
    children = psutil.Process(running.process.pid).children()
    (found,) = (child for child in children if any(word.endswith("fork_server.py") for word in child.cmdline()))
    return found


def forked(running: Emulator) -> list[psutil.Process]:
    """Every model server that was forked."""
    return [child for child in fork_server(running).children() if child.name() != "sh"]


def proportional_memory(processes: list[psutil.Process]) -> float:
    """Megabytes, with shared pages divided among those who share them."""
    return sum(process.memory_full_info().pss for process in processes) / MEGABYTE


def rows() -> tuple[list[list[float]], list[int]]:
    from random import Random

    random = Random(1)
    features = [[random.random() for _ in range(4)] for _ in range(200)]
    return features, [int(row[0] + row[1] > 1) for row in features]


def estimators() -> dict[str, Any]:
    """Estimators that compute with threads: of joblib, of OpenMP, and of the BLAS."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline

    return {
        "joblib": RandomForestClassifier(20, n_jobs=4, random_state=1),
        "openmp": HistGradientBoostingClassifier(max_iter=20),
        "kmeans": KMeans(3, n_init=1, random_state=1),
        "blas": make_pipeline(PCA(2), MLPClassifier((64, 64), max_iter=5, random_state=1)),
        "neighbors": KNeighborsClassifier(n_jobs=2),
    }


@pytest.mark.parametrize("name", ["joblib", "openmp", "kmeans", "blas", "neighbors"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_with_threads_predict_in_forked_servers(emulator: Emulator, name: str) -> None:
    features, labels = rows()
    estimator = estimators()[name].fit(features, labels)
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(pickle.dumps(estimator)))
    many = features * 50
    assert emulator.predict(endpoint, many).body["predictions"] == estimator.predict(many).tolist()
    assert forked(emulator)


@pytest.mark.slow
def test_training_with_threads_works_in_a_forked_server(emulator: Emulator) -> None:
    """What a model does when it predicts is a separate affair: also fitting, in worker processes."""
    source = (
        "lambda rows: __import__('sklearn.model_selection').model_selection.cross_val_score("
        "__import__('sklearn.ensemble').ensemble.HistGradientBoostingClassifier(max_iter=5),"
        " [row[:-1] for row in rows], [row[-1] for row in rows], n_jobs=2)"
    )
    features, labels = rows()
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(model_of(source)))
    answer = emulator.predict(endpoint, [[*row, label] for row, label in zip(features, labels, strict=True)])
    assert min(answer.body["predictions"]) > 0.5


def test_what_one_model_imports_or_sets_no_other_sees(emulator: Emulator) -> None:
    probe = (
        "lambda rows: ['wave' in __import__('sys').modules, __import__('os').environ.get('LEAK'),"
        " __import__('sys').path[0] == __import__('os').getcwd(), __import__('os').environ['AIP_DEPLOYED_MODEL_ID']]"
    )
    leaking = f"[__import__('wave'), __import__('os').environ.update(LEAK='1'), {probe}][-1]"
    seen = []
    for source in (leaking, probe):
        endpoint = emulator.create_endpoint()
        deployed = emulator.deployed(endpoint, emulator.upload(model_of(source)))
        seen.append((emulator.predict(endpoint).body["predictions"], deployed))
    (first, first_id), (second, second_id) = seen
    assert first == [True, "1", True, first_id]
    assert second == [False, None, True, second_id]


def test_servers_draw_different_random_numbers(emulator: Emulator) -> None:
    source = "lambda rows: [__import__('random').random(), __import__('numpy').random.random()]"
    model = emulator.upload(model_of(source))
    endpoints = [emulator.create_endpoint() for _ in range(2)]
    for endpoint in endpoints:
        emulator.deployed(endpoint, model)
    numbers = [number for endpoint in endpoints for number in emulator.predict(endpoint).body["predictions"]]
    assert len(set(numbers)) == 4


def test_a_model_with_variables_has_an_interpreter_of_its_own(emulator: Emulator) -> None:
    """A library reads OMP_NUM_THREADS while it is imported: in a fork that would be over."""
    source = "lambda rows: [__import__('os').environ['OMP_NUM_THREADS'], ' '.join(__import__('sys').orig_argv)]"
    container = {"imageUri": "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"}
    container["env"] = [{"name": "OMP_NUM_THREADS", "value": "1"}]  # type: ignore[assignment]
    endpoint = emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(model_of(source), model={"containerSpec": container}))
    threads, command = emulator.predict(endpoint).body["predictions"]
    assert threads == "1"
    assert "edge_tasks.emulator.serving.prebuilt" in command


def test_a_server_that_crashes_hurts_no_other(emulator: Emulator) -> None:
    endpoint, other = emulator.create_endpoint(), emulator.create_endpoint()
    emulator.deployed(endpoint, emulator.upload(model_of("lambda rows: __import__('os').abort()")))
    emulator.deployed(other, emulator.upload(model_of("lambda rows: [__import__('os').getpid()]")))
    before = emulator.predict(other).body["predictions"]
    assert emulator.predict(endpoint).error == (503, "UNAVAILABLE")
    assert emulator.predict(other).body["predictions"] == before


def test_a_fork_server_that_dies_is_started_again_and_its_servers_serve_on(own_emulator: Start) -> None:
    running = own_emulator()
    endpoint, other = running.create_endpoint(), running.create_endpoint()
    model = running.upload(model_of("lambda rows: [__import__('os').getpid()]"))
    running.deployed(endpoint, model)
    before = running.predict(endpoint).body["predictions"]
    dead = fork_server(running)
    dead.kill()
    dead.wait()
    assert running.predict(endpoint).body["predictions"] == before
    running.deployed(other, model)
    assert running.predict(other).body["predictions"] == [forked(running)[0].pid]
    # Both are watched, also the one whose fork server is gone.
    tree = [*running.tree(), psutil.Process(before[0])]
    running.kill()
    eventually(lambda: all_gone(tree), "everything has ended")


def test_a_forked_server_that_is_busy_ends_when_the_emulator_is_killed(own_emulator: Start) -> None:
    """PyDLL keeps the interpreter's lock: no thread of the server can do anything."""
    running = own_emulator()
    endpoint = running.create_endpoint()
    running.deployed(endpoint, running.upload(model_of("lambda rows: __import__('ctypes').PyDLL(None).sleep(1000)")))
    with pytest.raises(OSError):
        running.session.post(f"{running.url}/v1/{endpoint}:predict", json={"instances": [1]}, timeout=0.5)
    tree = running.tree()
    running.kill()
    eventually(lambda: all_gone(tree), "everything has ended")


def test_a_model_is_served_without_a_fork_when_there_is_no_fork_server(own_emulator: Start) -> None:
    running = own_emulator()
    # Where the socket of the fork server should be.
    (running.data / "sockets" / "python.sock").mkdir(parents=True)
    endpoint = running.create_endpoint()
    running.deployed(endpoint, running.upload(ECHO))
    assert running.predict(endpoint, [5]).body["predictions"] == [5]
    assert "started without a fork" in running.log_text()
    assert running.stop() == 0


def test_the_next_emulator_imports_what_is_deployed_while_it_starts_itself(own_emulator: Start) -> None:
    running = own_emulator()
    assert not (running.data / "preloaded.json").exists()
    endpoint = running.create_endpoint()
    running.deployed(endpoint, running.upload(ECHO))
    assert running.stop() == 0
    running = own_emulator()
    early = fork_server(running)
    assert "joblib" in early.cmdline()
    assert running.predict(endpoint, [5]).body["predictions"] == [5]
    assert fork_server(running) == early
    assert early in [parent for one in forked(running) for parent in one.parents()]
    # As every other child, it ends with the emulator, however that ends.
    tree = running.tree()
    running.kill()
    eventually(lambda: all_gone(tree), "everything has ended")
    running = own_emulator()
    (deployed,) = running.get(endpoint).body["deployedModels"]
    running.response(running.post(f"{endpoint}:undeployModel", {"deployedModelId": deployed["id"]}))
    assert running.stop() == 0
    own_emulator().stop()
    assert not (running.data / "preloaded.json").exists()


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The data of an emulator that has ended, and the endpoint that it had."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_TESTS_FORK", "no")
        running = Emulator(tmp_path_factory.mktemp("ended") / "data")
    endpoint = running.create_endpoint()
    running.deployed(endpoint, running.upload(ECHO))
    assert running.stop() == 0
    return running.data, endpoint


@pytest.mark.parametrize("noted", ["[1]", "{", '["there.is.none"]', '["", ".", "json."]'])
def test_an_emulator_starts_whatever_was_noted_for_it(
    own_emulator: Start, ended: tuple[Path, str], tmp_path: Path, noted: str
) -> None:
    data, endpoint = shutil.copytree(ended[0], tmp_path / "data"), ended[1]
    (data / "preloaded.json").write_text(noted)
    running = own_emulator()
    assert running.predict(endpoint, [5]).body["predictions"] == [5]
    assert "sklearn" in (running.data / "preloaded.json").read_text()


def test_a_fork_server_that_dies_while_the_emulator_starts_is_started_again(
    own_emulator: Start, ended: tuple[Path, str], tmp_path: Path
) -> None:
    data, endpoint = shutil.copytree(ended[0], tmp_path / "data"), ended[1]
    # It ends its process.
    (data / "preloaded.json").write_text('["unittest.__main__"]')
    running = own_emulator()
    assert running.predict(endpoint, [5]).body["predictions"] == [5]
    assert "unittest.__main__" not in fork_server(running).cmdline()


@pytest.mark.unmeasured
def test_many_models_are_light(own_emulator: Start, tmp_path: Path) -> None:
    """12 models; VERTEX_EMULATOR_MODELS asks for more. 60 must fit into 6 GiB: 100 megabytes for each."""
    from sklearn.linear_model import LogisticRegression

    count = int(os.environ.get("VERTEX_EMULATOR_MODELS", "12"))
    features, labels = rows()
    running = own_emulator()
    model = running.upload(pickle.dumps(LogisticRegression().fit(features, labels)))
    endpoints = [running.create_endpoint() for _ in range(count * 5 // 6)]
    for number in range(count):
        endpoint = endpoints[number % len(endpoints)]
        running.deployed(endpoint, model, {} if number >= len(endpoints) else None)
    assert len(forked(running)) == count
    for endpoint in endpoints:
        assert running.predict(endpoint, features[:3]).body["predictions"] == labels[:3]
    memory = proportional_memory(running.tree())
    assert memory < 150 + 10 * count, f"{memory:.0f} MB"


@pytest.mark.slow
def test_the_end_of_a_server_is_seen_while_somebody_else_holds_its_connection_open() -> None:
    """As a fork server does that was stopped in the moment in which it had forked."""

    async def scene() -> None:
        ours, theirs = socket.socketpair()
        server = subprocess.Popen(["sleep", "60"])
        with theirs:
            _, forked = await asyncio.get_running_loop().create_connection(forks._Forked, sock=ours)
            theirs.sendall(b"%d\n" % server.pid)
            await forked.started
            waiting = asyncio.ensure_future(forked.wait())
            await asyncio.sleep(1.5)
            assert not waiting.done()
            server.kill()
            server.wait()
            async with time_limit(30):
                await waiting
            assert forked.returncode == 0

    asyncio.run(scene())
