"""Fit the weights in calibration.json to the trained model: run this when the model has changed.

Uses every second test image, and prints how well the probabilities hold for the others.
"""

import json
from pathlib import Path

import joblib
import numpy as np
from pictures import SIZE, instance, moved
from PIL import Image
from probabilities import CALIBRATION_FILE
from scipy.optimize import minimize

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "<<cookiecutter.model_name>>" / "model" / "model.joblib"
DATA = ROOT / "data" / "<<cookiecutter.model_name>>.npz"
LEVELS = (0, 50, 60, 70, 80, 90, 95, 100)  # percent; the table's rows lie between


def answers(model, images):
    """Return a row for each image: the class numbers for itself and for its moved copies."""
    rows = []
    for pixels in images:
        image = Image.fromarray(pixels.reshape(SIZE, SIZE))
        rows += [instance(copy) for copy in moved(image)]
    return model.predict(np.array(rows, dtype=np.float32)).reshape(len(images), -1)


def probabilities(found, classes, weights):
    """Return the probabilities of all classes, for many rows of answers at once."""
    scores = weights[0] * np.eye(classes)[found[:, 0]]
    for column in found.T[1:]:
        scores += weights[1] * np.eye(classes)[column]
    powers = np.exp(scores)
    return powers / powers.sum(axis=1, keepdims=True)


def fit(found, labels, classes):
    """Return the two weights under which the true classes are the most probable."""

    def surprise(weights):
        true = probabilities(found, classes, weights)[np.arange(len(labels)), labels]
        return -np.log(true).mean()

    best = minimize(surprise, (1.0, 0.5), bounds=((0, 10), (0, 10)))
    return [round(float(weight), 2) for weight in best.x]


def table(found, labels, classes, weights):
    """Yield, for each level of probability that has answers, their part and how many are right."""
    all_of_them = probabilities(found, classes, weights)
    highest, right = all_of_them.max(axis=1), all_of_them.argmax(axis=1) == labels
    for low, high in zip(LEVELS, LEVELS[1:], strict=False):
        chosen = (low <= 100 * highest) & (100 * highest < high)
        if chosen.any():
            yield low, high, chosen.mean(), right[chosen].mean()


def main():
    model = joblib.load(MODEL)
    with np.load(DATA) as data:
        images, labels = data["x_test"], data["y_test"].astype(int)
    found = answers(model, images).astype(int)
    classes = len(model.classes_)
    weights = fit(found[::2], labels[::2], classes)
    CALIBRATION_FILE.write_text(json.dumps({"picture": weights[0], "copy": weights[1]}) + "\n")
    print("said to be      part   right")
    for low, high, part, right in table(found[1::2], labels[1::2], classes, weights):
        print(f"{low:3} to {high:3} % {part:8.0%} {right:7.0%}")


if __name__ == "__main__":
    main()
