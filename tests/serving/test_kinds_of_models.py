"""Models of many kinds: what was saved answers as the model itself does."""

from __future__ import annotations

import base64
import functools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.serving_choice import choose
from edge_tasks.releases.serving import of_folder
from tests import needs
from tests.forking.commands import forked
from tests.repositories import BIN, clean_environment

PROGRAMS = Path(__file__).with_name("programs_of_a_library.py")
# A train.py's end: it saves `model`, asks it for `inputs`, and prints what it answers.
END = """
import json, sys
from edge_tasks.training import save_results
from edge_tasks.training.describe import as_json
save_results(model, {"score": 1.0}, sys.argv[1], inputs=inputs, **(dict(method=method) if "method" in dir() else {}))
print(json.dumps(as_json(list(answers))))
"""
# A server's part, without a socket.
ASK = """
import json, sys
from pathlib import Path
from edge_tasks.serving.__main__ import load
from edge_tasks.serving.predictor import answer
print(json.dumps(answer(load(sys.argv[1], Path("/nowhere")), json.loads(sys.stdin.read()))["predictions"]))
"""
MIXED = """
import numpy as np, pandas as pd
rng = np.random.default_rng(0)
inputs = pd.DataFrame({"age": rng.integers(18, 80, 60), "income": rng.random(60), "city": rng.choice(["a", "b"], 60)})
inputs.loc[::7, "income"] = np.nan
inputs["city"] = inputs["city"].where(inputs.index % 9 > 0, None)
y = np.where(inputs["age"] > 45, "old", "young")
"""
NUMBERS = """
import numpy as np
rng = np.random.default_rng(0)
inputs = rng.random((60, 4))
y = (inputs.sum(axis=1) > 2).astype(int)
"""
KINDS = {
    "pipeline": MIXED + """
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
columns = ColumnTransformer([("n", SimpleImputer(), ["age", "income"]),
                             ("c", OneHotEncoder(handle_unknown="ignore"), ["city"])])
model = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(inputs, y)
answers = model.predict(inputs.head(3))
""",
    "probabilities": MIXED + """
from sklearn.dummy import DummyClassifier
model = DummyClassifier(strategy="prior").fit(inputs, y)
method = "predict_proba"
answers = [{"prediction": model.classes_[row.argmax()], "probabilities": dict(zip(model.classes_, row))}
           for row in model.predict_proba(inputs.head(3))]
""",
    "several-outputs": NUMBERS + """
from sklearn.linear_model import LinearRegression
model = LinearRegression().fit(inputs, np.stack([y, 2.0 * y], axis=1))
answers = model.predict(inputs[:3])
""",
    "several-classes-of-each": NUMBERS + """
from sklearn.tree import DecisionTreeClassifier
model = DecisionTreeClassifier().fit(inputs, np.stack([y, 1 - y], axis=1))
method = "predict_proba"
answers = [{"prediction": [int(a.argmax()), int(b.argmax())], "probabilities": [
            {"0": a[0], "1": a[1]}, {"0": b[0], "1": b[1]}]} for a, b in zip(*model.predict_proba(inputs[:3]))]
""",
    "decision": NUMBERS + """
from sklearn.svm import SVC
model = SVC().fit(inputs, y)
method = "decision_function"
answers = [{"prediction": int(value > 0), "decision": value} for value in model.decision_function(inputs[:3])]
""",
    "texts": """
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
inputs = ["good day", "bad night", "good night"]
model = make_pipeline(TfidfVectorizer(), MultinomialNB()).fit(inputs, ["+", "-", "+"])
answers = model.predict(inputs)
""",
    "transform": NUMBERS + """
from sklearn.decomposition import PCA
model = PCA(2).fit(inputs)
method = "transform"
answers = model.transform(inputs[:3])
""",
    "own-class": NUMBERS + """
from neighbour import Mean
model = Mean()
answers = model.predict(inputs[:3])
""",
    "xgboost": MIXED + """
from xgboost import XGBClassifier
inputs = inputs[["age", "income"]]
model = XGBClassifier(n_estimators=5).fit(inputs, (y == "old").astype(int))
method = "predict_proba"
answers = [{"prediction": int(row.argmax()), "probabilities": {"0": row[0], "1": row[1]}}
           for row in model.predict_proba(inputs.head(3))]
""",
    "xgboost-booster": NUMBERS + """
import xgboost
class Model(xgboost.Booster):
    pass
booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(inputs, y), 5)
model, answers = booster, booster.predict(xgboost.DMatrix(inputs[:3]))
inputs = None
""",
    "lightgbm": MIXED + """
from lightgbm import LGBMClassifier
inputs["city"] = inputs["city"].astype("category")
model = LGBMClassifier(n_estimators=5, verbose=-1).fit(inputs, y)
answers = model.predict(inputs.head(3))
""",
    "lightgbm-booster": NUMBERS + """
import lightgbm
model = lightgbm.train({"verbose": -1}, lightgbm.Dataset(inputs, y), 5)
answers = model.predict(inputs[:3])
""",
    "catboost": MIXED + """
from catboost import CatBoostClassifier
inputs = inputs[["age", "income"]]
model = CatBoostClassifier(iterations=5, verbose=False, allow_writing_files=False).fit(inputs, y)
answers = model.predict(inputs.head(3))
""",
    "statsmodels": MIXED + """
import statsmodels.formula.api as smf
inputs = inputs.dropna().reset_index(drop=True)
model = smf.ols("income ~ age + city", data=inputs).fit()
answers = model.predict(inputs.head(3))
""",
    "onnx": NUMBERS + """
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression
inputs = inputs.astype(np.float32)
fitted = LinearRegression().fit(inputs, y)
model = to_onnx(fitted, inputs[:1])
answers = fitted.predict(inputs[:3]).reshape(-1, 1)
""",
    "torch": NUMBERS + """
import torch
inputs = inputs.astype(np.float32)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(8, 2))
with torch.no_grad():
    answers = model.eval()(torch.as_tensor(inputs[:3])).numpy()
""",
    "keras": NUMBERS + """
import keras
inputs = inputs.astype(np.float32)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
answers = model.predict_on_batch(inputs[:3])
""",
}  # fmt: skip
NEIGHBOUR = """
import numpy as np
from deeper.scale import FACTOR
class Mean:
    def predict(self, rows):
        return np.mean(rows, axis=1) * FACTOR
"""
# Those of libraries that are too large for `[dev]`: see tests/needs.py.
LIBRARIES = {
    "xgboost": "xgboost", "xgboost-booster": "xgboost", "lightgbm": "lightgbm", "lightgbm-booster": "lightgbm",
    "catboost": "catboost", "statsmodels": "statsmodels", "onnx": "skl2onnx", "torch": "torch", "keras": "keras",
}  # fmt: skip
# What is imported for them, and for one more: Keras computes with PyTorch.
IMPORTED = {"statsmodels": "statsmodels.formula.api", "torch": "keras"}


