"""Whatever comes in: an answer in Google's form, never a 500 and never a traceback."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_tasks.emulator.schema import surface
from tests.emulator.harness import PARENT, Emulator

SURFACE = surface.load()
EXAMPLES = int(os.environ.get("VERTEX_EMULATOR_EXAMPLES", "300"))
RPCS = sorted(SURFACE.rpcs.values(), key=lambda rpc: rpc.full_name)
NAMES = r"CustomJob|TrainingPipeline|TuningJob|Model|Endpoint|Operation|Predict|Metadata|Artifact|Execution|Context"
EMULATED = [
    rpc
    for rpc in RPCS
    if re.search(f"{NAMES}|Tensorboard|Dataset|DataItem|Stud|Trial|Evaluation|Explain|Iam", rpc.name)
]
SEGMENT = st.one_of(
    st.sampled_from(["1", "test-project", "us-central1", "%40", "1@2", "a%2Fb", "..", "%2e%2e", "*", "é", "%00"]),
    st.text(st.characters(codec="ascii", exclude_characters="/?#% \r\n\t\x0b\x0c\x00"), min_size=1, max_size=8),
)
FIELDS = ["displayName", "model", "jobSpec", "labels", "name", "deployedModel", "trafficSplit", "instances", "httpBody"]
FIELDS += [
    "updateMask",
    "versionAliases",
    "workerPoolSpecs",
    "containerSpec",
    "etag",
    "x",
    "deployedModelId",
    "timeout",
]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(FIELDS), st.text(max_size=4)), inner, max_size=4),
    ),
    max_leaves=12,
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["filter", "orderBy", "pageSize", "pageToken", "updateMask", "readMask", "modelId", "$alt", "x.y"]),
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(['a="b"', "(", "NOT", "labels.a:*", "-1", "99999999999", "display_name desc"]),
    ),
    max_size=3,
)


TEXTS = ["", "x", "default", "1", f"{PARENT}/models/1", "gs://b/x", "10s", "2026-01-01T00:00:00Z", "python", "a,b", "é"]


def bodies_like(descriptor: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Bodies with the right fields and odd values: they get further than noise."""
    fields = {} if depth > 5 else {field.json_name: value_of(field, depth) for field in descriptor.fields}
    return (
        st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True).flatmap(
            lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
        )
        if fields
        else st.just({})
    )


