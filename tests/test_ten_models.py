"""Ten models of different kinds: trained as jobs, deployed, and asked through their endpoints.

All run in isolated environments, so that the libraries come by requirements alone, as on Google Cloud. What an endpoint
answers is what the model answered itself, in the job. Without a registry, one image with the libraries of all stands
for those that are built for each model.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edge_tasks
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.job_spec import TrainingSpec
from edge_tasks.domain.serving_choice import ArtifactFacts, choose
from edge_tasks.domain.serving_dockerfile import SERVER_REQUIREMENTS
from edge_tasks.jobs.package import Contents, travelling_modules
from edge_tasks.releases import serving_image
from edge_tasks.releases.serving import of_folder
from tests.emulator import python_image
from tests.emulator.harness import FINAL, Emulator
from tests.needs import DOCKER_PYTHON, isolated_environments, torch_wheel
from tests.serving.test_kinds_of_models import KINDS, MIXED, NEIGHBOUR, NUMBERS, PREDICTOR, approximately

pytestmark = [pytest.mark.slow, pytest.mark.needs("packages"), pytest.mark.timeout(1200)]

LIBRARIES = (
    *("numpy==1.26.4", "scipy==1.15.2", "scikit-learn==1.6.1", "joblib==1.4.2", "pandas==2.2.3", "pillow==11.3.0"),
    *("xgboost-cpu==3.2.0", "lightgbm==4.7.0", "catboost==1.2.10", "statsmodels==0.15.0"),
    *("onnx==1.23.2", "onnxruntime==1.32.0", "skl2onnx==1.20.0"),
)

PROBABILITIES = (
    MIXED
    + """
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
columns = ColumnTransformer([("n", SimpleImputer(), ["age", "income"]),
                             ("c", OneHotEncoder(handle_unknown="ignore"), ["city"])])
model = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(inputs, y)
method = "predict_proba"
answers = [{"prediction": model.classes_[row.argmax()], "probabilities": dict(zip(model.classes_, row))}
           for row in model.predict_proba(inputs.head(3))]
"""
)
IMAGES = """
import numpy as np
from pixels import Pixels
inputs = np.random.default_rng(0).integers(0, 255, (20, 8, 8)).astype(np.uint8)
model = Pixels().fit(inputs, np.arange(20) % 2)
answers = model.predict(inputs[:3])
"""
PIXELS = """
from sklearn.linear_model import LogisticRegression
class Pixels:
    def fit(self, images, y):
        self.model = LogisticRegression(max_iter=2000).fit(self.flat(images), y)
        return self
    def predict(self, images):
        return self.model.predict(self.flat(images))
    def flat(self, images):
        return images.reshape(len(images), -1) / 255
"""
# What the predictor of its own makes of what the model answers.
OWN = (
    NUMBERS
    + """
