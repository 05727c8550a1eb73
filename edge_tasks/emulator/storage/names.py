"""Which names buckets and objects may have.

https://cloud.google.com/storage/docs/buckets#naming, https://cloud.google.com/storage/docs/objects#naming
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

from edge_tasks.emulator.storage.errors import StorageError, invalid

LONGEST_OBJECT_NAME = 1024
BUCKET = re.compile(
    r"[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]|(?=.{3,222}$)[a-z0-9][a-z0-9_-]{0,62}(\.[a-z0-9_-]{1,63})+(?<=[a-z0-9])"
)
ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")


def check_bucket(name: object) -> str:
    """Return a name that a new bucket may have."""
    if not isinstance(name, str) or not BUCKET.fullmatch(name) or ADDRESS.fullmatch(name) or name.startswith("goog"):
        raise StorageError(400, "invalid", f"Invalid bucket name: '{str(name)[:100]}'")
    return name


def check_object(name: object) -> str:
    """Return a name that an object may have. Slashes and dots mean nothing here: no name is ever a path."""
    if not isinstance(name, str) or not name:
        raise StorageError(400, "required", "Required object name is missing.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise _bad_object(name) from None
    if size > LONGEST_OBJECT_NAME:
        raise invalid(
            f"The specified object name is too long: {size} bytes, at most {LONGEST_OBJECT_NAME} are possible."
        )
    if name in {".", ".."} or "\r" in name or "\n" in name or name.startswith(".well-known/acme-challenge/"):
        raise _bad_object(name)
    return name


def unquoted(part: str) -> str:
    """Return a part of a path, or a value of a query, as text; one that is not UTF-8 is refused."""
    if "%" not in part:
        return part
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise invalid(f"The name {part[:200]!r} is not UTF-8.") from None


def quoted(name: str) -> str:
    """Return a name as part of a path."""
    return quote(name, safe="")


def after_all_with(prefix: str) -> str | None:
    """Return the smallest text behind every text that begins with `prefix`, by code points; None when there is none."""
    while prefix:
        last = ord(prefix[-1])
        prefix = prefix[:-1]
        if last < 0x10FFFF:
            following = last + 1
            # Surrogates are not characters.
            return prefix + chr(0xE000 if 0xD800 <= following <= 0xDFFF else following)
    return None


def _bad_object(name: str) -> StorageError:
    return invalid(f"Disallowed unicode characters present in object name {name[:200]!r}")
