"""What docs/your-own-model.md shows works as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.model_formats import FORMATS
from edge_tasks.domain.serving_choice import ArtifactFacts, choose
from tests import needs
from tests.emulator.harness import FINAL, MACHINE, PARENT, PYTHON_IMAGE, Emulator
from tests.repositories import ROOT

PAGE = (ROOT / "docs" / "your-own-model.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^<!-- recipe: ([\w-]+) -->\n```\w+\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL))

GIVEN = """
import sys
import numpy as np, pandas as pd
from edge_tasks.training import save_results
rng = np.random.default_rng(0)
x_train = pd.DataFrame({"age": rng.integers(18, 80, 60), "income": rng.random(60), "city": rng.choice(["a", "b"], 60)})
if not WORDS:
    del x_train["city"]
y_train = (x_train["age"] > 45).astype(int)
model_output_dir = "out"
"""
ASK = """
import json, sys
from edge_tasks.serving import ask
payload = json.load(open("out/test_payload.json"))["instances"]
print(json.dumps(ask("out/model", payload)))
"""
THRESHOLD = """
class Threshold:
    def __init__(self, column, limit):
        self.column, self.limit = column, limit

    def predict(self, table):
        return (table[self.column] > self.limit).astype(int)
"""


def run(folder: Path, code: str, libraries: Path | None) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *([str(libraries)] if libraries else [])])}
    (folder / "train.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def answers(folder: Path, recipe: str, libraries: Path | None = None, words: bool = True) -> list[object]:
    (folder / "threshold.py").write_text(THRESHOLD)
    run(folder, GIVEN.replace("WORDS", str(words)) + RECIPES[recipe], libraries)
    return list(json.loads(run(folder, ASK, libraries)))


@pytest.mark.slow
def test_a_class_of_ones_own(tmp_path: Path) -> None:
    assert len(answers(tmp_path, "own-class")) == 3


@pytest.mark.slow
@pytest.mark.needs("model-libraries")
@pytest.mark.parametrize("recipe", ["xgboost", "lightgbm", "torch", "statsmodels"])
def test_a_recipe_of_a_large_library(recipe: str, tmp_path: Path) -> None:
    libraries = needs.model_libraries()
    assert libraries is not None
    if not (libraries / recipe).is_dir():
        pytest.skip(f"{recipe} is not among the libraries; see tests/needs.py")
    assert len(answers(tmp_path, recipe, libraries, words=recipe not in ("xgboost", "torch"))) == 3


# Each replica says what its own model answers; the primary one, with which the job ends, waits for the other.
TELL = """
import json, time
from pathlib import Path
from edge_tasks.serving import ask
told = Path(SHARED, str(me.rank))
told.with_suffix(".new").write_text(json.dumps(ask("out/model", json.load(open("out/test_payload.json"))["instances"])))
told.with_suffix(".new").rename(told)
while me.rank == 0 and not told.with_name("1").exists():
    time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    running = Emulator(tmp_path_factory.mktemp("emulator") / "data")
    yield running
    assert running.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param("xgboost-replicas", marks=pytest.mark.needs("model-libraries")),
        pytest.param("torch-replicas", marks=pytest.mark.needs("torch")),
    ],
)
def test_replicas_train_one_model(recipe: str, tmp_path: Path, emulator: Emulator) -> None:
    code = GIVEN.replace("WORDS", "False") + RECIPES[recipe] + TELL.replace("SHARED", repr(str(tmp_path)))
    path = os.pathsep.join([str(ROOT), str(needs.model_libraries())])
    container = {
        "imageUri": PYTHON_IMAGE,
        "command": ["python", "-W", "ignore", "-c", code],
        "env": [{"name": "PYTHONPATH", "value": path}],
    }
    pools = [{**MACHINE, "replicaCount": 1, "containerSpec": container}] * 2
    answer = emulator.post(f"{PARENT}/customJobs", {"displayName": recipe, "jobSpec": {"workerPoolSpecs": pools}})
    # Both import libraries that are large, on machines that are busy.
    while (job := emulator.get(answer.body["name"]).body)["state"] not in FINAL:
        time.sleep(0.1)
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    # Each saw half of the rows: had they trained alone, their models would differ.
    first, second = (json.loads((tmp_path / name).read_text()) for name in "01")
    assert len(first) == 3
    assert first == second


@pytest.mark.slow
def test_a_predictor_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "predictor.py").write_text(RECIPES["predictor"])
    code = (
        "import pandas as pd\nfrom sklearn.linear_model import LinearRegression\n"
        "from edge_tasks.training import save_results\n"
        "table = pd.DataFrame({'temperature': [0.0, 10.0]})\n"
        "save_results(LinearRegression().fit(table, [0, 10]), {}, 'out', inputs=table)\n"
    )
    run(tmp_path, code, None)
    ask = (
        "import json\nfrom edge_tasks.serving import RequestError, ask\n"
        "print(json.dumps(ask('out/model', [{'temperature': 50.0}])))\n"
        "try:\n    ask('out/model', [{'temperature': -500.0}])\nexcept RequestError as error:\n    print(error)\n"
    )
    first, second = run(tmp_path, ask, None).splitlines()
    assert json.loads(first) == [{"degrees": 10.0}]
    assert second == "it cannot be as cold as that"


def test_the_settings_of_a_container() -> None:
    config = EdgeConfig.model_validate(
        {
            "google_cloud_project": {"project_id": "my-project", "region": "europe-west1"},
            "storage_bucket": {"bucket_name": "my-bucket"},
            **yaml.safe_load(RECIPES["container"]),
        }
    )
    serving = choose(config, "churn", ArtifactFacts(()))
    assert serving.kind == "container"
    assert serving.container.message() == {
        "image_uri": "europe-west1-docker.pkg.dev/my-project/images/churn:1",
        "command": ["python", "-m", "server"],
        "args": ["--workers", "2"],
        "ports": [{"container_port": 8080}],
        "predict_route": "/predict",
        "health_route": "/health",
        "env": [{"name": "LOG_LEVEL", "value": "info"}],
    }


def test_the_setting_of_isolated_environments() -> None:
    config = EdgeConfig.model_validate(
        {
            "google_cloud_project": {"project_id": "my-project", "region": "europe-west1"},
            "storage_bucket": {"bucket_name": "my-bucket"},
            **yaml.safe_load(RECIPES["isolated"]),
        }
    )
    assert config.local.environments == "isolated"


def test_every_format_of_an_artifact_is_named() -> None:
    assert all(f"`{form.file}`" in PAGE for form in FORMATS)
