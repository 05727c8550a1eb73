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
    assert len(containers(image)) == 1
    emulator.post(f"{name}:cancel")
    assert emulator.wait_for_job(name)["state"] == "JOB_STATE_CANCELLED"
    eventually(lambda: containers(image) == [], "the container is gone")


def test_a_container_of_an_emulator_that_was_killed_is_ended_by_the_next(
    own_emulator: Callable[..., Emulator], image: str, containers: Callable[[str], list[str]], tmp_path: Path
) -> None:
    first = own_emulator(tmp_path / "data")
    name = first.create_job(["sh", "-c", "echo started; sleep 1000"], image=image)
    eventually(lambda: first.output(name), "the container has started")
    (container,) = containers(image)
    pid = int(docker("inspect", "--format", "{{.State.Pid}}", container))
    first.kill()
    assert psutil.pid_exists(pid)
    own_emulator(tmp_path / "data")
    eventually(lambda: not psutil.pid_exists(pid), "the container has ended")


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
