"""Jobs and models with their own images, in containers of a real Docker engine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.emulator.harness import Emulator, eventually
from tests.emulator.test_docker import SERVER
from tests.needs import DOCKER_IMAGE

pytestmark = pytest.mark.needs("docker")

# Answers 503 until it is told to be well, which nobody does.
ILL = SERVER.replace("self.answer(200 if self.path", "self.answer(503 if self.path").replace(
    "\nhttp.server.", "\nHandler.log_message = lambda *_: None\nhttp.server."
)

# What only a container knows: its own root, in which nothing of this machine is, and the image's files.
TRAIN = """
import json, os, pathlib, sys
rows = pathlib.Path(sys.argv[1]).read_text().split()
model = pathlib.Path(sys.argv[2])
model.mkdir(parents=True, exist_ok=True)
(model / "weights.json").write_text(json.dumps(sum(map(int, rows))))
print(pathlib.Path("/of-the-image").read_text(), os.path.exists(sys.argv[3]), os.environ["CLOUD_ML_JOB_ID"])
"""


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image as a user builds it: files, a variable, an entrypoint."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "train.py").write_text(TRAIN)
    (folder / "server.py").write_text(SERVER)
    (folder / "of-the-image").write_text("a file of the image")
    (folder / "Dockerfile").write_text(
        f"FROM {DOCKER_IMAGE}\nENV PYTHONPATH=/app\nCOPY of-the-image /\nCOPY *.py /app/\n"
        'ENTRYPOINT ["python3", "/app/server.py"]\n'
    )
    name = f"vertex-edge-tests/{folder.name.lower()}-{folder.parent.name.lower()}:1"
    docker("build", "--quiet", "--tag", name, str(folder))
    yield name
    docker("image", "rm", "--force", name)


@pytest.fixture(scope="module")
def somebodys(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same image for a user who is not root, and with a HEALTHCHECK, which Vertex AI does not ask."""
    folder = tmp_path_factory.mktemp("somebodys")
    check = "HEALTHCHECK --interval=1s --retries=1 CMD false"
    (folder / "Dockerfile").write_text(f"FROM {image}\n{check}\nUSER 1000\n")
    name = image.replace(":1", ":somebodys")
    docker("build", "--quiet", "--tag", name, str(folder))
    yield name
    docker("image", "rm", "--force", name)


@pytest.fixture
def containers() -> Callable[[str], list[str]]:
    """The containers that run now, of an image."""
    return lambda image: docker("ps", "--quiet", "--filter", f"ancestor={image}").split()


def test_a_job_trains_in_its_image_and_hands_the_model_to_the_bucket(emulator: Emulator, image: str) -> None:
    bucket = emulator.new_bucket()
    emulator.put(bucket, "data/rows.txt", b"1 2 39\n")
    here = str(emulator.data.resolve())
    paths = [f"/gcs/{bucket}/data/rows.txt", f"/gcs/{bucket}/out", here]
    job = emulator.run_job(["python3", "/app/train.py", *paths], image=image)
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    assert emulator.output(job) == [f"a file of the image False {job['name'].rpartition('/')[2]}"]
    assert emulator.read(bucket, "out/weights.json") == b"42"


def test_the_status_and_the_last_words_of_a_container_are_those_of_the_job(emulator: Emulator, image: str) -> None:
    job = emulator.run_job(["sh", "-c", "echo oh no >&2; exit 7"], image=image)
    assert job["state"] == "JOB_STATE_FAILED"
    assert "non-zero status of 7" in job["error"]["message"]
    assert "\noh no\n" in job["error"]["message"]


def test_a_cancelled_job_leaves_no_container(
    emulator: Emulator, image: str, containers: Callable[[str], list[str]]
) -> None:
    name = emulator.create_job(["sh", "-c", "trap '' TERM; echo started; while true; do sleep 0.1; done"], image=image)
    eventually(lambda: emulator.output(name), "the container has started")
    eventually(lambda: len(containers(image)) == 1, "the engine shows the container")
    emulator.post(f"{name}:cancel")
    assert emulator.wait_for_job(name)["state"] == "JOB_STATE_CANCELLED"
    eventually(lambda: containers(image) == [], "the container is gone")


def test_a_container_does_not_outlive_an_emulator_that_was_killed(
    own_emulator: Callable[..., Emulator], image: str, containers: Callable[[str], list[str]], tmp_path: Path
) -> None:
    first = own_emulator(tmp_path / "data")
    name = first.create_job(["sh", "-c", "trap '' TERM; echo started; sleep 1000"], image=image)
    eventually(lambda: first.output(name), "the container has started")
    # Its output may come before the engine says that it runs.
    (container,) = eventually(lambda: containers(image), "the engine shows the container")
    pid = int(docker("inspect", "--format", "{{.State.Pid}}", container))
    first.kill()
    eventually(lambda: not psutil.pid_exists(pid), "the container has ended")
    eventually(lambda: containers(image) == [], "the container is gone")


def test_a_container_is_told_to_end_and_has_time_for_its_last_words(
    emulator: Emulator, image: str, containers: Callable[[str], list[str]]
) -> None:
    name = emulator.create_job(
        ["sh", "-c", "trap 'echo saved; exit 0' TERM; echo started; while true; do sleep 0.1; done"], image=image
    )
    eventually(lambda: emulator.output(name), "the container has started")
    emulator.post(f"{name}:cancel")
    assert emulator.wait_for_job(name)["state"] == "JOB_STATE_CANCELLED"
    assert emulator.output(name)[:2] == ["started", "saved"]
    eventually(lambda: containers(image) == [], "the container is gone")


