"""Leading the Google clients of a running Python, such as a notebook's kernel, to where the repository's target is.

    from edge_tasks.local import connect

    connect()

`eval "$(invoke local.env)"` does so for programs that a shell starts. A kernel runs already, so its clients are changed
in it. With target `local` nothing goes to Google then: Vertex AI and Cloud Storage are the emulator's, credentials are
nobody's, and requests by google-auth to other services of Google's are refused.

A notebook that does not say so is led, too: IPython runs scripts/kernel_startup.py, which the wheel puts into
etc/ipython/startup of its environment, and that calls `guard`.
https://ipython.readthedocs.io/en/stable/interactive/tutorial.html#startup-files
"""

from __future__ import annotations

import gc
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from edge_tasks.cloud.client import client_environment, on_google_cloud
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.errors import CloudError, ConfigError
from edge_tasks.repo.edge_yaml import find_root, load_config

_HOOK = "vertex_emulator_sdk_patch"
_ADDRESS = "VERTEX_EMULATOR_URL"
_GOOGLE = re.compile(r"(?:^|\.)googleapis\.com$")

# Where the classes of clients are defined whose instances would still go to Google.
_CLIENT_MODULES = re.compile(
    r"google\.cloud\.(?:storage\.client|aiplatform_v1(?:beta1)?\.services\.\w+\.(?:async_)?client)"
)

# What talks to Google begins with one of these, and all of them import google.auth.
_CLIENTS = re.compile(r"google\.(?:cloud|api_core|auth|genai|oauth2)(?:$|\.)")
_AUTH = "google.auth"

# What a person has set for Google itself.
_OTHERS = ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_QUOTA_PROJECT")


@dataclass(frozen=True)
class Connection:
    """Where the Google clients of this process go now; what to give to `aiplatform.init`."""

    target: str
    project: str
    region: str
    bucket: str
    root: Path

    @property
    def staging_bucket(self) -> str:
        """The bucket as the SDK wants it: gs://NAME."""
        return f"gs://{self.bucket}"


def connect(folder: Path | str | None = None) -> Connection:
    """Lead the Google clients of this process to the target of the repository around `folder` (default: where it runs).

    With target `local` the servers are started when they do not run. It may be called again, such as after
    `invoke local.stop`. Raises CloudError when clients were made before that go to Google, or when the target was
    `local` before and is `gcp` now.
    """
    root = find_root(Path(folder) if folder is not None else None)
    config = load_config(root)
    place = config.google_cloud_project
    connection = Connection(config.target, place.project_id, place.region, config.storage_bucket.bucket_name, root)
    if on_google_cloud(config):
        if _ADDRESS in os.environ:
            raise CloudError("this process's clients go to the emulator, and the target is gcp", "restart the kernel")
        os.environ.update(client_environment(config, root))
        return connection
    if made := _made_before():
        raise CloudError(
            f"a client was made before connect(), and goes to Google: {made}", "restart the kernel, and connect first"
        )
    _lead(config, root)
    _keep_from_google(place.project_id)
    return connection


def guard() -> None:
    """Have the first import of a Google client in this process do what `connect` does, where the target is `local`.

    Where edge.yaml cannot be read, or the servers do not start, that import fails: it would lead to Google.
    """
    if not any(isinstance(finder, _Guard) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Guard())


class _Guard(MetaPathFinder):
    """Sees the first of Google's packages be imported, by which everything else is led before it is loaded."""

    def __init__(self) -> None:
        self._project: str | None = None  # that of the emulator, once clients are led there

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not _CLIENTS.match(fullname):
            return None
        if self._project is None:
            try:
                root = find_root()
            except ConfigError:
                return None  # no repository here
            config = load_config(root)
            if on_google_cloud(config):
                return None
            _lead(config, root)
            self._project = config.google_cloud_project.project_id
            if _AUTH in sys.modules:
                _keep_from_google(self._project)
            sys.stderr.write(f"> target local: Google's clients of this kernel go to the emulator of {root}\n")
        if fullname != _AUTH:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Kept(spec.loader, self._project)
        return spec


class _Kept(Loader):
    """Loads google-auth as usual, and then keeps it from Google."""

    def __init__(self, loader: Loader, project: str) -> None:
        self._loader, self._project = loader, project

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        # As Python does it a moment later: google.auth's own modules, which the next line loads, look for it there.
        sys.modules["google"].auth = module  # type: ignore[attr-defined]
        _keep_from_google(self._project)


def _lead(config: EdgeConfig, root: Path) -> None:
    """Start the servers, and set what leads Google's clients to them, here and in programs that this one starts."""
    variables = client_environment(config, root)
    hook_folder = variables.pop("PYTHONPATH")
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if hook_folder not in before:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [hook_folder, *before]))
    os.environ.update({**variables, "GOOGLE_CLOUD_PROJECT": config.google_cloud_project.project_id})
    for name in _OTHERS:
        os.environ.pop(name, None)
    hook = _loaded_hook() or _load_hook(Path(hook_folder))
    sdk = sys.modules.get(hook.INITIALIZER)
    if sdk is not None:
        hook.preset(sdk.global_config)


def _made_before() -> str:
    """Return the name of a class of which there is a client that goes to Google; empty when there is none."""
    for one in gc.get_objects():
        kind = type(one)
        if _CLIENT_MODULES.fullmatch(str(kind.__module__)) and kind.__name__.endswith("Client"):
            connection = getattr(one, "_connection", None)
            transport = getattr(one, "_transport", None)
            address = getattr(connection, "API_BASE_URL", "") or getattr(transport, "_host", "")
            if _is_google(str(address)):
                return f"{kind.__module__}.{kind.__name__}"
    return ""


def _is_google(address: str) -> bool:
    host = urlsplit(address if "://" in address else f"https://{address}").hostname or ""
    return bool(_GOOGLE.search(host))


def _loaded_hook() -> ModuleType | None:
    """Return the hook that is loaded already: by `connect`, or as `local.env` has it loaded."""
    loaded = (sys.modules.get(name) for name in (_HOOK, "sitecustomize"))
    return next((module for module in loaded if hasattr(module, "INITIALIZER")), None)


def _load_hook(folder: Path) -> ModuleType:
    """Load the emulator's hook, by its path, as the pytest plugin does; loading it is enough."""
    spec = importlib.util.spec_from_file_location(_HOOK, folder / "sitecustomize.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_HOOK] = module
    spec.loader.exec_module(module)
    return module


def _keep_from_google(project: str) -> None:
    """Let google-auth find nobody's credentials, and its sessions refuse what would go to Google."""
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.auth.transport.requests import AuthorizedSession

    def default(*_: Any, **__: Any) -> tuple[Any, str]:
        return AnonymousCredentials(), project

    google.auth.default = default
    if getattr(AuthorizedSession.request, "stays_here", False):
        return
    request = AuthorizedSession.request

    def staying_here(self: Any, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        hook = _loaded_hook()
        if _is_google(hook.here(url) if hook else url):
            raise CloudError(
                f"the target is local, and the emulator has no {urlsplit(url).hostname}: nothing was sent",
                "for Google Cloud: invoke init --target gcp, then restart the kernel",
            )
        return request(self, method, url, *arguments, **options)

    staying_here.stays_here = True  # type: ignore[attr-defined]
    AuthorizedSession.request = staying_here
