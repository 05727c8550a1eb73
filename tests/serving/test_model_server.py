"""The model server by Vertex AI's contract: routes, health, errors, and its end."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from edge_tasks.training import save_results
from tests.serving.model_server import Running, ready, started

FRAME = pd.DataFrame({"age": [20, 30, 40], "city": ["Rome", "Paris", None]})

SLOW = """
import threading, time
from edge_tasks.serving import Predictor, RequestError

class Slow(Predictor):
    def load(self, artifacts_uri):
        time.sleep({load})
    def preprocess(self, prediction_input):
        if prediction_input["instances"] == ["bad"]:
            raise RequestError("instance 0 is bad")
        return prediction_input["instances"]
    def predict(self, instances):
        time.sleep(sum(instances))
        return [threading.current_thread().name for _ in instances]
    def healthy(self):
        from pathlib import Path
        return not Path({mark!r}).exists()
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    model = DummyClassifier(strategy="prior").fit(FRAME, ["no", "yes", "yes"])
    save_results(model, {}, folder, inputs=FRAME)
    return folder / "model"


@pytest.fixture(scope="module")
def server(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ready(artifact, tmp_path_factory.mktemp("log")) as server:
        yield server


def slow_artifact(folder: Path, load: float = 0.0) -> Path:
    (folder / "a" / "code").mkdir(parents=True)
    (folder / "a" / "code" / "predictor.py").write_text(SLOW.format(load=load, mark=str(folder / "sick")))
    return folder / "a"


@pytest.mark.slow
def test_it_answers_and_is_healthy(server: Running) -> None:
    assert server.ask("/health") == (200, {"status": "healthy"})
    assert server.predict({"age": 1, "city": "Rome"}, {"age": 2, "city": None}) == ["yes", "yes"]
    assert server.predict() == []


def test_a_parameter_chooses_the_method(server: Running) -> None:
    (answer,) = server.predict({"age": 1, "city": "Rome"}, method="predict_proba")
    assert answer == {"prediction": "yes", "probabilities": {"no": pytest.approx(1 / 3), "yes": pytest.approx(2 / 3)}}
    assert "the model has no `transform`; it has `predict`" in server.predict(
        {"age": 1, "city": "x"}, method="transform"
    )


def test_a_parameter_that_the_method_does_not_take_is_refused(server: Running) -> None:
    error = server.predict({"age": 1, "city": "Rome"}, temperature=3)
    assert error == "`predict` of the model has no parameter `temperature`"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{", "The body is not JSON"),
        (b"[]", 'the body must be {"instances": [...]}'),
        ({"instances": 3}, 'the body must be {"instances": [...]}'),
        ({"instances": [], "parameters": 3}, "`parameters` must be an object"),
        ({"instances": [{"age": "x", "city": "Rome"}]}, 'instance 0: column `age` is the text "x", not an integer'),
    ],
)
def test_what_is_no_request_is_refused_by_400(server: Running, body: Any, problem: str) -> None:
    status, answer = server.ask("/predict", body)
    assert status == 400
    assert problem in answer["error"]


def test_other_paths_and_methods_are_not_there(server: Running) -> None:
    assert server.ask("/other")[0] == 404
    assert server.ask("/predict")[0] == 405
    assert server.ask("/health", {})[0] == 405


def test_requests_on_one_connection_are_answered_in_their_order(server: Running) -> None:
    bodies = [b'{"instances": []}', b'{"instances": [{"age": 1, "city": null}]}', b'{"instances": [{"age": "?"}]}']
    heads = [b"", b"", b"Connection: close\r\n"]
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        for head, body in zip(heads, bodies, strict=True):
            size = len(body)
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (head, size, body)
            )
        answer = b""
        while block := connection.recv(1 << 16):
            answer += block
    first, second, third = (
        json.loads(part[part.index(b"{") :].splitlines()[0]) for part in answer.split(b"HTTP/1.1 ")[1:]
    )
    assert [first, second] == [{"predictions": []}, {"predictions": ["yes"]}]
    assert "column `age`" in third["error"]


