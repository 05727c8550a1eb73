"""Write the images and labels of Fashion-MNIST, which come as four files, as one."""

import math
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "data" / "<<cookiecutter.model_name>>"
DATA = ROOT / "data" / "<<cookiecutter.model_name>>.npz"


def read_idx(path):
    """Read a file in the format of MNIST: its dimensions, then a byte for each value.

    The format is described at https://yann.lecun.com/exdb/mnist/ .
    """
    content = path.read_bytes()
    dimensions = content[3]
    header = 4 + 4 * dimensions
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], dtype=">u4"))
    if content[:3] != b"\0\0\x08" or len(content) != header + math.prod(shape):
        raise SystemExit(f"error: {path} is not a file of bytes in the IDX format")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def prepare(source, path):
    arrays = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(source / f"{prefix}-images-idx3-ubyte")
        arrays[f"x_{part}"] = images.reshape(len(images), -1)
        arrays[f"y_{part}"] = read_idx(source / f"{prefix}-labels-idx1-ubyte")
    # DVC versions the file by its hash, so it must be the same on every machine: no compression.
    np.savez(path, **arrays)


if __name__ == "__main__":
    prepare(SOURCE, DATA)
