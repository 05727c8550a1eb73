"""PredictionService: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/predict.

Predictions do not pass through messages: the body goes to the model server as it came, and only the ids are
added to the reply.
"""

from __future__ import annotations

import base64
import binascii
import functools
import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson

from edge_tasks.emulator.errors import ApiError, Code, invalid, precondition, unimplemented
from edge_tasks.emulator.http.exchange import Reply, StreamedReply, json_reply
from edge_tasks.emulator.projects import numbered
from edge_tasks.emulator.services import monitoring_jobs, request_logs
from edge_tasks.emulator.services.scale_to_zero import is_scaled
from edge_tasks.emulator.serving.connection import Answer, ServerGoneError
from edge_tasks.emulator.serving.model_server import SECONDS_TO_PREDICT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from edge_tasks.emulator.http.application import RawHandler
    from edge_tasks.emulator.http.exchange import Connection, Request
    from edge_tasks.emulator.schema.surface import Message
    from edge_tasks.emulator.services.context import Context
    from edge_tasks.emulator.services.deployments import Deployments
    from edge_tasks.emulator.services.loans import Loans
    from edge_tasks.emulator.services.request_counts import RequestCounts
    from edge_tasks.emulator.services.request_logs import RequestLogs
    from edge_tasks.emulator.serving.connection import Stream
    from edge_tasks.emulator.serving.model_server import ModelServer

# https://cloud.google.com/vertex-ai/docs/predictions/get-online-predictions: 1.5 MB for a request.
LARGEST_REQUEST = 1_572_864
# By the docstring of the SDK's Endpoint.stream_raw_predict.
LARGEST_STREAM_REQUEST = 10_485_760
SERVICE = "google.cloud.aiplatform.v1.PredictionService"
FIELDS = frozenset({"instances", "parameters", "labels"})
# Headers that a model's own code must not see.
SECRETS = frozenset({"authorization", "proxy-authorization", "cookie", "x-goog-api-key"})
A = TypeVar("A", "Answer", "Stream")


