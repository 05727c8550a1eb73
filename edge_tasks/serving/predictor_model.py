"""What the server of a predictor answers: bodies of requests in, bodies of answers out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from edge_tasks.domain.signature import ARRAY, TABLE, TEXTS, RequestError
from edge_tasks.serving.http_protocol import Answer, error_answer
from edge_tasks.serving.joining import can_join, parts
from edge_tasks.serving.predictor import Predictor, answer

LOG = logging.getLogger("edge_tasks.serving")


class PredictorModel:
    """Asks a predictor: `edge_tasks.serving.server.Model`."""

    def __init__(self, predictor: Any, *, joins: bool):
        self._predictor = predictor
        self.joins = joins

    def unhealthy(self) -> str:
        """Return why no prediction can be had, by the predictor's own check; "" when it finds nothing."""
        healthy = getattr(self._predictor, "healthy", None)
        try:
            return "" if healthy is None or healthy() else "The predictor says that it is not healthy."
        except Exception as error:  # a predictor's own check may fail in any way
            return f"The predictor's check failed: {error}"

    def answer(self, body: bytes) -> Answer:
        """Answer one request."""
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return error_answer(400, f"The body is not JSON: {error}")
        try:
            return Answer(200, orjson.dumps(answer(self._predictor, request), option=orjson.OPT_SERIALIZE_NUMPY))
        except RequestError as error:
            return error_answer(400, str(error))
        except Exception as error:
            # What the model raises is the answer, and the log has all of it.
            LOG.exception("a request failed")
            return error_answer(500, f"{type(error).__name__}: {error}")

    def answer_together(self, bodies: Sequence[bytes]) -> list[Answer] | None:
        """Answer requests by one call of the model; None when one can only be answered, or refused, by itself."""
        try:
            answers = joined(self._predictor, [orjson.loads(body) for body in bodies])
        except orjson.JSONDecodeError:
            return None
        return None if answers is None else [Answer(200, one) for one in answers]


def model_of(predictor: Any, artifacts: Path) -> PredictorModel:
    """Return what asks a predictor, which has loaded a folder.

    Requests are answered together by our own predictor only, for instances that the signature makes alike.
    """
    signature = predictor.signature if type(predictor) is Predictor else None
    alike = signature is not None and signature.form in (TABLE, ARRAY, TEXTS)
    return PredictorModel(predictor, joins=alike and can_join(artifacts))


def joined(predictor: Any, requests: Sequence[Any]) -> list[bytes] | None:
    """Return the bodies of the answers to bodies of requests, by one call of the model.

    None when one of them can only be answered, or refused, by itself.
    """
    instances: list[Any] = []
    counts = []
    for request in requests:
        if not isinstance(request, dict) or request.get("parameters"):
            return None
        rows = request.get("instances")
        if not isinstance(rows, list) or not rows:
            return None
        instances += rows
        counts.append(len(rows))
    try:
        predictions = answer(predictor, {"instances": instances})["predictions"]
    except Exception:  # whose request it is about is seen when each is answered by itself
        return None
    if len(predictions) != len(instances):
        return None
    return [
        orjson.dumps({"predictions": part}, option=orjson.OPT_SERIALIZE_NUMPY) for part in parts(predictions, counts)
    ]