class Interpreter:
    """It has imported a library, once for all programs that it runs."""

    def __init__(self, library: str, place: Path | None, home: Path) -> None:
        environment = {**clean_environment(home), "KERAS_BACKEND": "torch"}
        command, environment = forked(BIN / "python", PROGRAMS, library, place or "", environment=environment)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, *words: str | Path, folder: Path, stdin: str = "") -> str:
        """Run a program in a fork; return its last line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        files = [folder / name for name in (".in", ".out", ".err")]
        for file, text in zip(files, (stdin, "", ""), strict=True):
            file.write_text(text)
        program = {"words": list(map(str, words)), "folder": str(folder), "files": list(map(str, files))}
        self.process.stdin.write(f"{json.dumps(program)}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "0\n", files[2].read_text()[-3000:]
        return files[1].read_text().splitlines()[-1]

    def end(self) -> None:
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Interpreter]]:
    """Gives the interpreter that has imported a library."""
    started: dict[str, Interpreter] = {}

    def of(library: str = "sklearn", place: Path | None = None) -> Interpreter:
        if library not in started:
            started[library] = Interpreter(library, place, tmp_path_factory.mktemp("home"))
        return started[library]

    yield of
    for one in started.values():
        one.end()


def trained(interpreter: Interpreter, source: str, folder: Path) -> list[Any]:
    """Train a model in `folder`, as models/NAME; return what it answers itself to the first inputs."""
    (folder / "train.py").write_text(source + END)
    (folder / "neighbour.py").write_text(NEIGHBOUR)
    (folder / "deeper").mkdir()
    (folder / "deeper" / "__init__.py").write_text("")
    (folder / "deeper" / "scale.py").write_text("FACTOR = 10\n")
    return list(json.loads(interpreter.run(folder / "train.py", "out", folder=folder)))


def served(interpreter: Interpreter, folder: Path, instances: list[Any]) -> list[Any]:
    """Return what a server answers that knows the artifact alone."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "ask.py").write_text(ASK)
    body = json.dumps({"instances": instances})
    words = (elsewhere / "ask.py", folder / "out" / "model")
    return list(json.loads(interpreter.run(*words, folder=elsewhere, stdin=body)))


