"""Mistakes that people make with a model: what is said of each beforehand, and how it fails without the checks.

`fails` is what the job, or the model's server, says in an environment like its image's, which is what it would say on
Google Cloud. It is empty where an environment cannot tell, and `why_not` says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

IMPORTS = "which nothing installs there: add"


@dataclass(frozen=True)
class CodeMistake:
    """A mistake in train.py, in files next to it, or in requirements."""

    name: str
    train: str
    words: Sequence[str]
    fails: str = ""
    why_not: str = ""
    modules: Mapping[str, str] = field(default_factory=dict)
    requirements: Sequence[str] = ()
    # Where the image's own Python is what makes it fail.
    takes_python: str = ""


@dataclass(frozen=True)
class ArtifactMistake:
    """A mistake in an artifact: a pickle that names what is not where it is loaded."""

    name: str
    module: str
    what: str
    serving: str
    words: Sequence[str]
    fails: str


def _missing(module: str) -> str:
    return f"No module named '{module}'"


_JOB_ITSELF = "the job opens the file itself, in whatever environment: see the test of the whole loop"

_SERVED = "the job ends well: it is where the model serves that it fails"
_PARTS = """import sklearn.base as base, sklearn.pipeline
from edge_tasks.training import save_results
from sklearn.base import BaseEstimator, TransformerMixin
class Scaler(TransformerMixin, BaseEstimator):
    pass
def clean(x):
    return x
class Unused(BaseEstimator):
    pass
def main():
    text = TfidfVectorizer(tokenizer=clean, ngram_range=(1, 2))
    save_results(sklearn.pipeline.make_pipeline(Scaler(), Scaler(), text), {}, "out")
"""

CODE = (
    CodeMistake(
        "pandas-is-not-required",
        "import os\nimport pandas as pd",
        ["models/m/train.py:2 imports `pandas`", IMPORTS, "`pandas==2."],
        _missing("pandas"),
    ),
    CodeMistake(
        "xgboost-is-not-required",
        "from xgboost import XGBClassifier",
        ["models/m/train.py:1 imports `xgboost`", "add `xgboost` to"],
        _missing("xgboost"),
    ),
    CodeMistake(
        "an-import-inside-a-function",
        "def f():\n    import lightgbm\nf()",
        ["models/m/train.py:2 imports `lightgbm`"],
        _missing("lightgbm"),
    ),
    CodeMistake(
        "a-package-of-another-name",
        "import sklearn.svm",
        ["add `scikit-learn==1.6.1` to requirements.txt"],
        _missing("sklearn"),
    ),
    CodeMistake("two-at-once", "import yaml_x, PIL.Image", ["imports `yaml_x`", "add `pillow=="], _missing("yaml_x")),
    CodeMistake(
        "in-a-module-next-to-it",
        "import features",
        ["models/m/features.py:2 imports `cv2`", "`opencv-python"],
        _missing("cv2"),
        modules={"features.py": "\nimport cv2"},
    ),
    CodeMistake(
        "in-a-package-next-to-it",
        "from lib.a import x",
        ["models/m/lib/a.py:1", "`torch`"],
        _missing("torch"),
        modules={"lib/a.py": "import torch", "lib/__init__.py": ""},
    ),
    CodeMistake(
        "a-module-of-a-newer-python",
        "import tomllib",
        ["imports `tomllib`, which Python has since 3.11", "has 3.10"],
        _missing("tomllib"),
        takes_python="3.10",
    ),
    CodeMistake(
        "not-really-optional",
        "try:\n    import json\nfinally:\n    import torch",
        ["models/m/train.py:4 imports `torch`"],
        _missing("torch"),
    ),
    CodeMistake(
        "a-requirement-for-another-python",
        "import pandas",
        ["imports `pandas`"],
        _missing("pandas"),
        requirements=["pandas>=2; python_version < '3.0'"],
    ),
    CodeMistake(
        "requirements-that-contradict-each-other",
        "",
        ["requirements.txt and edge.yaml ask for `numpy==1.26.4` and for `numpy==2.1.0`: keep one of them"],
        "you require numpy==1.26.4 and numpy==2.1.0",
        requirements=["numpy==1.26.4", "numpy==2.1.0"],
    ),
    CodeMistake(
        "data-that-are-not-a-dep",
        'from edge_tasks.training import open_data\nopen_data("data/x.csv")',
        [
            "models/m/train.py:2 opens `data/x.csv`, which does not travel with the job: ",
            "add `- ../../data/x.csv` to `deps` of the stage `train` in models/m/dvc.yaml",
        ],
        why_not=_JOB_ITSELF,
    ),
    CodeMistake(
        "data-by-their-address",
        'import edge_tasks.training as t\nt.data_uri("data/a/b.npz")',
        ["opens `data/a/b.npz`"],
        why_not=_JOB_ITSELF,
    ),
    CodeMistake(
        "data-that-another-module-opens",
        "import f",
        ["models/m/f.py:2 opens `d`"],
        modules={"f.py": 'from edge_tasks.training import data_path\ndata_path("d")'},
        why_not=_JOB_ITSELF,
    ),
    CodeMistake(
        "a-part-of-the-model-that-train.py-defines",
        _PARTS,
        [
            "train.py:4 makes `Scaler` a part of the model, and train.py is not imported where the model serves",
            "move it to a module next to train.py, such as models/m/features.py, and import it in train.py",
            "models/m/train.py:6 makes `clean` a part of the model",
        ],
        why_not=_SERVED,
    ),
    CodeMistake(
        "a-lambda-in-the-model",
        "from edge_tasks.training import save_results\nfrom sklearn.preprocessing import FunctionTransformer\n"
        "save_results(FunctionTransformer(lambda x: x).fit([[1.0]]), {}, 'out')",
        ["models/m/train.py:3 makes a lambda a part of the model, and no lambda can be saved with it"],
        why_not="it is save_results that fails, in whatever environment: see the tests of what it writes",
    ),
)

ARTIFACTS = (
    ArtifactMistake(
        "a-class-of-train.py", "__main__", "Scaler", "prebuilt", ["needs `Scaler` of train.py"], "attribute 'Scaler'"
    ),
    *(
        ArtifactMistake(
            f"{module.partition('.')[0]}-is-not-in-the-prebuilt-image",
            module,
            "X",
            "prebuilt",
            [f"needs the module `{module.partition('.')[0]}`, which us-docker.pkg.dev", "serving: predictor"],
            _missing(module.partition(".")[0]),
        )
        for module in ("features", "xgboost.sklearn", "lightgbm.sklearn")
    ),
    ArtifactMistake(
        "a-module-that-did-not-travel",
        "not_there",
        "X",
        "predictor",
        ["needs the module `not_there`, which the predictor's image does not have"],
        _missing("not_there"),
    ),
    ArtifactMistake("not-a-pickle", "", "<html>", "prebuilt", ["cannot be read"], "Error"),
)


def pickle_of(mistake: ArtifactMistake) -> bytes:
    """Return a pickle that looks up a class which need not exist, or what is none."""
    if not mistake.module:
        return mistake.what.encode()
    return f"c{mistake.module}\n{mistake.what}\n)R.".encode()