def test_a_job_that_is_not_root_reads_and_writes_below_gcs(emulator: Emulator, somebodys: str) -> None:
    bucket = emulator.new_bucket()
    emulator.put(bucket, "data/rows.txt", b"1 2 39\n")
    paths = [f"/gcs/{bucket}/data/rows.txt", f"/gcs/{bucket}/out", "/nowhere"]
    job = emulator.run_job(["sh", "-c", f"id -u; python3 /app/train.py {' '.join(paths)}"], image=somebodys)
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    assert emulator.output(job)[0] == "1000"
    assert emulator.read(bucket, "out/weights.json") == b"42"


def upload(emulator: Emulator, image: str, **spec: object) -> str:
    bucket = emulator.new_bucket()
    emulator.put(bucket, "model/weights", b"1")
    routes = {"healthRoute": "/healthy", "predictRoute": "/ask", "env": [{"name": "MINE", "value": "1"}]}
    container = {"imageUri": image, **routes, **spec}
    return emulator.upload(None, model={"artifactUri": f"gs://{bucket}/model", "containerSpec": container})


def failure(emulator: Emulator, model: str) -> str:
    return str(emulator.finish(emulator.deploy(emulator.create_endpoint(), model))["error"]["message"])


def test_a_server_that_is_not_root_answers_whatever_its_healthcheck_says(
    emulator: Emulator, somebodys: str, containers: Callable[[str], list[str]]
) -> None:
    endpoint = emulator.create_endpoint()
    deployed = emulator.deployed(endpoint, upload(emulator, somebodys))
    (container,) = containers(somebodys)
    state = "{{.State.Health.Status}}"
    eventually(lambda: docker("inspect", "--format", state, container) == "unhealthy", "its HEALTHCHECK has failed")
    assert emulator.predict(endpoint, ["a"]).status == 200
    assert docker("exec", container, "id", "-u") == "1000"
    emulator.response(emulator.post(f"{endpoint}:undeployModel", {"deployedModelId": deployed}))
    eventually(lambda: containers(somebodys) == [], "the container is gone")


def test_a_container_that_never_gets_healthy_fails_its_deployment_with_what_was_seen(
    own_emulator: Callable[..., Emulator], image: str, containers: Callable[[str], list[str]]
) -> None:
    impatient = own_emulator(environment={"VERTEX_EMULATOR_LOAD_TIMEOUT": "3"})
    ill = upload(impatient, image, command=["python3", "-c", f"print('not well', flush=True)\n{ILL}"])
    message = failure(impatient, ill)
    assert "did not become healthy within 3 s: its health route /healthy answered 503" in message
    assert "not well" in message
    deaf = upload(impatient, image, command=["sleep", "1000"])
    assert "within 3 s: it never listened" in failure(impatient, deaf)
    eventually(lambda: containers(image) == [], "the containers are gone")


def test_a_container_that_ends_fails_its_deployment_with_its_last_words(
    emulator: Emulator, image: str, containers: Callable[[str], list[str]]
) -> None:
    model = upload(emulator, image, command=["sh", "-c", "echo no weights; exit 3"])
    message = failure(emulator, model)
    assert "Model server exited unexpectedly" in message
    assert "no weights" in message
    assert containers(image) == []


def test_a_container_that_dies_comes_back_with_the_next_request(
    emulator: Emulator, image: str, containers: Callable[[str], list[str]]
) -> None:
    endpoint = emulator.create_endpoint()
    deployed = emulator.deployed(endpoint, upload(emulator, image))
    (container,) = containers(image)
    docker("kill", container)
    assert emulator.predict(endpoint, ["a"]).status == 200
    (another,) = containers(image)
    assert another != container
    emulator.response(emulator.post(f"{endpoint}:undeployModel", {"deployedModelId": deployed}))


def test_each_container_gets_a_port_of_its_own_and_the_first_the_one_that_it_asks_for(
    emulator: Emulator, image: str
) -> None:
    # Two that want the same port, on one network.
    model = upload(emulator, image, ports=[{"containerPort": 18473}])
    endpoint = emulator.create_endpoint()
    first = emulator.deployed(endpoint, model)
    port = emulator.predict(endpoint, ["a"]).body["predictions"][0][2]["AIP_HTTP_PORT"]
    second = emulator.deployed(endpoint, model, {first: 0, "0": 100})
    other = emulator.predict(endpoint, ["a"]).body["predictions"][0][2]["AIP_HTTP_PORT"]
    assert port == "18473" != other
    for deployed, split in ((first, {second: 100}), (second, {})):
        body = {"deployedModelId": deployed, "trafficSplit": split}
        emulator.response(emulator.post(f"{endpoint}:undeployModel", body))


def test_an_image_with_an_entrypoint_serves_predictions_and_is_gone_after_undeploy(
    emulator: Emulator, image: str, containers: Callable[[str], list[str]]
) -> None:
    bucket = emulator.new_bucket()
    emulator.put(bucket, "model/weights", b"1")
    spec = {
        "imageUri": image,
        "args": ["$(MINE)"],
        "env": [{"name": "MINE", "value": "12"}],
        "healthRoute": "/healthy",
        "predictRoute": "/ask",
    }
    model = emulator.upload(None, model={"artifactUri": f"gs://{bucket}/model", "containerSpec": spec})
    endpoint = emulator.create_endpoint()
    deployed = emulator.deployed(endpoint, model)
    answer = emulator.predict(endpoint, ["a"])
    assert answer.status == 200, answer.body
    ((route, row, shown, arguments),) = answer.body["predictions"]
    assert (route, row, arguments, shown["MINE"]) == ("/ask", "a", ["12"], "12")
    assert len(containers(image)) == 1
    emulator.response(emulator.post(f"{endpoint}:undeployModel", {"deployedModelId": deployed}))
    eventually(lambda: containers(image) == [], "the container is gone")
