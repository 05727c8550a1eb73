# ruff: noqa: SLF001  (the SDK has no public way to do this)
"""Loaded by every Python with this folder on its PYTHONPATH: points an unmodified SDK at the emulator.

That is every Python of a job, and of a shell that took `edge local.env`; the pytest plugin loads it by its path. It
stands alone: a job has its own `edge_tasks`, which need not be this one.

No environment variable sets the SDK's API endpoint. Values that are preset on its global configuration
survive a later `aiplatform.init(project=..., location=...)`, so they are set as soon as the module is loaded.
The project is preset too: the SDK would otherwise ask Resource Manager about CLOUD_ML_PROJECT_ID, at every start. What
the SDK does ask of it, a project's number or id, the emulator answers.

A few methods, such as `Endpoint.raw_predict`, do not use the endpoint that was set: they post to Vertex AI's address in
the location. What goes there by google-auth's sessions is sent to the emulator, so that no data leave the machine. So
are predictions of dedicated endpoints, which the SDK asks for by HTTPS, and of endpoints of Private Service Connect
whose address is this machine's (`endpoint_override="127.0.0.1"`).

The clients of google.cloud.aiplatform_v1 (and v1beta1) that a program makes itself go by gRPC unless they are told
otherwise, and to the address that they are given. Here they go by REST, which needs no second connection. One that asks
for gRPC by name, and the asynchronous ones, go to the emulator's port for gRPC, in plain text.

TensorFlow's client of Cloud Storage can only be led by a proxy: where TensorFlow is imported, and nowhere else.

Against Google the SDK speaks gRPC, whose errors are separate classes: FailedPrecondition is a BadRequest over REST,
and Aborted a Conflict. Programs catch the former, and so does the SDK itself, which writes an experiment's run again
when another has changed it meanwhile. So errors of the emulator become what they would be by gRPC.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

INITIALIZER = "google.cloud.aiplatform.initializer"
SESSIONS = "google.auth.transport.requests"
ERRORS = "google.api_core.exceptions"
TENSORFLOW = "tensorflow"
CLIENTS = re.compile(
    r"google\.cloud\.(?:aiplatform_v1(?:beta1)?\.services\.\w+|resourcemanager_v3\.services\.projects)\.client"
)
GRPC_TRANSPORTS = re.compile(r"google\.cloud\.aiplatform_v1(?:beta1)?\.services\.\w+\.transports\.grpc(_asyncio)?")
HOST = re.compile(r"(?:https://)?(?:(?:[a-z0-9-]+-)?aiplatform|cloudresourcemanager)\.googleapis\.com(?::443)?/?")
ADDRESS = "VERTEX_EMULATOR_URL"
GRPC_ADDRESS = "VERTEX_EMULATOR_GRPC"
# The proxy of runtime.google_front, and what it is trusted by.
FRONT, FRONT_CERTIFICATES = "VERTEX_EMULATOR_HTTPS_PROXY", "VERTEX_EMULATOR_CA_BUNDLE"
FILE_HOOK = "VERTEX_EMULATOR_GCS_HOOK"
GOOGLE = re.compile(r"https://(?:(?:[a-z0-9-]+-)?aiplatform\.googleapis\.com|127\.0\.0\.1|localhost)(?=/v1)")


def preset(config: Any) -> None:
    """Fill in the SDK's global configuration from the environment."""
    from google.auth.credentials import AnonymousCredentials

    config._api_endpoint = os.environ[ADDRESS]
    config._api_transport = "rest"
    config._credentials = AnonymousCredentials()
    config._project = os.environ.get("CLOUD_ML_PROJECT_ID")


def here(url: str) -> str:
    """Return where the emulator answers what is asked of Vertex AI; any other address as it is."""
    address = os.environ.get(ADDRESS)
    if address is None:
        return url
    dedicated = f"https://{address.partition('://')[2]}/"
    return f"{address}/{url[len(dedicated) :]}" if url.startswith(dedicated) else GOOGLE.sub(address, url)


# What gRPC tells apart and REST does not; each is a subclass of what it would be over REST.
BY_GRPC = {
    "ABORTED": "Aborted",
    "ALREADY_EXISTS": "AlreadyExists",
    "DEADLINE_EXCEEDED": "DeadlineExceeded",
    "FAILED_PRECONDITION": "FailedPrecondition",
    "INVALID_ARGUMENT": "InvalidArgument",
    "RESOURCE_EXHAUSTED": "ResourceExhausted",
}


