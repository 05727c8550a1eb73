"""Values of gRPC become JSON values and back as Google's json_format makes them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from edge_tasks.emulator.errors import ApiError
from edge_tasks.emulator.rpc.server import refuse_unknown
from edge_tasks.emulator.rpc.values import from_value, into_value
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


@pytest.mark.parametrize("place", [b"", b"instances"])
def test_a_field_that_these_messages_lack_is_refused_wherever_it_is(place: bytes) -> None:
    kind = surface.load().message_class("google.cloud.aiplatform.v1.PredictRequest")
    unknown = b"\xc0\x3e\x01"  # field 1000
    data = b"\x12" + bytes([len(unknown)]) + unknown if place else unknown
    refuse_unknown(kind(endpoint="e"), "Predict")
    with pytest.raises(ApiError, match="Unknown field number 1000"):
        refuse_unknown(kind.FromString(data), "Predict")