from neighbour import Mean
inputs = inputs * 100
model = Mean()
answers = [{"mean": round(float(value), 3), "unit": "C"} for value in model.predict((inputs[:3] - 32) / 1.8)]
"""
)
MODELS = {
    "table": PROBABILITIES,
    "xgboost": KINDS["xgboost"],
    "lightgbm": KINDS["lightgbm"],
    "catboost": KINDS["catboost"],
    "statsmodels": KINDS["statsmodels"],
    "torch": KINDS["torch"],
    "onnx": KINDS["onnx"],
    "texts": KINDS["texts"],
    "images": IMAGES,
    "own-predictor": OWN,
    "several-outputs": KINDS["several-outputs"],
}
END = """
import json
from pathlib import Path
from edge_tasks.training import save_results
from edge_tasks.training.describe import as_json
save_results(model, {"score": 1.0}, "out", inputs=inputs, **(dict(method=method) if "method" in dir() else {}))
Path("out/answers.json").write_text(json.dumps(as_json(list(answers))))
"""
FILES = {"neighbour.py": NEIGHBOUR, "deeper/__init__.py": "", "deeper/scale.py": "FACTOR = 10\n", "pixels.py": PIXELS}


@dataclass(frozen=True)
class Trained:
    """What a job has left: the folder, and what the model itself answered in it."""

    folder: Path
    uri: str

    @property
    def answers(self) -> list[Any]:
        return list(json.loads((self.folder / "answers.json").read_text()))

    @property
    def instances(self) -> list[Any]:
        return list(json.loads((self.folder / "test_payload.json").read_text())["instances"])


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    variables = isolated_environments()
    assert isinstance(variables, dict)
    data = tmp_path_factory.mktemp("ten") / "data"
    running = Emulator(data, "--environments", "isolated", environment=variables)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def libraries() -> tuple[str, ...]:
    wheel = torch_wheel()
    return (*LIBRARIES, f"torch=={wheel.name.split('-')[1]}") if wheel else LIBRARIES


def own_package() -> dict[str, bytes]:
    """Return this package as it travels with a job: file name to content."""
    package = Path(edge_tasks.__file__).parent
    own = {f"edge_tasks/{name}": (package / name).read_bytes() for name in travelling_modules()}
    spec = TrainingSpec(run_id="r", model_name="m", script="train.py", output_uri="gs://b/o")
    packages = Contents(own=own, model={"edge_model/__init__.py": b""}, requirements=()).packages(spec)
    return {name: content for name, content in packages.items() if name.startswith("vertex_edge")}


@pytest.fixture(scope="module")
def trained(
    emulator: Emulator, libraries: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Trained]:
    """Train them all, each as a job."""
    bucket = emulator.new_bucket()
    ((package, content),) = own_package().items()
    emulator.put(bucket, package, content)
    emulator.put(bucket, "requirements.txt", "\n".join(libraries).encode())
    kinds = [kind for kind in MODELS if kind != "torch" or any(name.startswith("torch") for name in libraries)]
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in kinds}

    def train(kind: str) -> Trained:
        own = {"predictor.py": PREDICTOR} if kind == "own-predictor" else {}
        for name, text in {"train.py": MODELS[kind] + END, **FILES, **own}.items():
            emulator.put(bucket, f"{kind}/{name}", text.encode())
        line = (
            f"pip install /gcs/{bucket}/{package} -r /gcs/{bucket}/requirements.txt && cp -r /gcs/{bucket}/{kind} m && "
            f"cd m && python3 train.py && cp -r out /gcs/{bucket}/out-{kind}"
        )
        name = emulator.create_job(["sh", "-c", line], image=f"python:{DOCKER_PYTHON}-slim")
        while emulator.get(name).body["state"] not in FINAL:
            time.sleep(0.05)
        assert emulator.get(name).body["state"] == "JOB_STATE_SUCCEEDED", (kind, emulator.output(name))
        for path in objects(emulator, bucket, f"out-{kind}/"):
            target = folders[kind] / path.removeprefix(f"out-{kind}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(emulator.read(bucket, path))
        return Trained(folders[kind], f"gs://{bucket}/out-{kind}/model")

    # As many at a time as the smallest machines have cores.
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(kinds, pool.map(train, kinds), strict=True))


def objects(emulator: Emulator, bucket: str, prefix: str) -> list[str]:
    url = f"{emulator.storage_url}/storage/v1/b/{bucket}/o"
    items = emulator.session.get(url, params={"prefix": prefix}, timeout=10).json()["items"]
    return [item["name"] for item in items if not item["name"].endswith("/")]


def spec_of(trained: Trained, **settings: str) -> tuple[str, dict[str, Any]]:
    """Return what serves it, as `model.deploy` chooses, and the spec of that."""
    config = EdgeConfig.model_validate(
        {
            "google_cloud_project": {"project_id": "my-project", "region": "us-central1"},
            "storage_bucket": {"bucket_name": "my-bucket"},
            "models": {"m": {"endpoint_name": "e", **settings}},
        }
    )
    environment = json.loads((trained.folder / "environment.json").read_text())
    serving = choose(config, "m", of_folder(trained.folder / "model", environment))
    message = serving.container.message()
    names = {"image_uri": "imageUri", "predict_route": "predictRoute", "health_route": "healthRoute"}
    return serving.kind, {names[key]: value for key, value in message.items() if key in names}


def answers(emulator: Emulator, trained: Trained, spec: dict[str, Any], instances: list[Any]) -> list[Any]:
    model = emulator.upload(None, model={"artifactUri": trained.uri, "containerSpec": spec})
    endpoint = emulator.create_endpoint()
    operation = emulator.finish(emulator.deploy(endpoint, model))
    assert "error" not in operation, operation["error"]["message"]
    answer = emulator.predict(endpoint, instances)
    assert answer.status == 200, answer.body
    deployed = answer.body["deployedModelId"]
    emulator.response(emulator.post(f"{endpoint}:undeployModel", {"deployedModelId": deployed}))
    return list(answer.body["predictions"])


def picture(pixels: list[Any]) -> dict[str, str]:
    file = io.BytesIO()
    Image.fromarray(np.array(pixels, dtype=np.uint8)).save(file, "PNG")
    return {"b64": base64.b64encode(file.getvalue()).decode()}


def of(trained: dict[str, Trained], kind: str) -> Trained:
    if kind not in trained:
        pytest.skip("there is no wheel of PyTorch without CUDA in a folder that PIP_FIND_LINKS names")
    return trained[kind]


@pytest.mark.parametrize("kind", MODELS)
def test_an_endpoint_answers_as_the_model_does(emulator: Emulator, trained: dict[str, Trained], kind: str) -> None:
    one = of(trained, kind)
    served_by, spec = spec_of(one)
    assert served_by == ("prebuilt" if kind in ("texts", "several-outputs") else "predictor")
    assert answers(emulator, one, spec, one.instances) == approximately(one.answers[: len(one.instances)])


def test_pictures_are_instances_too(emulator: Emulator, trained: dict[str, Trained]) -> None:
    one = of(trained, "images")
    pictures = [picture(pixels) for pixels in one.instances]
    assert answers(emulator, one, spec_of(one)[1], pictures) == one.answers[: len(pictures)]


@pytest.fixture(scope="module")
def image(libraries: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One image with the predictor and the libraries of all models."""
    folder = tmp_path_factory.mktemp("union")
    base, name = (f"vertex-edge-tests/{what}:{folder.parent.name}" for what in ("libraries", "predictor"))
    facts = replace(ArtifactFacts(()), requirements="\n".join(libraries), environment={"python": DOCKER_PYTHON})
    try:
        python_image.build(folder / "base", base, *libraries, *SERVER_REQUIREMENTS)
        serving_image.write(facts, folder / "image")
        # The base has the OpenMP of LightGBM, which the Dockerfile would get from Debian.
        file = folder / "image" / "Dockerfile"
        file.write_text("".join(x for x in file.read_text().splitlines(keepends=True) if "apt-get" not in x))
        python_image.build_on(base, folder / "image", name)
        yield name
    finally:
        subprocess.run(["docker", "image", "rm", "--force", name, base], capture_output=True, check=False)


@pytest.mark.needs("docker")
@pytest.mark.parametrize("kind", MODELS)
def test_a_container_answers_as_the_model_does(
    emulator: Emulator, trained: dict[str, Trained], image: str, kind: str
) -> None:
    one = of(trained, kind)
    _, spec = spec_of(one, serving="predictor")
    python_image.docker("tag", image, spec["imageUri"])
    try:
        assert answers(emulator, one, spec, one.instances) == approximately(one.answers[: len(one.instances)])
    finally:
        python_image.docker("image", "rm", spec["imageUri"])