def test_garbage_closes_the_connection(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"\x16\x03\x01garbage\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
        assert connection.recv(1000) == b""
    assert server.health() == 200


@pytest.mark.slow
def test_it_is_not_healthy_before_the_model_is_loaded(tmp_path: Path) -> None:
    with started(slow_artifact(tmp_path, load=1.0), tmp_path) as server:
        deadline = time.monotonic() + 30
        seen: list[int] = []
        while not seen or seen[-1] != 200:
            assert time.monotonic() < deadline
            seen.append(server.health())
        assert set(seen) <= {0, 503, 200}
        assert 503 in seen
        assert server.predict(0) != []


def test_a_server_that_is_killed_leaves_nothing_of_a_local_artifact(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    with ready(slow_artifact(tmp_path), tmp_path, TMPDIR=str(tmp_path / "temporary")):
        pass
    assert list((tmp_path / "temporary").iterdir()) == []


def test_it_is_not_healthy_when_the_predictor_says_so(tmp_path: Path) -> None:
    with ready(slow_artifact(tmp_path), tmp_path) as server:
        (tmp_path / "sick").touch()
        assert server.ask("/health") == (503, {"error": "The predictor says that it is not healthy."})
        (tmp_path / "sick").unlink()
        assert server.health() == 200


@pytest.mark.slow
def test_slow_requests_stop_neither_the_others_nor_the_health_route(tmp_path: Path) -> None:
    with ready(slow_artifact(tmp_path), tmp_path) as server:
        started_at = time.monotonic()
        threads = [threading.Thread(target=server.predict, args=(1.0,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert server.health() == 200
        for thread in threads:
            thread.join()
        assert time.monotonic() - started_at < 3.5  # one after the other they take 4 s


def test_a_request_error_of_a_predictor_is_400_and_any_other_500(tmp_path: Path) -> None:
    with ready(slow_artifact(tmp_path), tmp_path) as server:
        assert server.ask("/predict", {"instances": ["bad"]}) == (400, {"error": "instance 0 is bad"})
        status, answer = server.ask("/predict", {"instances": [None]})
        assert (status, answer["error"].startswith("TypeError: ")) == (500, True)
        assert "Traceback" in server.log.read_text()


@pytest.mark.slow
def test_sigterm_lets_what_was_asked_be_answered(tmp_path: Path) -> None:
    with ready(slow_artifact(tmp_path), tmp_path) as server:
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(server.predict(1.0)))
        thread.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=20) == 0
        thread.join()
        assert len(answers[0]) == 1


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"x.txt": "x"}, "the model cannot be loaded: the artifact holds none of the files model.joblib"),
        ({"code/predictor.py": "x = 1"}, "predictor.py must hold one class with the methods load, preprocess"),
        ({"code/predictor.py": "import not_there"}, "it needs not_there, which is not here"),
        ({"model.joblib": "garbage"}, "the model cannot be loaded"),
    ],
)
def test_a_model_that_cannot_be_loaded_ends_the_server_with_the_reason(
    tmp_path: Path, files: dict[str, str], problem: str
) -> None:
    for name, content in files.items():
        path = tmp_path / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    with started(tmp_path / "a", tmp_path) as server:
        assert server.process.wait(timeout=30) == 1
        assert problem in server.log.read_text()


@pytest.mark.slow
def test_arrays_are_read_in_their_shape_and_pictures_from_their_files(tmp_path: Path) -> None:
    import base64
    import io

    from PIL import Image

    pictures = np.zeros((3, 4, 4), dtype=np.uint8)
    pictures[1:] = 255

    save_results(Brightness(), {}, tmp_path, inputs=pictures)
    (tmp_path / "model" / "code").mkdir()
    (tmp_path / "model" / "code" / "pictures.py").write_text("")
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(file, "PNG")
    with ready(tmp_path / "model", tmp_path) as server:
        assert server.predict(pictures[0].tolist(), pictures[1].tolist()) == [0, 255]
        assert server.predict({"b64": base64.b64encode(file.getvalue()).decode()}) == [255]
        assert server.predict([1, 2]) == "instance 0 has the shape 2, the model takes 4 x 4"
        assert server.predict({"b64": "AAAA"}) == "instance 0 is not a picture"
        assert "is not base64" in server.predict({"b64": "%"})


class Brightness:
    """A model that no library knows."""

    def predict(self, pictures: Any) -> Any:
        return pictures.reshape(len(pictures), -1).max(axis=1)


@pytest.mark.slow
def test_the_artifact_is_fetched_from_a_bucket(artifact: Path, tmp_path: Path, root: Path) -> None:
    from edge_tasks.cloud import storage
    from edge_tasks.cloud.client import connect
    from edge_tasks.repo.edge_yaml import load_config

    cloud = connect(load_config(root, {}), root)
    uri = storage.upload_folder(cloud, artifact, "some/where")
    with ready(uri, tmp_path, STORAGE_EMULATOR_HOST=str(cloud.storage_url)) as server:
        assert server.predict({"age": 1, "city": "Rome"}) == ["yes"]
    with started(f"{uri}-else", tmp_path, STORAGE_EMULATOR_HOST=str(cloud.storage_url)) as server:
        assert server.process.wait(timeout=30) == 1
        assert "there is nothing at gs://" in server.log.read_text()
