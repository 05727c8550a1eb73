"""Asking an artifact in this process, as its endpoint would be asked: for tests of a model."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from edge_tasks.serving.own_code import make_predictor
from edge_tasks.serving.predictor import answer


def ask(artifact: str | Path, instances: list[Any], **parameters: Any) -> list[Any]:
    """Return the predictions for `instances` (values as in JSON) of the artifact in a folder, such as `model/`.

    `parameters` are those of the request. The model's own predictor.py answers when the artifact holds one. Raises
    RequestError for instances that the model's signature refuses.
    """
    predictor = _loaded(str(Path(artifact).resolve()))
    return list(answer(predictor, {"instances": instances, "parameters": parameters or None})["predictions"])


@functools.lru_cache(maxsize=4)
def _loaded(artifact: str) -> Any:
    predictor = make_predictor(Path(artifact))
    predictor.load(artifact)
    return predictor
