"""Train a classifier of a table with numbers, words and gaps: who of the customers leaves?"""

import pandas as pd
from edge_tasks.training import data_path, get_config_and_state, save_results, vertex_wrapper
from sacred import Experiment
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

_config, state = get_config_and_state()

ex = Experiment("<<cookiecutter.model_name>>-model-training", save_git_info=False)

NUMBERS = ["age", "monthly_fee", "calls", "months"]
WORDS = ["city", "plan"]


@ex.config
def cfg():
    C = 1.0
    model_name = "<<cookiecutter.model_name>>"
    is_vertex = False


@ex.automain
@vertex_wrapper(_config, state)
def run(_run, C, model_output_dir="./"):
    table = pd.read_csv(data_path("data/<<cookiecutter.model_name>>.csv"))
    inputs, answers = table[NUMBERS + WORDS], table["left"]
    # A fixed split: runs can be compared only if they are tested on the same rows.
    x_train, x_test, y_train, y_test = train_test_split(
        inputs, answers, test_size=0.25, stratify=answers, random_state=0
    )

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    # A word that was not there in the training, and none at all, count as no word.
    words = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer([("numbers", numbers, NUMBERS), ("words", words, WORDS)])
    model = make_pipeline(columns, LogisticRegression(C=C, max_iter=1000))
    model.fit(x_train, y_train)

    metrics = {
        "accuracy": accuracy_score(y_test, model.predict(x_test)),
        "roc_auc": roc_auc_score(y_test == "yes", model.predict_proba(x_test)[:, 1]),
    }
    # From `inputs` comes the signature (columns, types, an example); requests are checked by it.
    # `method` is what of the model answers them. `labels` let groups be compared later.
    save_results(
        model, metrics, model_output_dir, inputs=x_train, method="predict_proba", labels=y_train
    )
