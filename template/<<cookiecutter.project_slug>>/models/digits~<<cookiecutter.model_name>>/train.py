"""Train a classifier of handwritten digits: 8 x 8 pixels in, a class from 0 to 9 out."""

import numpy as np
from edge_tasks.training import get_config_and_state, open_data, vertex_wrapper
from edge_tasks.training.sklearn import save_results
from sacred import Experiment
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score
from sklearn.svm import SVC

_config, state = get_config_and_state()

ex = Experiment("<<cookiecutter.model_name>>-model-training", save_git_info=False)


@ex.config
def cfg():
    C = 10.0
    gamma = 0.001
    model_name = "<<cookiecutter.model_name>>"
    is_vertex = False


@ex.automain
@vertex_wrapper(_config, state)
def run(_run, C, gamma, model_output_dir="./"):
    with open_data("data/<<cookiecutter.model_name>>.npz") as file, np.load(file) as data:
        x_train, y_train = data["x_train"], data["y_train"]
        x_test, y_test = data["x_test"], data["y_test"]

    model = SVC(C=C, gamma=gamma)
    model.fit(x_train, y_train)

    predicted = model.predict(x_test)
    metrics = {
        "accuracy": accuracy_score(y_test, predicted),
        "precision": precision_score(y_test, predicted, average="macro"),
        "recall": recall_score(y_test, predicted, average="macro"),
        "f1": f1_score(y_test, predicted, average="macro"),
    }
    confusion = [
        {"actual": actual, "predicted": answer}
        for actual, answer in zip(y_test.tolist(), predicted.tolist(), strict=True)
    ]

    save_results(model, metrics, model_output_dir, plots={"confusion.csv": confusion})
