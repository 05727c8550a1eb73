"""Mistakes, each refused before anything is sent, with its line and the line that fixes it."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import joblib
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.serving_choice import ArtifactFacts, Serving, choose
from edge_tasks.jobs.package import TRAINING_REQUIREMENTS
from edge_tasks.readiness import artifact, job_code
from edge_tasks.readiness.job_code import JobCode
from edge_tasks.releases.serving import of_folder
from edge_tasks.serving.distributions import by_module
from edge_tasks.training import save_results
from tests import mistakes
from tests.needs import isolated_environments
from tests.repositories import Repository

PYTHON = "mirror.gcr.io/library/python:3.10-slim"
SKLEARN = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"
OWN = "europe-west1-docker.pkg.dev/my-project/images/mine:1"


def found(
    train: str,
    *requirements: str,
    image: str = PYTHON,
    data: tuple[str, ...] = (),
    modules: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """Return the complaints about a train.py, and more files next to it."""
    files = {"train.py": train, **modules}
    job = JobCode(
        folder="models/m",
        script="train.py",
        files={name: source.encode() for name, source in files.items()},
        requirements=[*requirements, *TRAINING_REQUIREMENTS],
        image=image,
        data=data,
    )
    return [str(complaint) for complaint in job_code.complaints(job)]


@pytest.mark.parametrize("mistake", mistakes.CODE, ids=lambda mistake: mistake.name)
def test_code_that_would_fail_in_a_job_is_named_with_its_line(mistake: mistakes.CodeMistake) -> None:
    text = "\n".join(found(mistake.train, *mistake.requirements, modules=mistake.modules))
    assert all(word in text for word in mistake.words), text


@pytest.mark.parametrize(
    ("train", "more"),
    [
        ("import os, json\nfrom pathlib import Path", {}),
        ("import sacred, pydantic, google.cloud.storage, yaml, numpy", {}),
        ("from edge_tasks.training import save_results", {}),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None", {}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", {}),
        ("import features", {"features.py": "", "prepare.py": "import torch"}),
        ('open_data(f"data/{1}.csv")', {}),
        ("from features import pd\npd.read_csv", {"features.py": ""}),
    ],
)
def test_code_that_would_run_is_not_complained_of(train: str, more: dict[str, str]) -> None:
    more_requirements = ["numpy==1.26.4"]
    assert found(train, *more_requirements, modules=more) == []


@pytest.mark.parametrize(
    "train",
    [
        # Only what the model keeps for certain, and save_results pickles.
        "from sklearn.base import BaseEstimator\nclass A(BaseEstimator): pass\nsave_results(LogisticRegression())",
        "from sklearn.base import BaseEstimator\nclass A(BaseEstimator): pass\ncloudpickle.dump(A(), f)",
        "class Config: pass\nsave_results(fit(Config()))",
        "def score(m): pass\nsearch = GridSearchCV(model, scoring=score)\nsave_results(search.best_estimator_)",
        "from features import clean\nsave_results(FunctionTransformer(clean))",
        "save_results(FunctionTransformer(np.log1p)); sorted(x, key=lambda y: y)",
    ],
)
def test_what_a_model_may_hold_is_not_complained_of(train: str) -> None:
    assert [one for one in found("import sklearn\n" + train, "scikit-learn", modules={"features.py": ""})
            if "part of the model" in one] == []  # fmt: skip


def test_what_requirements_bring_is_there_and_so_is_what_they_require() -> None:
    assert found("import pandas, numpy, dateutil", "pandas>=2") == []
    assert found("import sklearn, joblib, scipy", "scikit_learn==1.6.1") == []


def test_what_pandas_reads_files_with_is_there_too_and_may_be_one_of_several_packages() -> None:
    (complaint,) = found("import pandas as pd\npd.read_parquet(x)", "pandas>=2.2,<3")
    assert complaint.startswith("models/m/train.py:2 calls `pd.read_parquet`, which takes `pyarrow`, and nothing")
    assert ": add `pyarrow<25` to requirements.txt" in complaint or ": add `pyarrow==" in complaint
    assert found("import pandas as pd\npd.read_parquet(x)", "pandas", "fastparquet") == []
    assert found("import pandas\npandas.read_excel(x)", "pandas", "openpyxl==3.1") == []
    assert found("import polars as pl\npl.read_parquet(x)", "polars") == []


def test_a_module_has_the_package_that_python_itself_finds() -> None:
    """Python 3.10's own list lacks numpy, pandas and scikit-learn, so that an artifact's requirements would."""
    found = by_module()
    for module, package in (("numpy", "numpy"), ("pandas", "pandas"), ("sklearn", "scikit-learn"), ("yaml", "PyYAML")):
        assert package in found[module]
    if sys.version_info >= (3, 11):
        for module, packages in metadata.packages_distributions().items():
            assert not module.isidentifier() or set(packages) <= set(found[module]), module


def test_an_image_brings_what_is_in_it() -> None:
    assert found("import pandas, xgboost, sklearn", image=SKLEARN) == []
    assert "`torch`" in found("import torch", image=SKLEARN)[0]


def test_of_an_image_of_ones_own_nothing_is_known() -> None:
    assert found("import torch, tomllib", image=OWN) == []


def test_data_of_the_train_stage_travel_and_so_does_what_lies_in_them() -> None:
    train = 'open_data("data/x.csv"); data_path("data/folder/a.csv")'
    assert found(train, data=("data/x.csv", "data/folder")) == []


def test_a_file_of_this_machine_does_not_travel_though_a_job_on_this_machine_would_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "table.csv").touch()
    (complaint,) = found('TABLE = "~/table.csv"')
    assert complaint == (
        "models/m/train.py:1 names `~/table.csv` of this machine, which does not travel with the job: put it into "
        "data/, run `dvc add`, name it in `deps` of the stage `train`, open it with `data_path`"
    )
    for other in ("~/nothing.csv", "/tmp", "/", "/usr/bin/env", "/gcs/bucket/x", "/predict", "~", f"/{'x' * 5000}"):
        assert found(f"PLACE = {other!r}") == []
    assert found('TABLE = "~/table.csv"', image=OWN) == []


# --- artifacts --------------------------------------------------------------------------------------------------

CONFIG: dict[str, Any] = {
    "google_cloud_project": {"project_id": "my-project", "region": "us-central1"},
    "storage_bucket": {"bucket_name": "my-bucket"},
    "models": {"m": {"endpoint_name": "e"}},
}


def looked_at(folder: Path, **settings: Any) -> tuple[list[str], Serving]:
    environment = folder / "environment.json"
    facts = of_folder(folder / "model", json.loads(environment.read_text()) if environment.exists() else {})
    config = EdgeConfig.model_validate({**CONFIG, "models": {"m": {"endpoint_name": "e", **settings}}})
    serving = choose(config, "m", facts)
    return [str(one) for one in artifact.complaints("m", folder / "model", facts, serving)], serving


def save(folder: Path, model: Any) -> None:
    save_results(model, {}, folder)


def test_a_model_of_scikit_learn_is_not_complained_of(tmp_path: Path) -> None:
    save(tmp_path, DummyClassifier().fit([[1]], [1]))
    assert looked_at(tmp_path)[0] == []
    assert looked_at(tmp_path, serving="predictor")[0] == []


def test_gradient_boosting_is_not_complained_of_though_its_classes_name_their_module_by_its_last_part(
    tmp_path: Path,
) -> None:
    model = HistGradientBoostingClassifier(max_iter=1).fit([[0], [1]] * 20, [0, 1] * 20)
    save(tmp_path, model)
    assert b"_loss" in (tmp_path / "model" / "model.joblib").read_bytes()
    assert looked_at(tmp_path)[0] == []
    assert looked_at(tmp_path, serving="predictor")[0] == []


@pytest.mark.parametrize("mistake", mistakes.ARTIFACTS, ids=lambda mistake: mistake.name)
def test_an_artifact_that_could_not_be_loaded_is_refused(mistake: mistakes.ArtifactMistake, tmp_path: Path) -> None:
    if mistake.serving == "predictor":
        save(tmp_path, DummyClassifier().fit([[1]], [1]))
        (tmp_path / "model" / "model.joblib").write_bytes(mistakes.pickle_of(mistake))
    else:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "model.pkl").write_bytes(mistakes.pickle_of(mistake))
    complaints, serving = looked_at(tmp_path, serving=mistake.serving)
    assert serving.kind == mistake.serving
    assert all(word in complaints[0] for word in mistake.words), complaints


def test_a_class_of_train_py_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.pkl").write_bytes(mistakes.pickle_of(mistakes.ARTIFACTS[0]))
    (complaint,) = looked_at(tmp_path)[0]
    assert complaint == (
        "models/m/model/model.pkl needs `Scaler` of train.py, which is not imported where the model serves: "
        "move it to a module next to train.py, such as models/m/features.py, and import it in train.py"
    )


def test_a_pickle_is_looked_at_without_running_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    mark = tmp_path / "mark"
    code = f"import pathlib; pathlib.Path({str(mark)!r}).touch()"
    (tmp_path / "model" / "model.pkl").write_bytes(pickle.dumps(Runs(code)))
    assert looked_at(tmp_path)[0] == []
    assert not mark.exists()
    joblib.load(tmp_path / "model" / "model.pkl")
    assert mark.exists()


class Runs:
    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> Any:
        return exec, (self.code,)


def test_an_image_of_ones_own_is_not_judged(tmp_path: Path) -> None:
    facts = ArtifactFacts(("model.pkl",))
    config = EdgeConfig.model_validate(
        {**CONFIG, "models": {"m": {"endpoint_name": "e", "serving_container_image_uri": OWN}}}
    )
    assert artifact.complaints("m", tmp_path, facts, choose(config, "m", facts)) == []


# --- as a user meets it -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_that_would_fail_is_refused_everywhere_and_sent_without_checks(hello_world: Repository) -> None:
    train = hello_world.root / "models" / "hello-world" / "train.py"
    train.write_text(train.read_text().replace("import numpy as np", "import numpy as np\nimport orjson"))
    line = next(n for n, text in enumerate(train.read_text().splitlines(), 1) if text == "import orjson")
    hello_world.run("invoke", "init")
    complaint = f"models/hello-world/train.py:{line} imports `orjson`, which nothing installs there: add `orjson=="
    for command in (
        ("invoke", "model.train", "--dry-run"),
        ("invoke", "model.train"),
        ("invoke", "doctor"),
    ):
        done = hello_world.run(*command, check=False)
        assert done.returncode == 1, command
        assert complaint in done.stderr + done.stdout.replace("\n", " "), command
        assert "Traceback" not in done.stderr
    assert not (hello_world.root / "models/hello-world/trained_model.json").exists()
    hello_world.run("invoke", "model.train", "--no-checks")
    assert (hello_world.root / "models/hello-world/trained_model.json").exists()


@pytest.mark.slow
@pytest.mark.needs("packages")
def test_without_checks_a_job_fails_in_an_isolated_environment_as_it_would_on_google_cloud(
    hello_world: Repository,
) -> None:
    variables = isolated_environments()
    assert isinstance(variables, dict)
    hello_world.environment.update(variables, EDGE_LOCAL_ENVIRONMENTS="isolated")
    train = hello_world.root / "models" / "hello-world" / "train.py"
    right = train.read_text()
    hello_world.run("invoke", "init")
    train.write_text(right.replace("import numpy as np", "import numpy as np\nimport orjson"))
    done = hello_world.run("invoke", "model.train", "--no-checks", check=False)
    assert (done.returncode, "No module named 'orjson'" in done.stderr) == (1, True), done.stderr
    (hello_world.root / "data" / "x.csv").write_text("1\n")
    opened = "from edge_tasks.training import open_data\n\n    open_data('data/x.csv')\n    X = np"
    train.write_text(right.replace("X = np", opened))
    done = hello_world.run("invoke", "model.train", "--no-checks", check=False)
    assert (done.returncode, "data/x.csv" in done.stderr) == (1, True), done.stderr
    train.write_text(right)
    hello_world.run("invoke", "model.train")
    hello_world.run("invoke", "model.deploy")
    assert json.loads(hello_world.run("./test_endpoint.sh").stdout)["predictions"]