class Predictions:
    """Chooses a deployed model by the traffic split, asks its server, and passes on what it says."""

    def __init__(
        self, context: Context, deployments: Deployments, logs: RequestLogs, counts: RequestCounts, loans: Loans
    ) -> None:
        self._context = context
        self._deployments = deployments
        self._logs = logs
        self._counts = counts
        self._loans = loans
        self._random = random.Random()  # noqa: S311  (which model answers is not secret)
        self._targets: dict[str, _Targets] = {}

    def direct(self) -> dict[str, RawHandler]:
        """Return the handlers, by the names of their RPCs."""
        return {
            f"{SERVICE}.Predict": self.predict,
            f"{SERVICE}.RawPredict": self.raw_predict,
            f"{SERVICE}.StreamRawPredict": self.stream_raw_predict,
        }

    async def predict(self, request: Request) -> Reply:
        """Answer `:predict`."""
        _check(request)
        body = request.json()
        for name in body:
            if name not in FIELDS:
                raise invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        if not isinstance(body.get("instances"), list):
            raise invalid("instances is required: a list of what to predict.")
        name = numbered(request.variables["endpoint"])
        deployed, targets = self._choose(name)
        server = self._deployments.server(name, deployed)
        if request.given is None:
            answer = await self._counted(name, deployed, server.predict(request.body, limit=targets.limit))
        else:
            answer = Answer(request.given.answer.status, "", request.given.answer.body)
            self._counts.add(name, deployed.id, answer.status, request.given.milliseconds)
        reply = read_answer(answer)
        for destination in self._sampled(targets):
            self._logs.add(destination, name, deployed.id, body["instances"], reply["predictions"])
        answered = json_reply(reply | _members(deployed))
        if targets.lends and not SECRETS & request.headers.keys():
            answered.lend = functools.partial(self._lend, name, deployed, server)
        return answered

    def _lend(self, name: str, deployed: Message, server: ModelServer, connection: Connection) -> bool:
        """Lend a connection to the server of the only model that has traffic."""
        members = b"," + orjson.dumps(_members(deployed))[1:]
        return self._loans.lend(connection, FIELDS, members, name, deployed.id, server)

    async def raw_predict(self, request: Request) -> Reply:
        """Answer `:rawPredict`: bodies bare, or wrapped in an HttpBody as the SDK sends them."""
        _check(request)
        body, content_type = request.body, request.headers.get("content-type", "application/json")
        wrapped = _unwrap(body)
        if wrapped is not None:
            body, content_type = wrapped
        name = numbered(request.variables["endpoint"])
        deployed, targets = self._choose(name)
        server = self._deployments.server(name, deployed)
        answer = await self._counted(name, deployed, server.predict(body, content_type, targets.limit))
        if answer.status != 200:
            raise _failure(answer)
        for destination in self._sampled(targets):
            asked, answered = request_logs.payload(body, "instances"), request_logs.payload(answer.body, "predictions")
            self._logs.add(destination, name, deployed.id, asked, answered)
        reply = Reply(answer.body, 200, answer.content_type)
        if wrapped is not None:
            data = base64.b64encode(answer.body).decode()
            reply = json_reply({"contentType": answer.content_type, "data": data})
        reply.headers = _ids(deployed)
        return reply

    async def stream_raw_predict(self, request: Request) -> StreamedReply:
        """Answer `:streamRawPredict`: as rawPredict does, but the answer is passed on as it comes."""
        _check(request, LARGEST_STREAM_REQUEST)
        wrapped = _unwrap(request.body)
        body, content_type = wrapped or (request.body, request.headers.get("content-type", "application/json"))
        name = numbered(request.variables["endpoint"])
        deployed, targets = self._choose(name)
        server = self._deployments.server(name, deployed)
        stream = await self._counted(name, deployed, server.stream(body, content_type, targets.limit))
        chunks = _whole(stream)
        if stream.status != 200:
            raise _failure(Answer(stream.status, stream.content_type, b"".join([chunk async for chunk in chunks])))
        if wrapped is None:
            return StreamedReply(chunks, stream.content_type, _ids(deployed))
        return StreamedReply(_bodies(chunks, stream.content_type), "application/json; charset=UTF-8", _ids(deployed))

    async def _counted(self, name: str, deployed: Message, answering: Awaitable[A]) -> A:
        """Wait for an answer, and count it with the time that it took; one that did not come counts as an error.

        A stream's time is that until its head.
        """
        started = time.perf_counter()
        try:
            answer = await answering
        except ApiError as error:
            self._counts.add(name, deployed.id, error.code.http_status, 1000 * (time.perf_counter() - started))
            raise
        self._counts.add(name, deployed.id, answer.status, 1000 * (time.perf_counter() - started))
        return answer

    def _sampled(self, targets: _Targets) -> list[request_logs.Destination]:
        """Return where a prediction is to be kept: each place has its own share of them."""
        return [
            wished
            for wished in targets.destinations
            if wished.sampling_rate >= 1 or self._random.random() < wished.sampling_rate
        ]

    def _choose(self, name: str) -> tuple[Message, _Targets]:
        """Return one of an endpoint's models by chance, weighted as the traffic split says, and what goes for all."""
        targets = self._targets.get(name)
        if targets is None or targets.writes != self._context.database.writes:
            targets = self._targets[name] = self._read(name)
        if len(targets.models) == 1:
            return targets.models[0], targets
        (chosen,) = self._random.choices(targets.models, targets.weights)
        return chosen, targets

    def _read(self, name: str) -> _Targets:
        writes = self._context.database.writes
        self._targets.pop(name, None)
        if "/publishers/" in name:
            raise unimplemented(f"{SERVICE} with a model of a publisher ({name}) is not implemented by this emulator.")
        endpoint = self._context.database.get("Endpoint", name)
        if endpoint.network:
            raise precondition(
                f"Endpoint `{name}` is private: its model is asked at the predict_http_uri of its DeployedModel."
            )
        split = {key: value for key, value in endpoint.traffic_split.items() if value}
        models = [deployed for deployed in endpoint.deployed_models if deployed.id in split]
        if not models:
            raise precondition(f"Endpoint {name} doesn't have traffic_split.")
        wished = endpoint.client_connection_config.inference_timeout.ToTimedelta().total_seconds()
        weights = [split[deployed.id] for deployed in models]
        limit = wished if wished > 0 else SECONDS_TO_PREDICT
        own = request_logs.destination_of(endpoint)
        jobs = (row.message for row in self._context.database.every(monitoring_jobs.KIND))
        paused = self._context.surface.enum_value("JobState", "JOB_STATE_PAUSED")
        destinations = [*monitoring_jobs.destinations(jobs, name, paused), *([own] if own else [])]
        lends = len(models) == 1 and not destinations and not is_scaled(models[0])
        return _Targets(writes, models, weights, limit, destinations, lends)


