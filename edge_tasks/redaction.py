"""Taking secrets out of what is shown or stored: a command, a value that somebody wrote in the wrong place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# What follows such a word in a command is not for everybody who may read the bucket, nor is who logs in to an address.
_SECRET = re.compile(r"(?i)((?:password|passwd|secret|token|api[_-]?key|credential)\w*[= ])\S+")
_LOGIN = re.compile(r"://[^/@\s]+@")


# Names of parameters whose value is nobody's business, each between the ends of words: `token`, not `max_tokens`.
_SECRET_NAME = re.compile(
    r"(?i)(?:^|[_.-])(?:password|passwd|passphrase|secret|token|credentials?|(?:api|access|private|secret)[_-]?key)$"
)

HIDDEN = "***"


def secret_names(values: Mapping[str, Any], above: str = "") -> list[str]:
    """Return the dotted names of those values that hold a secret by their names: texts that are not empty."""
    found = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += secret_names(value, f"{above}{name}.")
        elif _is_secret(name, value):
            found.append(f"{above}{name}")
    return found


def hide_secrets(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with `***` for those that hold a secret by their names."""
    return {
        name: hide_secrets(value) if isinstance(value, Mapping) else HIDDEN if _is_secret(name, value) else value
        for name, value in values.items()
    }


def _is_secret(name: Any, value: Any) -> bool:
    return isinstance(value, str) and bool(value) and bool(_SECRET_NAME.search(str(name)))


def redact_secrets(text: str) -> str:
    """Return `text` with `***` for what looks like a secret."""
    return redact_logins(_SECRET.sub(r"\1***", text))


def redact_logins(text: str) -> str:
    """Return `text` with `***` for who logs in to the addresses in it."""
    return _LOGIN.sub("://***@", text)


def holds_login(address: str) -> bool:
    """Say whether an address such as https://NAME:PASSWORD@HOST tells who logs in."""
    return bool(_LOGIN.search(address))
