"""A Terraform provider that stands for hashicorp/google: real Terraform validates, plans and applies with it.

It knows the names and types of the real provider's arguments (google_schema.json) and keeps what it is given; nothing
is made. It speaks the plugin protocol 5 over gRPC, of which these are the messages that Terraform needs:
https://github.com/hashicorp/terraform/tree/main/docs/plugin-protocol
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import msgpack
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SCHEMA = Path(__file__).with_name("google_schema.json")

_BYTES, _STRING, _BOOL, _INT = 12, 9, 8, 3

# Messages as name: {field: (number, type or message, repeated)}.
MESSAGES: dict[str, dict[str, tuple[int, int | str, bool]]] = {
    "DynamicValue": {"msgpack": (1, _BYTES, False), "json": (2, _BYTES, False)},
    "Diagnostic": {"severity": (1, _INT, False), "summary": (2, _STRING, False), "detail": (3, _STRING, False)},
    "RawState": {"json": (1, _BYTES, False)},
    "Attribute": {
        "name": (1, _STRING, False),
        "type": (2, _BYTES, False),
        "required": (4, _BOOL, False),
        "optional": (5, _BOOL, False),
        "computed": (6, _BOOL, False),
    },
    "NestedBlock": {
        "type_name": (1, _STRING, False),
        "block": (2, "Block", False),
        "nesting": (3, _INT, False),
        "min_items": (4, _INT, False),
        "max_items": (5, _INT, False),
    },
    "Block": {"attributes": (2, "Attribute", True), "block_types": (3, "NestedBlock", True)},
    "Schema": {"version": (1, _INT, False), "block": (2, "Block", False)},
    "SchemaEntry": {"key": (1, _STRING, False), "value": (2, "Schema", False)},
    "Nothing": {},
    "Schemas": {
        "provider": (1, "Schema", False),
        "resource_schemas": (2, "SchemaEntry", True),
        "data_source_schemas": (3, "SchemaEntry", True),
    },
    "Configuration": {"config": (1, "DynamicValue", False)},
    "Prepared": {"prepared_config": (1, "DynamicValue", False)},
    "TypedConfiguration": {"type_name": (1, _STRING, False), "config": (2, "DynamicValue", False)},
    "Diagnosed": {"diagnostics": (1, "Diagnostic", True)},
    "Upgrade": {"type_name": (1, _STRING, False), "raw_state": (3, "RawState", False)},
    "Upgraded": {"upgraded_state": (1, "DynamicValue", False)},
    "Read": {"type_name": (1, _STRING, False), "current_state": (2, "DynamicValue", False)},
    "State": {"new_state": (1, "DynamicValue", False)},
    "Plan": {
        "type_name": (1, _STRING, False),
        "prior_state": (2, "DynamicValue", False),
        "proposed_new_state": (3, "DynamicValue", False),
    },
    "Planned": {"planned_state": (1, "DynamicValue", False)},
    "Apply": {"type_name": (1, _STRING, False), "planned_state": (3, "DynamicValue", False)},
    "Import": {"type_name": (1, _STRING, False), "id": (2, _STRING, False)},
    "ImportedResource": {"type_name": (1, _STRING, False), "state": (2, "DynamicValue", False)},
    "Imported": {"imported_resources": (1, "ImportedResource", True)},
    "Data": {"state": (1, "DynamicValue", False)},
}

_UNKNOWN = msgpack.ExtType(0, b"\x00")
_LIST = 2


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="stub.proto", package="stub", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            one = message.field.add(name=field, number=number, label=3 if repeated else 1)
            if isinstance(kind, str):
                one.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                one.type_name = f".stub.{kind}"
            else:
                one.type = kind  # type: ignore[assignment,unused-ignore]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"stub.{name}")) for name in MESSAGES}


M = _classes()


class Provider:
    """What Terraform asks, by the names of the plugin protocol."""

    def __init__(self, schema: Mapping[str, Any]):
        self._data = {name.removeprefix("data_"): one for name, one in schema.items() if name.startswith("data_")}
        self._resources = {name: one for name, one in schema.items() if not name.startswith("data_")}
        texts = ("project", "region", "billing_project")
        self._own = {
            "attributes": {
                **{name: {"type": "string", "required": False} for name in texts},
                "user_project_override": {"type": "bool", "required": False},
            },
            "blocks": {},
        }

    def methods(self) -> dict[str, tuple[Callable[[Any], Any], str]]:
        """Return what answers each call, and the message it takes."""
        return {
            "GetSchema": (self._schemas, "Nothing"),
            "PrepareProviderConfig": (lambda asked: M["Prepared"](prepared_config=asked.config), "Configuration"),
            "ValidateResourceTypeConfig": (lambda _: M["Diagnosed"](), "TypedConfiguration"),
            "ValidateDataSourceConfig": (lambda _: M["Diagnosed"](), "TypedConfiguration"),
            "Configure": (lambda _: M["Diagnosed"](), "Nothing"),
            "UpgradeResourceState": (self._upgrade, "Upgrade"),
            "ReadResource": (lambda asked: M["State"](new_state=asked.current_state), "Read"),
            "PlanResourceChange": (self._plan, "Plan"),
            "ApplyResourceChange": (self._apply, "Apply"),
            "ImportResourceState": (self._import, "Import"),
            "ReadDataSource": (self._read_data, "TypedConfiguration"),
            "Stop": (lambda _: M["Nothing"](), "Nothing"),
        }

    def _schemas(self, asked: Any) -> Any:
        del asked
        return M["Schemas"](
            provider=M["Schema"](block=_block(self._own)),
            resource_schemas=_entries(self._resources),
            data_source_schemas=_entries(self._data),
        )

    def _upgrade(self, asked: Any) -> Any:
        return M["Upgraded"](upgraded_state=_packed(json.loads(asked.raw_state.json)))

    def _plan(self, asked: Any) -> Any:
        wanted = _unpacked(asked.proposed_new_state)
        if wanted is None:
            return M["Planned"](planned_state=asked.proposed_new_state)
        for name, attribute in self._resources[asked.type_name]["attributes"].items():
            if attribute.get("computed") and wanted.get(name) is None:
                wanted[name] = _UNKNOWN
        return M["Planned"](planned_state=_packed(wanted))

    def _apply(self, asked: Any) -> Any:
        planned = _unpacked(asked.planned_state)
        if planned is None:
            return M["State"](new_state=asked.planned_state)
        schema = self._resources[asked.type_name]
        for name, value in planned.items():
            if isinstance(value, msgpack.ExtType):
                kind = schema["attributes"][name]["type"]
                planned[name] = (
                    {"number": 0, "bool": False}.get(kind)
                    if kind != "string"
                    else _made(asked.type_name, name, planned)
                )
        return M["State"](new_state=_packed(planned))

    def _import(self, asked: Any) -> Any:
        schema = self._resources[asked.type_name]
        state = {**dict.fromkeys(schema["attributes"]), **{name: [] for name in schema["blocks"]}, "id": asked.id}
        imported = M["ImportedResource"](type_name=asked.type_name, state=_packed(state))
        return M["Imported"](imported_resources=[imported])

    def _read_data(self, asked: Any) -> Any:
        found = _unpacked(asked.config)
        found |= {"number": "4242", "id": found.get("project_id")}
        return M["Data"](state=_packed(found))


def _made(kind: str, name: str, state: Mapping[str, Any]) -> str:
    """Return the value that the real provider would give to what others refer to."""
    if kind == "google_service_account":
        email = f"{state['account_id']}@my-project.iam.gserviceaccount.com"
        texts = {"email": email, "member": f"serviceAccount:{email}"}
        return texts.get(name, f"projects/my-project/serviceAccounts/{email}")
    if kind == "google_iam_workload_identity_pool":
        return f"projects/4242/locations/global/workloadIdentityPools/{state['workload_identity_pool_id']}"
    if kind == "google_iam_workload_identity_pool_provider" and name == "name":
        pool, provider = state["workload_identity_pool_id"], state["workload_identity_pool_provider_id"]
        return f"projects/4242/locations/global/workloadIdentityPools/{pool}/providers/{provider}"
    return f"{kind}.{name}"


def _entries(schema: Mapping[str, Any]) -> list[Any]:
    return [M["SchemaEntry"](key=name, value=M["Schema"](block=_block(one))) for name, one in schema.items()]


def _block(schema: Mapping[str, Any]) -> Any:
    attributes = [
        M["Attribute"](
            name=name,
            type=json.dumps(one["type"]).encode(),
            required=one.get("required", False),
            optional="required" in one and not one["required"],
            computed=one.get("computed", False),
        )
        for name, one in schema["attributes"].items()
    ]
    blocks = [
        M["NestedBlock"](
            type_name=name, block=_block(one), nesting=_LIST, min_items=int(one["required"]), max_items=one["most"]
        )
        for name, one in schema["blocks"].items()
    ]
    return M["Block"](attributes=attributes, block_types=blocks)


def _packed(value: Any) -> Any:
    return M["DynamicValue"](msgpack=msgpack.packb(value))


def _unpacked(value: Any) -> Any:
    return msgpack.unpackb(value.msgpack, strict_map_key=False)


def serve(socket: str) -> grpc.Server:
    """Serve on a Unix socket; return the server."""
    server = grpc.server(futures.ThreadPoolExecutor(8))
    handlers = {}
    for name, (answer, request) in Provider(json.loads(SCHEMA.read_text())).methods().items():
        handlers[name] = grpc.unary_unary_rpc_method_handler(
            lambda asked, _, answer=answer: answer(asked),
            request_deserializer=M[request].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tfplugin5.Provider", handlers)])
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    return server
