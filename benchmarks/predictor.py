"""Our predictor compared with other model servers, all with the same pipeline over the columns of a DataFrame."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from benchmarks import peers
from benchmarks.laboratory import ROOT, Laboratory
from benchmarks.peers import Plan, Program, Subject, free_ports
from benchmarks.row import Row
from benchmarks.serving import compare

OURS = "predictor"
AT_LEAST = 2.0
PANDAS = f"pandas=={version('pandas')}"

# The pipeline of the example `tabular`, over data that are made here.
TRAIN = """
import numpy as np
import pandas as pd
from edge_tasks.training import save_results
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

rng = np.random.default_rng(0)
numbers, words = ["age", "monthly_fee", "calls", "months"], ["city", "plan"]
table = pd.DataFrame({name: rng.normal(40, 10, 400) for name in numbers})
table["city"], table["plan"] = rng.choice(["Leeds", "York", "Bath"], 400), rng.choice(["basic", "full"], 400)
table.loc[::9, "monthly_fee"] = np.nan
left = np.where(table["age"] + rng.normal(0, 5, 400) > 40, "yes", "no")
columns = ColumnTransformer(
    [
        ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        ("words", OneHotEncoder(handle_unknown="ignore"), words),
    ]
)
model = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(table, left)
save_results(model, {"score": 1.0}, "out", inputs=table, method="predict_proba")
"""
MLSERVER = """
import joblib
import pandas as pd
from mlserver import MLModel
from mlserver.codecs import PandasCodec, NumpyCodec


class Table(MLModel):
    async def load(self):
        self.model = joblib.load({model!r})
        return True

    async def predict(self, payload):
        table = self.decode_request(payload, default_codec=PandasCodec)
        return self.encode_response(self.model.predict_proba(table), default_codec=NumpyCodec)
"""
LITSERVE = """
import joblib
import litserve
import pandas as pd


class Table(litserve.LitAPI):
    def setup(self, device):
        self.model = joblib.load({model!r})

    def decode_request(self, request):
        return pd.DataFrame(request["instances"])

    def predict(self, table):
        return self.model.predict_proba(table)

    def encode_response(self, output):
        return {{"predictions": output.tolist()}}


if __name__ == "__main__":
    litserve.LitServer(Table(), accelerator="cpu").run(host="127.0.0.1", port={port}, generate_client_file=False)
"""
BENTO = """
import bentoml
import joblib
import pandas as pd


@bentoml.service
class Table:
    def __init__(self):
        self.model = joblib.load({model!r})

    @bentoml.api
    def predict(self, instances: list[dict]) -> list[list[float]]:
        return self.model.predict_proba(pd.DataFrame(instances)).tolist()
"""
SAVE = (
    "import joblib, mlflow.sklearn; "
    "mlflow.sklearn.save_model(joblib.load({model!r}), {folder!r}, pyfunc_predict_fn='predict_proba',"
    " serialization_format='cloudpickle')"
)


def measure(laboratory: Laboratory) -> Iterator[Row]:
    """Train the pipeline, and compare with each peer that can be had."""
    folder = laboratory.folder / "predictor"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    laboratory.run(sys.executable, "train.py", folder=folder)
    (instance, *_) = json.loads((folder / "out" / "test_payload.json").read_text("utf-8"))["instances"]
    subject = Subject(folder / "out" / "model" / "model.joblib", instance)
    ours = _ours(folder, subject)
    yield from compare(OURS, ours, PROGRAMS, laboratory.folder / "predictor-peers", subject, AT_LEAST)


def _ours(folder: Path, subject: Subject) -> Plan:
    (port,) = free_ports(1)
    variables = ["EDGE_SERVING_HOST=127.0.0.1", f"AIP_HTTP_PORT={port}", f"PYTHONPATH={ROOT}"]
    command = [sys.executable, "-m", "edge_tasks.serving", "--artifacts", str(subject.model.parent)]
    return Plan(
        ["/usr/bin/env", *variables, *command], peers.target(port, "/predict", {"instances": [subject.row]}), folder
    )


def _mlserver(programs: Path, folder: Path, subject: Subject) -> Plan:
    (folder / "table.py").write_text(MLSERVER.format(model=str(subject.model)))
    assert isinstance(subject.row, dict)
    inputs = [
        {"name": name, "shape": [1, 1], "data": [value], "datatype": "BYTES" if isinstance(value, str) else "FP64"}
        for name, value in subject.row.items()
    ]
    body = {"inputs": inputs, "parameters": {"content_type": "pd"}}
    return peers.mlserver(programs, folder, {"name": "table", "implementation": "table.Table"}, body)


def _mlflow(programs: Path, folder: Path, subject: Subject) -> Plan:
    return peers.mlflow(programs, folder, SAVE, subject.model, {"dataframe_records": [subject.row]})


def _bentoml(programs: Path, folder: Path, subject: Subject) -> Plan:
    source = BENTO.format(model=str(subject.model))
    return peers.bentoml(programs, folder, source, "Table", {"instances": [subject.row]})


def _litserve(programs: Path, folder: Path, subject: Subject) -> Plan:
    (port,) = free_ports(1)
    (folder / "server.py").write_text(LITSERVE.format(model=str(subject.model), port=port))
    command = [str(programs / "python"), "server.py"]
    return Plan(command, peers.target(port, "/predict", {"instances": [subject.row]}), folder)


PROGRAMS = (
    # MLServer 1.7 does not start with a newer uvloop: https://github.com/MagicStack/uvloop/releases/tag/v0.22.0.
    Program("MLServer", ["mlserver", "uvloop<0.22", PANDAS], _mlserver),
    Program("BentoML", ["bentoml", PANDAS], _bentoml),
    Program("LitServe", ["litserve", PANDAS], _litserve),
    Program("mlflow models serve", ["mlflow", PANDAS], _mlflow),
)
