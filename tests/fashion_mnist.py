"""Data like those of Fashion-MNIST: the same four files in the same format, small and made up, or the real ones."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.repositories import Repository

MODEL = Path("models", "fashion-mnist")


def bar(label: int) -> npt.NDArray[np.uint8]:
    """Return the made-up image of a class: a bright bar, the lower the higher the class, as wide as the image."""
    image = np.zeros((28, 28), dtype=np.uint8)
    image[2 * label + 3 : 2 * label + 7] = 220
    image[2:26, :2] = 120  # so that all fill the same box
    return image


def write_data(folder: Path, packed: bool = True) -> None:
    """Write the four files: bars with noise that is always the same."""
    noise = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 400), ("t10k", 100)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = np.stack([bar(label) + noise.integers(0, 30, (28, 28), dtype=np.uint8) for label in labels])
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
            (folder / f"{name}.gz").write_bytes(gzip.compress(content)) if packed else (folder / name).write_bytes(
                content
            )


def lead_to(repository: Repository, source: str | Path) -> None:
    """Let the repository take its data from `source`."""
    (repository.root / MODEL / "data.yaml").write_text(f"source: {source}\n")


def use_made_up_data(repository: Repository, folder: Path) -> None:
    """Write made-up data into `folder`, and let the repository take them for the right ones."""
    write_data(folder)
    sums = [
        f"{hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()}  {path.stem}\n"
        for path in sorted(folder.iterdir())
    ]
    (repository.root / MODEL / "SHA256SUMS").write_text("".join(sums))
    lead_to(repository, folder)
