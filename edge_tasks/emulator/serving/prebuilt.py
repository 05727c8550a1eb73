"""The program that stands for a prebuilt prediction image: loads one model and answers on a Unix socket.

    python -m edge_tasks.emulator.serving.prebuilt FRAMEWORK ARTIFACTS SOCKET

A model is a pickle, thus code: it is loaded here and never in the emulator's own process. The server around it is that
of `edge_tasks.serving`.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from edge_tasks.emulator.runtime.images import BY_NAME
from edge_tasks.serving import sklearn_tags
from edge_tasks.serving.borrowed import Borrower
from edge_tasks.serving.http_protocol import Answer, error_answer
from edge_tasks.serving.joining import can_join, parts
from edge_tasks.serving.server import ModelServer, Routes

# Of the instances and the parameters of a request; None are not parameters.
Predict: TypeAlias = Callable[[Any, Any], Any]


def load(framework: str, artifacts: Path) -> Predict:
    """Load the model and return its prediction function."""
    module = importlib.import_module(f"edge_tasks.emulator.serving.{BY_NAME[framework].loader}")
    predict: Predict = module.load(artifacts)
    return predict


class PrebuiltModel:
    """Answers as the image of a framework does: `edge_tasks.serving.server.Model`."""

    def __init__(self, framework: str, predict: Predict, *, joins: bool) -> None:
        self._framework = framework
        self._predict = predict
        self.joins = joins

    def unhealthy(self) -> str:
        """Find nothing: these images have no check of their own."""
        return ""

    def answer(self, body: bytes) -> Answer:
        """Answer one request."""
        try:
            request = orjson.loads(body)
            return _predicted(self._predict(request["instances"], request.get("parameters")))
        except Exception as error:  # whatever the model raises is the answer
            return error_answer(400, f"Exception during {self._framework} prediction: {error}")

    def answer_together(self, bodies: Sequence[bytes]) -> list[Answer] | None:
        """Answer requests by one call of the model; None when one of them can only be answered by itself."""
        try:
            arrays = [_rows(orjson.loads(body)) for body in bodies]
            rows = _joined(arrays)
            predictions = None if rows is None else self._predict(rows, None)
            if predictions is None or not hasattr(predictions, "tolist") or len(predictions) != len(rows):
                return None
            return [_predicted(part) for part in parts(predictions, map(len, arrays))]
        except Exception:  # whose request it is about is seen when each is answered by itself
            return None


def _rows(request: Any) -> Any:
    """Return the rows of a request as the array that they become by themselves."""
    import numpy as np

    instances = request["instances"]
    if request.get("parameters") is not None or not instances or not isinstance(instances[0], list):
        raise ValueError("not rows alone")
    return np.asarray(instances)


def _joined(arrays: Sequence[Any]) -> Any:
    """Return arrays as one; None when that would change what one of them holds, such as numbers next to texts."""
    import numpy as np

    first = arrays[0]
    if any(one.dtype != first.dtype or one.shape[1:] != first.shape[1:] for one in arrays):
        return None
    return np.concatenate(arrays)


def _predicted(predictions: Any) -> Answer:
    return Answer(200, orjson.dumps({"predictions": predictions}, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY))


def _plain(value: Any) -> Any:
    """Turn what orjson does not know (arrays of strings, numpy scalars) into plain values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"A prediction of type {type(value).__name__} cannot be written as JSON")


async def serve(server: ModelServer, path: str) -> None:
    """Serve on a Unix socket, and on connections that are lent, until the process is ended."""
    Borrower(server, path)
    listening = await asyncio.get_running_loop().create_unix_server(server.connection, path, backlog=1024)
    await listening.serve_forever()


def run(framework: str, artifacts: str, path: str) -> None:
    """Load the model, then serve: the socket appears only when there is something behind it."""
    folder = Path(artifacts)
    server = ModelServer(Routes(os.environ["AIP_HEALTH_ROUTE"].encode(), os.environ["AIP_PREDICT_ROUTE"].encode()))
    server.model = PrebuiltModel(framework, load(framework, folder), joins=can_join(folder))
    sklearn_tags.look_once_per_class()
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(server, path))
    else:
        uvloop.run(serve(server, path))


if __name__ == "__main__":
    run(*sys.argv[1:])
