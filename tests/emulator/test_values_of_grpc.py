"""Values of gRPC become JSON values and back as Google's json_format makes them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from edge_tasks.emulator.errors import ApiError
from edge_tasks.emulator.rpc.server import refuse_unknown
from edge_tasks.emulator.rpc.values import from_rows, from_value, into_value
from edge_tasks.emulator.schema import surface

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
CONTENTS = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda parts: (
        st.lists(parts, max_size=4) | st.lists(NUMBERS) | st.dictionaries(st.text(max_size=3), parts, max_size=3)
    ),
)


@given(CONTENTS)
def test_a_value_is_what_json_format_makes_of_it(content: Any) -> None:
    written, expected = struct_pb2.Value(), struct_pb2.Value()
    into_value(content, written)
    json_format.ParseDict(content, expected)
    # Maps have no order.
    assert written == expected
    assert from_value(expected) == json_format.MessageToDict(expected)


@pytest.mark.slow
@given(
    st.lists(st.lists(NUMBERS, min_size=1, max_size=20), max_size=5) | st.lists(CONTENTS, max_size=5),
    st.text(max_size=3),
)
def test_rows_are_what_json_format_makes_of_them(rows: list[Any], endpoint: str) -> None:
    kind = surface.load().message_class("google.cloud.aiplatform.v1.PredictRequest")
    request = kind(endpoint=endpoint, labels={"a": "b"})
    json_format.ParseDict({"instances": rows}, request)
    expected = json_format.MessageToDict(request).get("instances", [])
    assert from_rows(request.instances, request.SerializeToString()) == expected


@pytest.mark.slow
@given(st.integers(1, 30), st.integers(2, 30), NUMBERS, st.data())
def test_a_table_of_numbers_is_read_at_once(width: int, count: int, number: float, data: st.DataObject) -> None:
    rows: list[list[Any]] = [[number + place + width * row for place in range(width)] for row in range(count)]
    odd = data.draw(st.none() | st.tuples(st.integers(0, count - 1), st.integers(0, width - 1)))
    if odd is not None:
        rows[odd[0]][odd[1]] = data.draw(st.none() | st.text(max_size=3) | st.booleans() | st.just([]))
    test_rows_are_what_json_format_makes_of_them.hypothesis.inner_test(rows, "e")


@pytest.mark.parametrize("inside", [False, True])
def test_a_field_that_these_messages_lack_is_refused_wherever_it_is(inside: bool) -> None:
    kind = surface.load().message_class("google.cloud.aiplatform.v1.CreateEndpointRequest")
    unknown = b"\xc0\x3e\x01"  # field 1000
    data = b"\x12" + bytes([len(unknown)]) + unknown if inside else unknown
    refuse_unknown(kind(parent="p"), "CreateEndpoint")
    with pytest.raises(ApiError, match="Unknown field number 1000"):
        refuse_unknown(kind.FromString(data), "CreateEndpoint")
