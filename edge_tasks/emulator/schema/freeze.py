"""Write the frozen schema from the installed google-cloud-aiplatform.

    python -m edge_tasks.emulator.schema.freeze

The SDK holds what the emulator has to know, in three places:

- the `rest_base` transports: method, URI and body of every RPC;
- the type hints of the `rest` transports: request and response message of every RPC;
- the bodies of the clients: `from_gapic(..., Response, metadata_type=Metadata)`, the only place where the
  types inside a long-running operation are written down.

Of v1beta1 come the services that v1 has not and the emulator answers, and the fields of `schema.beta.FIELDS`. They are
kept in the words of v1, by the names and with the messages of v1 where both have them, as v1beta1 is everywhere in the
emulator (see `schema.beta`).
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import lzma
import pkgutil
import re
import sys
import typing
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, text_format

from edge_tasks.emulator.schema.beta import FIELDS as BETA_FIELDS
from edge_tasks.emulator.schema.surface import DESCRIPTORS_FILE, ROUTES_FILE

SERVICES_PACKAGE = "google.cloud.aiplatform_v1.services"
BETA_PACKAGE = "google.cloud.aiplatform_v1beta1.services"
BETA_TYPES = "google.cloud.aiplatform_v1beta1.types"
BETA_SERVICES = ("model_monitoring_service",)

# Every service repeats these RPCs of other APIs; they are kept once, under their service's name.
MIXINS = {
    "GetLocation": "google.cloud.location.Locations",
    "ListLocations": "google.cloud.location.Locations",
    "GetIamPolicy": "google.iam.v1.IAMPolicy",
    "SetIamPolicy": "google.iam.v1.IAMPolicy",
    "TestIamPermissions": "google.iam.v1.IAMPolicy",
    "CancelOperation": "google.longrunning.Operations",
    "DeleteOperation": "google.longrunning.Operations",
    "GetOperation": "google.longrunning.Operations",
    "ListOperations": "google.longrunning.Operations",
    "WaitOperation": "google.longrunning.Operations",
}

# The mixin handlers of the SDK are typed loosely (a delete returns None).
EMPTY = "google.protobuf.Empty"


class Frozen(NamedTuple):
    """What is written to disk: the descriptor set (uncompressed) and the route table (JSON text)."""

    descriptors: bytes
    routes: str


def freeze() -> Frozen:
    """Read the installed SDK."""
    rpcs: dict[str, dict[str, Any]] = {}
    files: dict[str, Any] = {}
    for service_package in _service_packages():
        for rpc, record, messages in _read_service(service_package):
            known = rpcs.setdefault(rpc, record)
            for http in record["http"]:
                if http not in known["http"]:
                    known["http"].append(http)
            for message in messages:
                _collect_files(message.DESCRIPTOR.file, files)
    of_beta: dict[str, Any] = {}
    for service_package in BETA_SERVICES:
        for rpc, record, messages in _read_service(service_package, BETA_PACKAGE):
            if rpc.rpartition(".")[0] in MIXINS.values():
                continue
            rpcs[_as_v1(rpc)] = {**json.loads(_as_v1(json.dumps(record))), "beta": True}
            for message in messages:
                _collect_files(message.DESCRIPTOR.file, of_beta)
    # Packed in `Any` or used for errors, thus named by no RPC.
    for module in ("google.rpc.error_details_pb2", "google.api.httpbody_pb2"):
        _collect_files(importlib.import_module(module).DESCRIPTOR, files)
    protos = {name: _file_proto(file) for name, file in files.items()}
    for name, file in of_beta.items():
        if _as_v1(name) not in protos:
            protos[_as_v1(name)] = text_format.Parse(
                _as_v1(text_format.MessageToString(_file_proto(file))), descriptor_pb2.FileDescriptorProto()
            )
    for kind, fields in BETA_FIELDS.items():
        _add_fields(protos, _pb(getattr(importlib.import_module(BETA_TYPES), kind)).DESCRIPTOR, fields)
    return Frozen(_descriptor_set(protos), _table(rpcs))


def write(folder: Path) -> None:
    """Write both frozen files into `folder`."""
    frozen = freeze()
    (folder / DESCRIPTORS_FILE).write_bytes(lzma.compress(frozen.descriptors, preset=9))
    (folder / ROUTES_FILE).write_text(frozen.routes)


def _table(rpcs: dict[str, dict[str, Any]]) -> str:
    """Render one line for each RPC: the file is reviewed as a diff when the SDK moves."""
    for record in rpcs.values():
        record["http"].sort(key=lambda http: (http["uri"], http["method"]))
    lines = [f"{json.dumps(name)}: {json.dumps(rpcs[name], sort_keys=True)}" for name in sorted(rpcs)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _service_packages() -> list[str]:
    root = importlib.import_module(SERVICES_PACKAGE)
    return sorted(info.name for info in pkgutil.iter_modules(root.__path__))


def _as_v1(text: str) -> str:
    """Return names, routes and files of v1beta1 as v1 has them."""
    for beta, stable in (("aiplatform.v1beta1", "aiplatform.v1"), ("aiplatform_v1beta1/", "aiplatform_v1/")):
        text = text.replace(beta, stable)
    return text.replace("/v1beta1/", "/v1/")


def _read_service(
    package: str, services: str = SERVICES_PACKAGE
) -> typing.Iterator[tuple[str, dict[str, Any], list[Any]]]:
    """Yield (full RPC name, its record, the message classes it uses)."""
    base = importlib.import_module(f"{services}.{package}.transports.rest_base")
    rest = importlib.import_module(f"{services}.{package}.transports.rest")
    client = importlib.import_module(f"{services}.{package}.client")
    service = "".join(word.title() for word in package.split("_"))
    base_transport = next(
        c for n, c in vars(base).items() if re.fullmatch(r"_Base\w+RestTransport", n) and inspect.isclass(c)
    )
    name_of_service = base_transport.__name__.removeprefix("_Base").removesuffix("RestTransport") or service
    transport = getattr(rest, f"{name_of_service}RestTransport")
    operation_types = _operation_types(client)
    for attribute, base_rpc in vars(base_transport).items():
        if not attribute.startswith("_Base") or not hasattr(base_rpc, "_get_http_options"):
            continue
        rpc = attribute.removeprefix("_Base")
        hints = typing.get_type_hints(getattr(transport, f"_{rpc}").__call__)
        request, response = _pb(hints["request"]), _pb(hints.get("return"))
        messages = [message for message in (request, response) if message is not None]
        record: dict[str, Any] = {
            "request": request.DESCRIPTOR.full_name,
            "response": response.DESCRIPTOR.full_name if response else EMPTY,
            "http": [dict(option) for option in base_rpc._get_http_options()],  # noqa: SLF001
        }
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", rpc).lower()
        if snake in operation_types:
            result, metadata = (_pb(kind) for kind in operation_types[snake])
            record["operation"] = {
                "response": result.DESCRIPTOR.full_name,
                "metadata": metadata.DESCRIPTOR.full_name,
            }
            messages += [result, metadata]
        version = "v1beta1" if services == BETA_PACKAGE else "v1"
        full_service = MIXINS.get(rpc, f"google.cloud.aiplatform.{version}.{name_of_service}")
        yield f"{full_service}.{rpc}", record, messages


def _pb(kind: Any) -> Any:
    """Return the protobuf class behind a proto-plus class or a type hint; None when there is none."""
    if kind is None or kind is type(None):
        return None
    for part in (kind, *typing.get_args(kind)):
        if hasattr(part, "pb") and hasattr(part, "meta"):
            return part.pb()
        if hasattr(part, "DESCRIPTOR"):
            return part
        origin_args = typing.get_args(part)
        if origin_args:
            return _pb(origin_args[0])
    # Server-streaming RPCs are hinted as `rest_streaming.ResponseIterator`: no message to name.
    return None


def _operation_types(client: Any) -> dict[str, tuple[Any, Any]]:
    """Return {method: (response class, metadata class)} from the `from_gapic` calls of a client module."""
    found: dict[str, tuple[Any, Any]] = {}
    for node in ast.walk(ast.parse(inspect.getsource(client))):
        if not isinstance(node, ast.FunctionDef):
            continue
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "from_gapic":
                metadata = next(k.value for k in call.keywords if k.arg == "metadata_type")
                found[node.name] = (_resolve(client, call.args[2]), _resolve(client, metadata))
    return found


def _resolve(module: Any, node: ast.expr) -> Any:
    """Return the object that a dotted name means inside `module`."""
    value = module
    for part in ast.unparse(node).split("."):
        value = getattr(value, part)
    return value


def _collect_files(file: Any, files: dict[str, Any]) -> None:
    if file.name not in files:
        files[file.name] = file
        for dependency in file.dependencies:
            _collect_files(dependency, files)


def _file_proto(file: Any) -> descriptor_pb2.FileDescriptorProto:
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    # proto-plus collects them in a set: without an order every run would write another file. (Public
    # dependencies are indices into the list; proto-plus makes none.)
    if not proto.public_dependency:
        proto.dependency.sort()
    return proto


def _add_fields(
    protos: dict[str, descriptor_pb2.FileDescriptorProto], descriptor: Any, fields: typing.Collection[str]
) -> None:
    """Add fields of a message of v1beta1 to that of v1, with the messages inside it that they are of."""
    file = protos[_as_v1(descriptor.file.name)]
    target = next(message for message in file.message_type if message.name == descriptor.name)
    told = descriptor_pb2.DescriptorProto()
    descriptor.CopyToProto(told)
    told = text_format.Parse(_as_v1(text_format.MessageToString(told)), descriptor_pb2.DescriptorProto())
    oneofs = [oneof.name for oneof in target.oneof_decl]
    needed = [descriptor.fields_by_name[name].message_type for name in fields]
    for field in told.field:
        if field.name in fields:
            if field.HasField("oneof_index"):
                field.oneof_index = oneofs.index(told.oneof_decl[field.oneof_index].name)
            target.field.add().CopyFrom(field)
    for inner in told.nested_type:
        own = descriptor.nested_types_by_name[inner.name]
        if own in needed:
            target.nested_type.add().CopyFrom(inner)
            needed += [field.message_type for field in own.fields]
    files = {_as_v1(message.file.name) for message in needed if message is not None} - {file.name}
    file.dependency[:] = sorted({*file.dependency, *files})


def _descriptor_set(protos: dict[str, descriptor_pb2.FileDescriptorProto]) -> bytes:
    """Serialize every file, dependencies first, so that a pool can add them in order."""
    result = descriptor_pb2.FileDescriptorSet()
    done: set[str] = set()

    def add(name: str) -> None:
        if name in done:
            return
        done.add(name)
        for dependency in sorted(protos[name].dependency):
            add(dependency)
        result.file.add().CopyFrom(protos[name])

    for name in sorted(protos):
        add(name)
    data: bytes = result.SerializeToString(deterministic=True)
    return data


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