def value_of(field: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None and not field.message_type.full_name.startswith("google.protobuf."):
        nested = field.message_type
        if nested.GetOptions().map_entry:
            return st.dictionaries(st.sampled_from(TEXTS), st.sampled_from([*TEXTS, 100]), max_size=2)
        one = st.deferred(lambda: bodies_like(nested, depth + 1))
    elif field.enum_type is not None:
        one = st.sampled_from([0, 1, 3, 99, "X"])
    elif field.type in {field.TYPE_STRING, field.TYPE_BYTES}:
        one = st.sampled_from(TEXTS)
    else:
        one = st.sampled_from([*TEXTS, -1, 0, 1, 2.5, 10**18, True])
    return st.lists(one, max_size=2) if field.is_repeated else one


def body_descriptor(rpc: Any, rule: Any) -> Any:
    request = SURFACE.message_class(rpc.request_type).DESCRIPTOR
    return request if rule.body in {"*", None} else request.fields_by_name[rule.body].message_type


@st.composite
def requests_to_known_routes(draw: st.DrawFn) -> tuple[str, str, Any, dict[str, str]]:
    rpc = draw(st.sampled_from(EMULATED) | st.sampled_from(RPCS))
    rule = draw(st.sampled_from(rpc.http))
    path = re.sub(r"\{[\w.]+(?:=([^}]*))?\}", lambda match: match.group(1) or "*", rule.uri)
    if draw(st.booleans()):
        path = path.replace("projects/*/locations/*", PARENT)
    path = re.sub(r"\*", lambda _: draw(SEGMENT), path)
    path = draw(st.sampled_from([path, path.replace("/v1/", "/v1beta1/", 1)]))
    body = draw(JSON | bodies_like(body_descriptor(rpc, rule)))
    return rule.method.upper(), path, body, draw(PARAMETERS)


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(request=requests_to_known_routes())
def test_garbage_at_any_route_is_refused_politely(
    emulator: Emulator, request: tuple[str, str, Any, dict[str, str]]
) -> None:
    method, path, body, parameters = request
    data = None if method in {"GET", "DELETE"} else json.dumps(body)
    response = emulator.session.request(method, f"{emulator.url}{path}", data=data, params=parameters, timeout=30)
    assert response.status_code in {200, 400, 403, 404, 409, 501}, response.text
    if response.status_code != 200:
        assert "Traceback" not in response.text
        assert set(response.json()["error"]) == {"code", "message", "status"}


@st.composite
def requests_by_grpc(draw: st.DrawFn) -> tuple[str, bytes]:
    rpc = draw(st.sampled_from(EMULATED) | st.sampled_from(RPCS))
    service = draw(st.sampled_from([rpc.service, rpc.service.replace(".v1.", ".v1beta1.")]))
    kind = SURFACE.message_class(rpc.request_type)
    body = draw(bodies_like(kind.DESCRIPTOR))
    for field in kind.DESCRIPTOR.fields:
        if field.name in {"name", "parent", "endpoint"} and draw(st.booleans()):
            ids = draw(st.sampled_from(["endpoints", "models", "studies", "customJobs", "datasets"]))
            body[field.json_name] = draw(st.sampled_from([PARENT, f"{PARENT}/{ids}/1", "projects/x", "/"]))
    try:
        data = json_format.ParseDict(body, kind()).SerializeToString()
    except (json_format.ParseError, ValueError):
        # No such message: then bytes that are none, either.
        data = draw(st.binary(max_size=40))
    return f"/{service}/{rpc.name}", data


@pytest.fixture(scope="module")
def channel(emulator: Emulator) -> Iterator[Any]:
    grpc = pytest.importorskip("grpc")
    with grpc.insecure_channel(emulator.servers["grpc_address"]) as channel:
        yield channel


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(request=requests_by_grpc())
def test_garbage_by_grpc_is_refused_politely(channel: Any, request: tuple[str, bytes]) -> None:
    import grpc

    method, data = request
    ask = channel.unary_stream if method.endswith("StreamRawPredict") else channel.unary_unary
    try:
        answer = ask(method)(data, timeout=30)
        if method.endswith("StreamRawPredict"):
            list(answer)
    except grpc.RpcError as error:
        refused = {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS", "ABORTED", "UNIMPLEMENTED"}
        assert error.code().name in {*refused, "PERMISSION_DENIED"}, (method, data, error.details())
        assert "Traceback" not in error.details()


OUTSIDE = st.sampled_from(
    ["/_private/", "/v3/projects/", "/_emulator/faults", "/computeMetadata/v1/", "/v2/entries:list"]
)


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    place=OUTSIDE,
    rest=st.lists(SEGMENT, max_size=8).map("/".join) | st.just(f"{PARENT}/endpoints/1/v1/models/1:predict"),
    method=st.sampled_from(["GET", "POST", "DELETE", "PUT", "PATCH"]),
    body=JSON,
)
def test_garbage_where_no_rpc_is_is_refused_politely(
    emulator: Emulator, place: str, rest: str, method: str, body: Any
) -> None:
    # A fault that is really asked for would be in the way of the other tests.
    if place == "/_emulator/faults" and method == "POST":
        body = [body]
    response = emulator.session.request(method, f"{emulator.url}{place}{rest}", data=json.dumps(body), timeout=30)
    assert response.status_code in {200, 400, 403, 404, 501}, response.text


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(body=st.binary(max_size=50), path=st.sampled_from(["customJobs", "models:upload", "endpoints/1:predict"]))
def test_bytes_that_are_no_json_are_refused_politely(emulator: Emulator, body: bytes, path: str) -> None:
    response = emulator.session.post(f"{emulator.url}/v1/{PARENT}/{path}", data=body, timeout=30)
    assert response.status_code in {400, 404}


LOG_FILTER = st.lists(
    st.sampled_from(["AND", "OR", "NOT", "(", ")", "=", ">=", '"1"', "timestamp", "severity", "ERROR", "insertId", "x"])
    | st.sampled_from(
        ['resource.type="ml_job"', 'resource.labels.job_id="1"', 'timestamp<"2026-01-01T00:00:00Z"', '"']
    ),
    max_size=12,
).map(" ".join)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(text=LOG_FILTER | st.text(max_size=20))
def test_any_log_filter_is_read_or_refused(emulator: Emulator, text: str) -> None:
    answer = emulator.post("/v2/entries:list", {"resourceNames": ["projects/test-project"], "filter": text})
    assert answer.status in {200, 400}
