"""The filter language of lists."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tasks.emulator.errors import ApiError
from edge_tasks.emulator.schema import surface
from edge_tasks.emulator.store.filters import compile_filter

SURFACE = surface.load()
JOB = SURFACE.new("CustomJob", display_name="my job", labels={"team": "x", "env.kind": "prod"}, state=4)
JOB.create_time.FromJsonString("2026-01-02T03:04:05.500Z")


def passes(text: str) -> bool:
    return compile_filter(text, JOB.DESCRIPTOR)(JOB)


@pytest.mark.parametrize(
    "text",
    [
        "",
        'display_name="my job"',
        'displayName="my job"',
        "display_name='my job'",
        'display_name:"my*"',
        'display_name="*job"',
        'display_name!="other"',
        "state=JOB_STATE_SUCCEEDED",
        'state="JOB_STATE_SUCCEEDED"',
        "state!=JOB_STATE_FAILED",
        "labels.team=x",
        "labels.team:*",
        'labels."env.kind"="prod"',
        "NOT labels.other:*",
        "NOT (labels.team=y OR labels.team=z)",
        "labels.team=x AND state=4",
        "labels.team=x state=4",
        "labels.team=y OR labels.team=x AND state=4",
        'create_time>="2026-01-02T03:04:05.500Z"',
        "create_time<2026-01-02T03:04:06Z",
        'create_time>"2026-01-01"',
        "NOT end_time:*",
        "labels:team",
        'labels:"env.kind"',
        "-labels:other",
        "-state=5",
        "labels.team=x -display_name=other",
        "state:*",
        "NOT web_access_uris.a:*",
    ],
)
def test_a_filter_that_fits(text: str) -> None:
    assert passes(text)


@pytest.mark.parametrize(
    "text",
    [
        'display_name="my"',
        "labels.team=y",
        "labels.other:*",
        "NOT labels.team=x",
        'create_time>"2026-01-02T03:04:05.500Z"',
        'end_time>"2000-01-01T00:00:00Z"',
        "labels.team=x AND NOT state=4",
        "labels:other",
        "-labels:team",
        "(labels.team=x OR state=5) AND state=5",
    ],
)
def test_a_filter_that_does_not_fit(text: str) -> None:
    assert not passes(text)


@pytest.mark.parametrize(
    "text",
    [
        "nope=1",
        "display_name",
        "display_name=",
        "(state=4",
        "state=4)",
        "state=NOPE",
        'create_time>"yesterday"',
        '"x"="y"',
        "labels=x",
        "-",
        "state:team:x",
        "error.nope=1",
        "=",
        "AND",
        "job_spec=1",
        "(" * 500,
        "NOT " * 500 + "state=4",
        "x" * 10_001,
    ],
)
def test_a_wrong_filter_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="Invalid filter"):
        passes(text)


PARTS = [*"ab=:<>!()\"'*. ", "NOT ", "AND ", "OR ", "labels.a", "state", "create_time"]


@given(st.lists(st.sampled_from(PARTS), max_size=30).map("".join))
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    with contextlib.suppress(ApiError):
        passes(text)


MODEL = SURFACE.new("Model", version_aliases=["default", "gold"], supported_deployment_resources_types=[1, 3])
MODEL.deployed_models.add(endpoint="e")


@pytest.mark.parametrize(
    "text",
    [
        "version_aliases=gold",
        "version_aliases:go*",
        "version_aliases!=silver",
        "supported_deployment_resources_types=DEDICATED_RESOURCES",
        "supported_deployment_resources_types!=AUTOMATIC_RESOURCES",
        "deployed_models:*",
        "NOT supported_input_storage_formats:*",
        "NOT description:*",
        "NOT container_spec:*",
    ],
)
def test_a_list_is_asked_for_what_it_holds(text: str) -> None:
    assert compile_filter(text, MODEL.DESCRIPTOR)(MODEL)


LISTED = ("Model", "Endpoint", "CustomJob", "HyperparameterTuningJob", "BatchPredictionJob", "TrainingPipeline")
FIELDS = [
    (kind, field.name) for kind in (*LISTED, "Artifact", "Tensorboard") for field in SURFACE.new(kind).DESCRIPTOR.fields
]


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_every_field_with_every_operator_is_a_filter_or_is_refused(kind: str, field: str) -> None:
    message = SURFACE.new(kind)
    for path in (field, f"{field}.name", f"{field}.key.string_value"):
        for operator in ("=", "!=", ":", "<", "<=", ">", ">="):
            for value in ("*", "1", '"x"', "true", "2026-01-01"):
                with contextlib.suppress(ApiError):
                    assert compile_filter(f"{path}{operator}{value}", message.DESCRIPTOR)(message) in {True, False}
