"""Archives of PyTorch models (`model.mar`), by the contract of TorchServe's handlers.

https://github.com/pytorch/serve/blob/master/docs/custom_service.md

The handler is a class with `initialize(context)` and `handle(data, context)`, or a function, in a file of the archive.
TorchServe's own handlers, and base classes from `ts`, need the package torchserve. `data` is what TorchServe's JSON
envelope makes of a request: the list of instances.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from edge_tasks.emulator.serving.binary import decoded

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

FILE = "model.mar"
MANIFEST = "MAR-INF/MANIFEST.json"


class Context:
    """What a handler is told of its model."""

    def __init__(self, manifest: dict[str, Any], folder: Path) -> None:
        self.manifest = manifest
        self.model_name = manifest["model"].get("modelName", "model")
        self.system_properties = {
            "model_dir": str(folder),
            "gpu_id": None,
            "batch_size": 1,
            "server_name": "MMS",
            "server_version": "0",
            "limit_max_image_pixels": True,
        }
        self.model_yaml_config: dict[str, Any] = {}
        # Handlers of TorchServe measure themselves.
        self.metrics = _Metrics()
        self.request_ids = {0: "0"}

    def get_request_id(self, idx: int = 0) -> str:
        """Return the id of a request of a batch."""
        return self.request_ids.get(idx, "")

    def get_request_header(self, idx: int, key: str) -> None:
        """Return a header: there is none."""

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Leave the answer JSON: it becomes predictions."""


class _Metrics:
    """Takes every measurement."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def load(artifacts: Path) -> Callable[[Any, Any], Any]:
    """Unpack an archive, initialize its handler, and return the prediction function."""
    folder = _unpacked(artifacts)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    context = Context(manifest, folder)
    # The handler imports what lies next to it.
    sys.path.insert(0, str(folder))
    module_name, _, function_name = manifest["model"]["handler"].partition(":")
    module = _import(module_name, folder)
    initialize, handle = _entry(module, function_name or "handle")
    initialize(context)

    def predict(instances: list[Any], _: Any) -> list[Any]:
        if not instances:
            return []
        predictions = handle([decoded(instance) for instance in instances], context)
        if not isinstance(predictions, list) or len(predictions) != len(instances):
            raise ValueError(f"the handler must return a list of {len(instances)} predictions, one for each instance")
        return predictions

    return predict


def _unpacked(artifacts: Path) -> Path:
    """Return the folder with what the archive holds, next to the artifacts; all servers of a version share it."""
    folder = artifacts.absolute().with_suffix(".unpacked")
    if not folder.is_dir():
        new = Path(tempfile.mkdtemp(dir=folder.parent, suffix=folder.suffix))
        _unpack(artifacts / FILE, new)
        # Another server may have been quicker.
        with contextlib.suppress(OSError):
            new.rename(folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as mar:
        for name in mar.namelist():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name:
                raise ValueError(f"{FILE} would write outside its folder: {name}")
        mar.extractall(folder)


def _import(handler: str, folder: Path) -> ModuleType:
    name = handler.rpartition("/")[2].removesuffix(".py")
    if (folder / f"{name}.py").is_file():
        return importlib.import_module(name)
    try:
        return importlib.import_module(f"ts.torch_handler.{name}")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the handler {handler} is not in {FILE}, and as one of TorchServe's own it needs {error.name}."
            " Install it with: pip install torchserve"
        ) from error


def _entry(module: ModuleType, function_name: str) -> tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]:
    """Return how a handler is initialized and how it is asked."""
    function = getattr(module, function_name, None)
    if function is not None:
        # A function is initialized by a call without data.
        return lambda context: function(None, context), function
    own = [found for _, found in inspect.getmembers(module, inspect.isclass) if found.__module__ == module.__name__]
    if len(own) != 1:
        raise ValueError(f"the handler {module.__name__} must hold one class or a function `handle`")
    service: Any = own[0]()
    return service.initialize, service.handle
