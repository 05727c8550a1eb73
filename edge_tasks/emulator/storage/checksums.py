"""The two checksums of an object: https://cloud.google.com/storage/docs/data-validation."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping

import google_crc32c

from edge_tasks.emulator.storage.errors import StorageError, invalid


class Checksums:
    """MD5 and CRC32C of a content, as it comes."""

    def __init__(self) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = 0

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        self.size += len(data)
        self._md5.update(data)
        self._crc32c = google_crc32c.extend(self._crc32c, data)

    @property
    def md5(self) -> str:
        """The MD5 of what has come, in base64."""
        return base64.b64encode(self._md5.digest()).decode()

    @property
    def crc32c(self) -> str:
        """The CRC32C of what has come: four bytes, big-endian, in base64."""
        return base64.b64encode(self._crc32c.to_bytes(4, "big")).decode()


def announced(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the checksums that a client announces in its headers (`x-goog-hash`, `Content-MD5`), by their field."""
    found: dict[str, str] = {}
    for part in headers.get("x-goog-hash", "").split(","):
        kind, _, value = part.strip().partition("=")
        if kind == "md5":
            found["md5Hash"] = value
        elif kind == "crc32c":
            found["crc32c"] = value
        elif part.strip():
            raise invalid(f"Unknown kind of checksum in x-goog-hash: {kind[:100]!r}.")
    if "content-md5" in headers:
        found["md5Hash"] = headers["content-md5"]
    return found


def check(claimed: Mapping[str, str], md5: str | None, crc32c: str) -> None:
    """Refuse a content whose checksums are not the claimed ones; `md5` is None where there is none."""
    for name, field, found in (("MD5", "md5Hash", md5), ("CRC32C", "crc32c", crc32c)):
        value = claimed.get(field)
        if value is None or found is None or _bytes(name, value) == base64.b64decode(found):
            continue
        message = f'Provided {name} hash "{value}" doesn\'t match calculated {name} hash "{found}".'
        raise StorageError(400, "invalid", message)


def _bytes(name: str, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"Invalid {name} hash: {value[:100]!r} is not base64.") from None