def tell_errors_apart(module: Any) -> None:
    """Let an answer that is an error become the exception that it would be by gRPC."""
    over_rest = module.from_http_response

    def from_http_response(response: Any) -> Any:
        error = over_rest(response)
        try:
            told = response.json()["error"]
            kind, message = BY_GRPC[told["status"]], told["message"]
        except (KeyError, TypeError, ValueError):
            return error
        # Without the request's address before the message: the SDK reads etags from its beginning.
        return getattr(module, kind)(message, errors=error.errors, details=error.details, response=response)

    module.from_http_response = from_http_response


def redirect(session: Any) -> None:
    """Let requests to Vertex AI of a class of sessions go to the emulator."""
    request = session.request

    def redirected(self: Any, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        return request(self, method, here(url), *arguments, **options)

    session.request = redirected


def lead_clients(module: Any) -> None:
    """Let a client that is to go to Vertex AI go to the emulator, by REST unless another transport is asked for."""
    for kind in list(vars(module).values()):
        transports = getattr(kind, "_transport_registry", None)
        # The metaclass of the client has them; the client shows them, too.
        if transports is not None and issubclass(kind, type):
            transports.move_to_end("rest", last=False)
            _lead(transports["rest"])


def _lead(transport: Any) -> None:
    begin = transport.__init__

    def led(self: Any, *, host: str = "aiplatform.googleapis.com", **options: Any) -> None:
        begin(self, host=os.environ.get(ADDRESS, host) if HOST.fullmatch(host) else host, **options)

    transport.__init__ = led


def lead_grpc(module: Any) -> None:
    """Let a transport that is to go to Vertex AI go to the emulator's port for gRPC."""
    is_asynchronous = module.__name__.endswith("_asyncio")
    name = "GrpcAsyncIOTransport" if is_asynchronous else "GrpcTransport"
    channels = module.aio if is_asynchronous else module.grpc
    for kind in list(vars(module).values()):
        if isinstance(kind, type) and kind.__module__ == module.__name__ and kind.__name__.endswith(name):
            _lead_grpc(kind, channels)


def _lead_grpc(transport: Any, channels: Any) -> None:
    begin = transport.__init__

    def led(self: Any, *, host: str = "aiplatform.googleapis.com", channel: Any = None, **options: Any) -> None:
        address = os.environ.get(GRPC_ADDRESS)
        if address and channel is None and (HOST.fullmatch(host) or host == os.environ.get(ADDRESS)):
            unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
            channel = channels.insecure_channel(address, options=unlimited)
            host = address
        begin(self, host=host, channel=channel, **options)

    transport.__init__ = led


def lead_tensorflow(_: Any) -> None:
    """Let `gs://` of TensorFlow lead to the emulator: its libcurl asks a proxy, and trusts what that answers with."""
    if FRONT in os.environ:
        os.environ["https_proxy"] = os.environ[FRONT]
        os.environ["CURL_CA_BUNDLE"] = os.environ[FRONT_CERTIFICATES]


# What is done to a module as soon as it is loaded.
CHANGES: Mapping[str, Callable[[Any], None]] = {
    INITIALIZER: lambda module: preset(module.global_config),
    SESSIONS: lambda module: redirect(module.AuthorizedSession),
    ERRORS: tell_errors_apart,
    TENSORFLOW: lead_tensorflow,
}


def _change_of(name: str) -> Callable[[Any], None]:
    if CLIENTS.fullmatch(name):
        return lead_clients
    return lead_grpc if GRPC_TRANSPORTS.fullmatch(name) else CHANGES[name]


def _is_changed(name: str) -> bool:
    return name in CHANGES or any(kind.fullmatch(name) for kind in (CLIENTS, GRPC_TRANSPORTS))


class _Changed(Loader):
    """Loads a module as usual, and then changes it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        if ADDRESS in os.environ:
            _change_of(module.__name__)(module)


class _Finder(MetaPathFinder):
    """Finds the modules that are to be changed, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not _is_changed(fullname):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Changed(spec.loader)
        return spec


def install() -> None:
    """Change what is loaded already, and the rest when it will be."""
    sys.meta_path.insert(0, _Finder())
    for name in filter(_is_changed, list(sys.modules)):
        _change_of(name)(sys.modules[name])


def load_file_hook() -> None:
    """Let Python's own functions find /gcs, in jobs on a machine that gives them no mount."""
    path = os.environ.get(FILE_HOOK)
    # A daemon may outlive what the emulator has put there.
    if path is not None and os.path.isfile(path):  # noqa: PTH113  (pathlib would keep the functions as they are)
        with open(path, encoding="utf-8") as source:  # noqa: PTH123
            code = compile(source.read(), path, "exec")
        exec(code, {"__name__": "vertex_emulator_gcs_hook", "__file__": path})  # noqa: S102


load_file_hook()
if ADDRESS in os.environ:
    install()
