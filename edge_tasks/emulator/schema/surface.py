"""The frozen surface at run time: message classes and RPCs, loaded in a few hundredths of a second."""

from __future__ import annotations

import json
import lzma
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

DESCRIPTORS_FILE = "descriptors.binpb.xz"
ROUTES_FILE = "routes.json"

# Messages are made from descriptors at run time, so a type checker can know nothing of their fields.
Message: TypeAlias = Any

VERTEX = "google.cloud.aiplatform.v1"


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One way to call an RPC: https://cloud.google.com/endpoints/docs/grpc/transcoding."""

    method: str
    uri: str
    body: str | None


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC of the API: what it takes, what it answers, and how it is called."""

    service: str
    name: str
    request_type: str
    response_type: str
    http: tuple[HttpRule, ...] = field(repr=False)
    operation_response: str | None = None
    operation_metadata: str | None = None
    # Whether only v1beta1 has it.
    beta: bool = False

    @property
    def full_name(self) -> str:
        """The name as gRPC writes it, such as `google.cloud.aiplatform.v1.JobService.CreateCustomJob`."""
        return f"{self.service}.{self.name}"


class Surface:
    """Message classes by full name, and every RPC.

    The descriptors live in their own pool: the same types may also be registered by the SDK in
    protobuf's default pool, when a test imports both.
    """

    def __init__(self, descriptors: bytes, routes: str) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
            self.pool.Add(file)
        self.rpcs = {name: _rpc(name, record) for name, record in json.loads(routes).items()}
        self._classes: dict[str, Any] = {}

    def message_class(self, full_name: str) -> Any:
        """Return the class of a message."""
        if full_name not in self._classes:
            descriptor = self.pool.FindMessageTypeByName(full_name)
            self._classes[full_name] = message_factory.GetMessageClass(descriptor)
        return self._classes[full_name]

    def new(self, full_name: str, **fields: Any) -> Message:
        """Return a new message; a name without a dot is one of Vertex AI's own."""
        return self.message_class(full_name if "." in full_name else f"{VERTEX}.{full_name}")(**fields)

    def enum_value(self, full_name: str, name: str) -> int:
        """Return the number of an enum's value."""
        number: int = self.pool.FindEnumTypeByName(f"{VERTEX}.{full_name}").values_by_name[name].number
        return number


def load() -> Surface:
    """Read the frozen files that lie next to this module."""
    folder = Path(__file__).parent
    descriptors = lzma.decompress((folder / DESCRIPTORS_FILE).read_bytes())
    return Surface(descriptors, (folder / ROUTES_FILE).read_text())


def _rpc(full_name: str, record: dict[str, Any]) -> Rpc:
    service, _, name = full_name.rpartition(".")
    operation = record.get("operation", {})
    return Rpc(
        service=service,
        name=name,
        request_type=record["request"],
        response_type=record["response"],
        http=tuple(HttpRule(rule["method"], rule["uri"], rule.get("body")) for rule in record["http"]),
        operation_response=operation.get("response"),
        operation_metadata=operation.get("metadata"),
        beta=record.get("beta", False),
    )