def payload(folder: Path) -> list[Any]:
    path = folder / "out" / "test_payload.json"
    return list(json.loads(path.read_text())["instances"]) if path.exists() else []


def approximately(values: Any) -> Any:
    """Compare numbers wherever they are, but not to the last bit: JSON and float32 lie in between."""
    if isinstance(values, list):
        return [approximately(value) for value in values]
    if isinstance(values, dict):
        return {name: approximately(value) for name, value in values.items()}
    return pytest.approx(values, rel=1e-5) if isinstance(values, float) else values


def check(interpreter: Interpreter, folder: Path, answers: list[Any]) -> None:
    """Compare what a server answers with what the model answered itself."""
    instances = payload(folder)
    if not instances:  # without `inputs` there is no signature: rows are read as what they are
        import numpy as np

        instances = np.random.default_rng(0).random((60, 4))[:3].tolist()
    assert served(interpreter, folder, instances) == approximately(answers[: len(instances)])


@dataclass(frozen=True)
class Trained:
    """A model's folder, and what the model answers itself."""

    folder: Path
    answers: list[Any]

    @property
    def environment(self) -> dict[str, str]:
        return dict(json.loads((self.folder / "out" / "environment.json").read_text()))


@pytest.fixture(scope="module")
def models(
    interpreter: Callable[..., Interpreter], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Trained]:
    """Trains a model of a kind, once for all tests."""

    @functools.cache
    def of(kind: str) -> Trained:
        folder = tmp_path_factory.mktemp(kind)
        return Trained(folder, trained(interpreter(), KINDS[kind], folder))

    return of


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in LIBRARIES])
def test_a_model_answers_from_its_artifact_as_it_does_itself(
    kind: str, models: Callable[[str], Trained], interpreter: Callable[..., Interpreter]
) -> None:
    check(interpreter(), models(kind).folder, models(kind).answers)


@pytest.fixture(scope="session")
def libraries() -> Path:
    """The folder with the libraries that are too large for `[dev]`."""
    folder = needs.model_libraries()
    assert folder is not None
    return folder


@pytest.mark.slow
@pytest.mark.needs("model-libraries")
@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_model_of_a_large_library_does_so_too(
    kind: str, tmp_path: Path, libraries: Path, interpreter: Callable[..., Interpreter]
) -> None:
    if not (libraries / LIBRARIES[kind]).is_dir():
        pytest.skip(f"{LIBRARIES[kind]} is not among the libraries; see tests/needs.py")
    one = interpreter(IMPORTED.get(kind, LIBRARIES[kind]), libraries)
    check(one, tmp_path, trained(one, KINDS[kind], tmp_path))


CONFIG = EdgeConfig.model_validate(
    {
        "google_cloud_project": {"project_id": "my-project", "region": "europe-west1"},
        "storage_bucket": {"bucket_name": "my-bucket"},
        "models": {"m": {"endpoint_name": "e"}},
    }
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "chosen", "why"),
    [
        ("several-outputs", "prebuilt", "it answers the same as the model itself"),
        ("texts", "prebuilt", "it answers the same as the model itself"),
        ("pipeline", "predictor", "without the names of their columns"),
        ("decision", "predictor", "asked by `decision_function`"),
        ("own-class", "predictor", "the model needs its own code (`deeper`, `neighbour`)"),
    ],
)
def test_what_serves_a_model_follows_from_it(
    kind: str, chosen: str, why: str, models: Callable[[str], Trained]
) -> None:
    one = models(kind)
    serving = choose(CONFIG, "m", of_folder(one.folder / "out" / "model", one.environment))
    assert serving.kind == chosen
    assert why in serving.why