class _Targets(NamedTuple):
    """The models that have traffic, the seconds they have, and where is kept what they are asked.

    `lends` says whether the only one may answer by itself: nobody else has to know that it was asked.
    All as they were after so many writes of the store.
    """

    writes: int
    models: list[Message]
    weights: list[int]
    limit: float
    destinations: list[request_logs.Destination]
    lends: bool


def _check(request: Request, largest: int = LARGEST_REQUEST) -> None:
    for name, _ in request.parameters():
        raise invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.')
    if len(request.body) > largest:
        limit = f"{largest / 1024**2:.3f}MB"
        raise precondition(f"The request size ({len(request.body)} bytes) exceeds {limit} limit.")


def read_answer(answer: Answer) -> dict[str, Any]:
    """Return what a model server answered to a prediction; ApiError when it is not an answer."""
    if answer.status != 200:
        raise _failure(answer)
    try:
        reply = orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise precondition(f"Prediction failed: the model server's answer is not JSON: {error}") from None
    if not isinstance(reply, dict) or not isinstance(reply.get("predictions"), list):
        raise precondition('Prediction failed: the model server must answer {"predictions": [...]}.')
    return {name: reply[name] for name in ("predictions", "metadata") if name in reply}


def _failure(answer: Answer) -> ApiError:
    """Put a container's error into Google's form: the SDK fails on any other."""
    text = answer.body.decode("utf-8", "replace")
    try:
        error = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        error = None
    if isinstance(error, dict) and "error" in error:
        text = error["error"] if isinstance(error["error"], str) else orjson.dumps(error["error"]).decode()
    if answer.status == 503:
        # In the container's own words, as https://github.com/GoogleCloudPlatform/vertex-ai-samples/issues/2122 shows.
        return ApiError(Code.UNAVAILABLE, text[:2000])
    return ApiError(Code.FAILED_PRECONDITION, f"Prediction failed: {text[:2000]}")


def _members(deployed: Message) -> dict[str, str]:
    """Return what an answer says of the model that has given it."""
    return {
        "deployedModelId": deployed.id,
        "model": deployed.model,
        "modelDisplayName": deployed.display_name,
        "modelVersionId": deployed.model_version_id,
    }


def _ids(deployed: Message) -> dict[str, str]:
    return {
        "X-Vertex-AI-Deployed-Model-Id": deployed.id,
        "X-Vertex-AI-Model": deployed.model,
        "X-Vertex-AI-Model-Version-Id": deployed.model_version_id,
    }


async def _whole(stream: Stream) -> AsyncGenerator[bytes, None]:
    """Yield what a model server answers, and close the connection; ApiError when it breaks off."""
    try:
        async for chunk in stream.chunks():
            yield chunk
    except ServerGoneError as error:
        raise ApiError(Code.UNAVAILABLE, f"The model server ended while it predicted: {error}.") from error
    finally:
        stream.close()


async def _bodies(chunks: AsyncGenerator[bytes, None], content_type: str) -> AsyncGenerator[bytes, None]:
    """Yield the list of HttpBody that the SDK's PredictionServiceClient reads, one for each chunk."""
    mark = b"["
    async for chunk in chunks:
        yield mark + orjson.dumps({"contentType": content_type, "data": base64.b64encode(chunk).decode()})
        mark = b","
    yield b"]" if mark == b"," else b"[]"


def _unwrap(body: bytes) -> tuple[bytes, str] | None:
    """Return what an HttpBody holds, or None for another body."""
    if not body.lstrip().startswith(b"{") or b'"httpBody"' not in body:
        return None
    try:
        value = orjson.loads(body)
        inner = value["httpBody"] if set(value) <= {"httpBody", "endpoint"} else None
        if not isinstance(inner, dict):
            return None
        data, content_type = base64.b64decode(inner.get("data", "")), inner.get("contentType", "application/json")
    except (orjson.JSONDecodeError, binascii.Error, TypeError, KeyError):
        return None
    # It becomes a header of the request to the model server: a line break in it would be a second request.
    if not isinstance(content_type, str) or not content_type.isprintable():
        raise invalid("Invalid value at 'http_body.content_type'.")
    return data, content_type
