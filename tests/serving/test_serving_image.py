"""The predictor's image: what it is built from, and building it once, with stand-ins for Google's services."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sklearn.dummy import DummyClassifier

import edge_tasks
from edge_tasks.cloud import image_builds
from edge_tasks.cloud.client import Cloud
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.progress import Silence
from edge_tasks.domain.serving_choice import ArtifactFacts, Serving, choose, image_tag
from edge_tasks.domain.serving_dockerfile import SERVER_REQUIREMENTS, dockerfile
from edge_tasks.errors import CloudError, TrainingError
from edge_tasks.releases import serving_image
from edge_tasks.releases.serving import of_folder
from edge_tasks.training import save_results

LOCK = "# comment\nnumpy==1.26.4\nscikit-learn==1.6.1\n"
FACTS = ArtifactFacts(("model.joblib",), environment={"python": "3.11.7"}, requirements=LOCK)
CONFIG = EdgeConfig.model_validate(
    {
        "target": "gcp",
        "google_cloud_project": {"project_id": "my-project", "region": "europe-west1"},
        "storage_bucket": {"bucket_name": "my-bucket"},
        "models": {"m": {"endpoint_name": "e", "serving": "predictor"}},
    }
)


def test_the_dockerfile_has_the_python_and_the_libraries_of_the_training() -> None:
    text = dockerfile(FACTS)
    assert "FROM mirror.gcr.io/library/python:3.11-slim\n" in text
    assert "pip install -r requirements.txt" in text
    assert "USER 1000" in text
    assert "apt-get" not in text
    assert "libgomp1" in dockerfile(replace(FACTS, requirements="lightgbm==4.6.0\n"))


def test_the_tag_is_of_what_is_in_the_image_alone() -> None:
    tag = image_tag(FACTS)
    assert image_tag(replace(FACTS, files=("other",), requirements=LOCK.replace("# comment", "# other"))) == tag
    assert image_tag(replace(FACTS, requirements=LOCK.replace("1.6.1", "1.6.2"))) != tag
    assert image_tag(replace(FACTS, environment={"python": "3.10.1"})) != tag
    assert image_tag(replace(FACTS, environment={"python": "3.11.9"})) == tag


def test_what_the_server_needs_is_in_the_range_of_the_package() -> None:
    from packaging.requirements import Requirement

    text = (Path(edge_tasks.__file__).parent.parent / "pyproject.toml").read_text()
    for pinned in map(Requirement, SERVER_REQUIREMENTS):
        ranges = re.findall(rf'^    "({pinned.name}[^"a-z]*[\d])', text, flags=re.MULTILINE)
        assert ranges, pinned
        version = next(iter(pinned.specifier)).version
        assert Requirement(ranges[0]).specifier.contains(version)


def test_an_artifact_without_its_libraries_has_no_image() -> None:
    with pytest.raises(TrainingError, match=r"no requirements\.txt"):
        serving_image.contents(replace(FACTS, requirements=None))


@pytest.mark.slow
def test_the_files_of_the_image_are_enough_to_serve(tmp_path: Path) -> None:
    save_results(DummyClassifier(strategy="constant", constant=1).fit([[0], [1]], [0, 1]), {}, tmp_path / "out")
    facts = of_folder(tmp_path / "out" / "model", {"python": "3.11"})
    serving_image.write(facts, tmp_path / "image")
    code = (
        "import edge_tasks, json; from pathlib import Path; import edge_tasks.serving.__main__ as program;"
        "from edge_tasks.serving.predictor import answer;"
        f"predictor = program.load({str(tmp_path / 'out' / 'model')!r}, Path('.'));"
        "print(json.dumps([edge_tasks.__file__, answer(predictor, {'instances': [[5]]})]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "image")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    file, answer = json.loads(done.stdout)
    assert Path(file).parent == tmp_path / "image" / "edge_tasks"
    assert answer == {"predictions": [1]}


# --- Google's services ------------------------------------------------------------------------------------------


@dataclass
class Services:
    """Stands for Artifact Registry and Cloud Build."""

    tags: set[str] = field(default_factory=set)
    repositories: set[str] = field(default_factory=set)
    builds: list[dict[str, Any]] = field(default_factory=list)
    result: str = "SUCCESS"
    url: str = ""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        path, _, query = path.partition("?")
        if "/tags/" in path:
            return (200, {"name": path}) if path in self.tags else (404, {"error": {"message": "not found"}})
        if path.endswith("/repositories"):
            if query in self.repositories:
                return 409, {"error": {"message": "the repository already exists"}}
            self.repositories.add(query)
            return 200, {"name": "projects/my-project/locations/europe-west1/operations/1"}
        if "/operations/" in path:
            return 200, {"done": True}
        if method == "POST":
            self.builds.append(body)
            return 200, {"metadata": {"build": {"id": "b-1"}}}
        if self.result == "SUCCESS":
            name, tag = self.builds[-1]["images"][0].rpartition("/")[2].split(":")
            where = "projects/my-project/locations/europe-west1/repositories/edge-serving/packages"
            self.tags.add(f"/{where}/{name}/tags/{tag}")
        failure = {"failureInfo": {"detail": "pip failed"}, "logUrl": "https://log"}
        return 200, {"status": self.result, **({} if self.result == "SUCCESS" else failure)}


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    services = Services()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = services.answer(self.command, self.path, json.loads(body or "null"))
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _handle  # noqa: N815  the base class wants these names

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(image_builds, "REGISTRY_URL", url)
        monkeypatch.setattr(image_builds, "BUILD_URL", url)
        monkeypatch.setattr(image_builds, "_POLL", 0.01)
        yield services
        server.shutdown()


def chosen() -> Serving:
    return choose(CONFIG, "m", FACTS)


def test_an_image_is_built_once_for_its_libraries(services: Services, cloud: Cloud) -> None:
    for _ in range(2):
        serving_image.ensure(cloud, CONFIG, "m", chosen(), FACTS, Silence())
    (build,) = services.builds
    uri = f"europe-west1-docker.pkg.dev/my-project/edge-serving/predictor:{image_tag(FACTS)}"
    assert build["images"] == [uri] == [chosen().container.image]
    source = build["source"]["storageSource"]
    assert cloud.objects_in(source["bucket"]).read(source["object"]) == serving_image.archive(
        serving_image.contents(FACTS)
    )


def test_a_build_that_fails_is_told_with_its_reason_and_log(services: Services, cloud: Cloud) -> None:
    services.result = "FAILURE"
    with pytest.raises(CloudError, match="could not be built: pip failed") as caught:
        serving_image.ensure(cloud, CONFIG, "m", chosen(), FACTS, Silence())
    assert caught.value.hint == "its log: https://log"


def test_where_nothing_is_pulled_nothing_is_built(services: Services, cloud: Cloud) -> None:
    local = CONFIG.model_copy(update={"target": "local"})
    serving_image.ensure(cloud, local, "m", chosen(), FACTS, Silence())
    prebuilt = choose(
        CONFIG.model_copy(update={"models": {"m": CONFIG.models["m"].model_copy(update={"serving": None})}}), "m", FACTS
    )
    assert prebuilt.kind == "prebuilt"
    serving_image.ensure(cloud, CONFIG, "m", prebuilt, FACTS, Silence())
    assert services.builds == []


def test_docker_builds_and_pushes_when_it_is_asked_for(
    services: Services, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/calls\n[ "$1" = push ] || ls "$6" >> {tmp_path}/calls\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    model = CONFIG.models["m"].model_copy(update={"serving_builder": "docker"})
    config = CONFIG.model_copy(update={"models": {"m": model}})
    serving_image.ensure(cloud, config, "m", chosen(), FACTS, Silence())
    assert (tmp_path / "calls").read_text().split() == [
        "build", "Dockerfile", "edge_tasks", "requirements-server.txt", "requirements.txt", "push",
    ]  # fmt: skip
    assert services.builds == []
