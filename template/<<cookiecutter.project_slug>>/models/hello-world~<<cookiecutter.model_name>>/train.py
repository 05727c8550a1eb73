from edge_tasks.training import get_config_and_state, vertex_wrapper
from edge_tasks.training.sklearn import save_results

from sacred import Experiment

import numpy as np
from sklearn.dummy import DummyClassifier

_config, state = get_config_and_state()

ex = Experiment("<<cookiecutter.model_name>>-model-training", save_git_info=False)


@ex.config
def cfg():
    strategy = "most_frequent"
    model_name = "<<cookiecutter.model_name>>"
    is_vertex = False


@ex.automain
@vertex_wrapper(_config, state)
def run(
    _run,
    strategy,
    model_output_dir="./",
):
    X = np.array([-1, 1, 1, 1])
    y = np.array([0, 1, 1, 1])
    dummy_clf = DummyClassifier(strategy=strategy)
    dummy_clf.fit(X, y)

    metrics = {"score": dummy_clf.score(X, y)}

    save_results(dummy_clf, metrics, model_output_dir)
