"""Write the digits that come with scikit-learn, split into training and test images."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

DATA = Path(__file__).resolve().parents[2] / "data" / "<<cookiecutter.model_name>>.npz"


def prepare(path):
    images, classes = load_digits(return_X_y=True)
    # A fixed split: runs can be compared only if they are tested on the same images.
    x_train, x_test, y_train, y_test = train_test_split(
        images.astype(np.uint8), classes, test_size=0.2, stratify=classes, random_state=0
    )
    # DVC versions the file by its hash, so it must be the same on every machine: no compression.
    np.savez(path, x_train=x_train, x_test=x_test, y_train=y_train, y_test=y_test)


if __name__ == "__main__":
    DATA.parent.mkdir(exist_ok=True)
    prepare(DATA)
