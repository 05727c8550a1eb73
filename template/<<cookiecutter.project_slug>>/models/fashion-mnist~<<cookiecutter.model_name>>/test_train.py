"""Get data, prepare and train on small made-up images, without DVC, Vertex AI and network."""

import contextlib
import csv
import gzip
import hashlib
import http.server
import importlib.util
import json
import threading
from pathlib import Path

import joblib
import numpy as np
import pytest

HERE = Path(__file__).parent
PARTS = {"train": 200, "t10k": 50}


def load(name):
    """Import a module of this folder. Every model has a `train`, so its path must tell which."""
    spec = importlib.util.spec_from_file_location(f"{HERE.name}_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def idx(array):
    """Give the bytes of an array as a file of Fashion-MNIST has them."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture(scope="module")
def files():
    """Four files like those of Fashion-MNIST: each class is a bright bar at its own height."""
    noise = np.random.default_rng(0)
    contents = {}
    for part, count in PARTS.items():
        labels = np.arange(count, dtype=np.uint8) % 10
        images = noise.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 4 : 2 * label + 8] += 180
        contents[f"{part}-images-idx3-ubyte"] = idx(images)
        contents[f"{part}-labels-idx1-ubyte"] = idx(labels)
    return contents


@pytest.fixture
def sums(files):
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


@pytest.fixture
def folder(files, tmp_path):
    path = tmp_path / "packed"
    path.mkdir()
    for name, content in files.items():
        (path / f"{name}.gz").write_bytes(gzip.compress(content))
    return path


@pytest.fixture
def get_data(monkeypatch):
    module = load("get_data")
    monkeypatch.setattr(module, "PAUSE", 0)
    return module


@pytest.fixture(scope="module")
def data(files, tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    for name, content in files.items():
        (directory / name).write_bytes(content)
    load("prepare").prepare(directory, directory / "all.npz")
    return directory / "all.npz"


@pytest.fixture(scope="module")
def results(data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("results")
    train = load("train")
    train.open_data = lambda _: data.open("rb")  # the prepared file, whether DVC has it or not
    train.run(components=10, C=10.0, model_output_dir=directory)
    return directory


@contextlib.contextmanager
def server(files, failures=(), refusals=()):
    """Serve the files, packed; each path of `failures` fails once, each of `refusals` always."""
    failures = set(failures)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path in refusals:
                self.send_error(404)
            elif self.path in failures:
                failures.remove(self.path)
                self.send_error(503)
            else:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(gzip.compress(files[self.path.removeprefix("/")[:-3]]))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("packed", [True, False])
def test_the_data_come_from_a_folder(get_data, files, sums, folder, tmp_path, packed):
    if not packed:
        for file in list(folder.iterdir()):
            file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
            file.unlink()
    get_data.get_data(str(folder), sums, tmp_path / "data")
    assert contents(tmp_path / "data") == files


def test_the_data_come_from_an_address_that_fails_once(get_data, files, sums, tmp_path):
    failures = {f"/{name}.gz" for name in files}
    with server(files, failures=failures) as address:
        get_data.get_data(address, sums, tmp_path / "data")
    assert contents(tmp_path / "data") == files


def test_without_network_the_message_names_the_folder_that_helps(get_data, files, sums, tmp_path):
    with server(files) as address:
        pass  # nothing listens there any more
    with pytest.raises(get_data.DataError, match="cannot download") as caught:
        get_data.get_data(address, sums, tmp_path / "data")
    assert "/usr/share/datasets/fashion-mnist" in str(caught.value)
    assert contents(tmp_path / "data") == {}


def test_what_was_fetched_before_a_failure_is_kept(get_data, files, sums, tmp_path):
    last = list(sums)[-1]
    with server(files, refusals={f"/{last}.gz"}) as address:
        with pytest.raises(get_data.DataError, match="404|Not Found"):
            get_data.get_data(address, sums, tmp_path / "data")
    kept = {name: content for name, content in files.items() if name != last}
    assert contents(tmp_path / "data") == kept
    with server(files, refusals={f"/{name}.gz" for name in kept}) as address:
        get_data.get_data(address, sums, tmp_path / "data")
    assert contents(tmp_path / "data") == files


def test_a_file_with_another_sum_is_refused(get_data, sums, folder, tmp_path):
    name = next(iter(sums))
    (folder / f"{name}.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(get_data.DataError, match=f"`{name}` from .* is not the file"):
        get_data.get_data(str(folder), sums, tmp_path / "data")
    assert contents(tmp_path / "data") == {}


def test_a_page_in_the_place_of_a_file_is_refused(get_data, sums, folder, tmp_path):
    (folder / f"{next(iter(sums))}.gz").write_bytes(b"<html>log in first</html>")
    with pytest.raises(get_data.DataError, match="is not a gzip file"):
        get_data.get_data(str(folder), sums, tmp_path / "data")


def test_a_folder_that_does_not_exist_is_named(get_data, sums, tmp_path):
    with pytest.raises(get_data.DataError, match="there is no folder .*nowhere"):
        get_data.get_data(str(tmp_path / "nowhere"), sums, tmp_path / "data")


def test_sha256sums_names_the_four_files_and_nothing_else(get_data, files):
    assert get_data.read_sums(HERE / "SHA256SUMS").keys() == files.keys()


def test_the_same_data_are_written_each_time(data, tmp_path):
    load("prepare").prepare(data.parent, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == data.read_bytes()


def test_every_image_keeps_its_label(data):
    with np.load(data) as arrays:
        for part, count in (("train", PARTS["train"]), ("test", PARTS["t10k"])):
            rows = arrays[f"x_{part}"].reshape(count, 28, 28).mean(axis=2)
            brightest = rows.argmax(axis=1)
            first = 2 * arrays[f"y_{part}"].astype(int) + 4
            assert ((first <= brightest) & (brightest < first + 4)).all()


def test_a_file_that_is_cut_short_is_refused(data, tmp_path):
    path = tmp_path / "cut"
    path.write_bytes((data.parent / "t10k-images-idx3-ubyte").read_bytes()[:-1])
    with pytest.raises(SystemExit, match="not a file of bytes in the IDX format"):
        load("prepare").read_idx(path)


def test_the_classes_are_told_apart(results):
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["accuracy"] >= 0.9
    assert metrics["f1"] >= 0.9


def test_the_plots_have_a_row_for_each_test_image_and_each_class(results):
    def rows(name):
        with (results / "plots" / name).open(newline="") as file:
            return list(csv.DictReader(file))

    classes = [row["class"] for row in rows("classes.csv")]
    assert classes == list(load("train").CLASSES)
    actual = [row["actual"] for row in rows("confusion.csv")]
    assert actual == [classes[number % 10] for number in range(PARTS["t10k"])]


def test_the_saved_model_needs_nothing_but_scikit_learn_and_answers_class_numbers(results, data):
    model = joblib.load(results / "model" / "model.joblib")
    with np.load(data) as arrays:
        answers = model.predict(arrays["x_test"][:10].tolist())
    assert {type(step).__module__.partition(".")[0] for _, step in model.steps} == {"sklearn"}
    assert answers.tolist() == list(range(10))


@pytest.mark.skipif(not (HERE / "model").is_dir(), reason="not trained yet")
def test_the_trained_model_answers_the_test_payload():
    model = joblib.load(HERE / "model" / "model.joblib")
    payload = json.loads((HERE / "test_payload.json").read_text())
    assert model.predict(payload["instances"]).tolist() == [9, 2, 1]
