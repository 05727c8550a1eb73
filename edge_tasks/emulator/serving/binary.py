"""Binary values in instances: `{"b64": "..."}` stands for bytes, as TensorFlow Serving and TorchServe read it."""

from __future__ import annotations

import base64
from typing import Any


def decoded(instance: Any) -> Any:
    """Return an instance in which bytes are bytes, at the top and one level below it."""
    if not isinstance(instance, dict):
        return instance
    if list(instance) == ["b64"]:
        return base64.b64decode(instance["b64"])
    return {name: decoded(value) if _is_binary(value) else value for name, value in instance.items()}


def _is_binary(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"]
