"""Train a classifier of clothing: the 784 grey pixels of an image in, a class from 0 to 9 out."""

import numpy as np
from edge_tasks.training import get_config_and_state, open_data, vertex_wrapper
from edge_tasks.training.sklearn import save_results
from sacred import Experiment
from sklearn.decomposition import PCA
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_config, state = get_config_and_state()

ex = Experiment("<<cookiecutter.model_name>>-model-training", save_git_info=False)


@ex.config
def cfg():
    components = 50
    C = 10.0
    model_name = "<<cookiecutter.model_name>>"
    is_vertex = False


@ex.automain
@vertex_wrapper(_config, state)
def run(_run, components, C, model_output_dir="./"):
    with open_data("data/<<cookiecutter.model_name>>.npz") as file, np.load(file) as data:
        x_train, y_train = data["x_train"].astype(np.float32), data["y_train"]
        x_test, y_test = data["x_test"].astype(np.float32), data["y_test"]

    # Only scikit-learn's own classes: Google's serving image loads the model without this file.
    model = make_pipeline(PCA(components, random_state=0), SVC(C=C, cache_size=500))
    model.fit(x_train, y_train)

    predicted = model.predict(x_test)
    precision, recall, f1, _ = precision_recall_fscore_support(y_test, predicted, zero_division=0)
    metrics = {
        "accuracy": accuracy_score(y_test, predicted),
        "precision": precision.mean(),
        "recall": recall.mean(),
        "f1": f1.mean(),
    }
    confusion = [
        {"actual": CLASSES[actual], "predicted": CLASSES[answer]}
        for actual, answer in zip(y_test, predicted, strict=True)
    ]
    classes = [
        {"class": name, "precision": precision[i], "recall": recall[i], "f1": f1[i]}
        for i, name in enumerate(CLASSES)
    ]

    save_results(
        model,
        metrics,
        model_output_dir,
        plots={"confusion.csv": confusion, "classes.csv": classes},
    )