@pytest.mark.slow
def test_the_libraries_that_an_artifact_needs_are_recorded_and_no_others(models: Callable[[str], Trained]) -> None:
    one = models("pipeline")
    assert set(one.environment) == {"python", "joblib", "numpy", "pandas", "scikit-learn", "scipy"}
    lock = (one.folder / "out" / "model" / "requirements.txt").read_text().splitlines()
    names = {line.partition("==")[0] for line in lock if not line.startswith("#")}
    assert {"pandas", "scikit-learn", "threadpoolctl", "python-dateutil"} <= names
    assert "dvc" not in names


PREDICTOR = """
from edge_tasks.serving import Predictor, RequestError
from neighbour import Mean

class Celsius(Predictor):
    def preprocess(self, prediction_input):
        rows = super().preprocess(prediction_input)
        if (rows < -10).any():
            raise RequestError("colder than can be")
        return (rows - 32) / 1.8

    def postprocess(self, prediction_results):
        return {"predictions": [{"mean": round(float(value), 3), "unit": self.parameters.get("unit", "C")}
                                for value in prediction_results]}

    def predict(self, instances):
        return self.model.predict(instances)
"""


def test_a_predictor_of_ones_own_travels_with_its_modules(
    tmp_path: Path, interpreter: Callable[..., Interpreter]
) -> None:
    (tmp_path / "predictor.py").write_text(PREDICTOR)
    answers = trained(interpreter(), KINDS["own-class"], tmp_path)
    assert served(interpreter(), tmp_path, [[32.0, 50.0, 32.0, 50.0]]) == [{"mean": 50.0, "unit": "C"}]
    serving = choose(CONFIG, "m", of_folder(tmp_path / "out" / "model", Trained(tmp_path, answers).environment))
    assert serving.why == "the model has a predictor.py"


@pytest.mark.slow
def test_code_in_folders_without_an_init_travels_too(tmp_path: Path, interpreter: Callable[..., Interpreter]) -> None:
    (tmp_path / "parts" / "deep").mkdir(parents=True)
    (tmp_path / "parts" / "factor.py").write_text("FACTOR = 3\n")
    (tmp_path / "parts" / "deep" / "model.py").write_text(
        "from parts.factor import FACTOR\nclass Times:\n    def predict(self, rows): return rows[:, 0] * FACTOR\n"
    )
    source = (
        "import numpy as np\nfrom parts.deep.model import Times\n"
        "inputs, model, answers = np.array([[2.0], [3.0]]), Times(), [6.0, 9.0]\n"
    )
    trained(interpreter(), source, tmp_path)
    code = tmp_path / "out" / "model" / "code"
    assert sorted(path.relative_to(code).as_posix() for path in code.rglob("*.py")) == [
        *("parts/deep/model.py", "parts/factor.py"),
    ]
    shutil.rmtree(tmp_path / "parts")
    assert served(interpreter(), tmp_path, [[2.0]]) == [6.0]


def test_bytes_are_instances(tmp_path: Path, interpreter: Callable[..., Interpreter]) -> None:
    source = "inputs = [b'ab', b'abc']\nfrom lengths import Lengths\nmodel = Lengths()\nanswers = [2, 3]\n"
    (tmp_path / "lengths.py").write_text(
        "class Lengths:\n    def predict(self, files):\n        return [len(file) for file in files]\n"
    )
    assert trained(interpreter(), source, tmp_path) == [2, 3]
    assert payload(tmp_path) == [{"b64": base64.b64encode(one).decode()} for one in (b"ab", b"abc")]
    assert served(interpreter(), tmp_path, payload(tmp_path)) == [2, 3]
