"""Taking secrets out of what is shown or stored: a command, a value that somebody wrote in the wrong place."""

from __future__ import annotations

import re

# What follows such a word in a command is not for everybody who may read the bucket, nor is who logs in to an address.
_SECRET = re.compile(r"(?i)((?:password|passwd|secret|token|api[_-]?key|credential)\w*[= ])\S+")
_LOGIN = re.compile(r"://[^/@\s]+@")


def redact_secrets(text: str) -> str:
    """Return `text` with `***` for what looks like a secret."""
    return redact_logins(_SECRET.sub(r"\1***", text))


def redact_logins(text: str) -> str:
    """Return `text` with `***` for who logs in to the addresses in it."""
    return _LOGIN.sub("://***@", text)


def holds_login(address: str) -> bool:
    """Say whether an address such as https://NAME:PASSWORD@HOST tells who logs in."""
    return bool(_LOGIN.search(address))
