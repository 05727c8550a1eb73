"""Keys that customers supply: https://cloud.google.com/storage/docs/encryption/customer-supplied-keys.

An object is readable only with its key, as at Google; what lies on this machine's disk is not encrypted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping

from edge_tasks.emulator.storage.errors import StorageError
from edge_tasks.emulator.storage.tables import Object

HEADERS = "x-goog-encryption-"
SOURCE_HEADERS = "x-goog-copy-source-encryption-"
KEY_BYTES = 32


def key_of(headers: Mapping[str, str], prefix: str = HEADERS) -> str | None:
    """Return the SHA-256 (base64) of the key that a request carries; None when it carries none."""
    algorithm, key = headers.get(f"{prefix}algorithm"), headers.get(f"{prefix}key")
    if algorithm is None and key is None:
        return None
    if algorithm != "AES256":
        raise _wrong("customerEncryptionAlgorithmIsInvalid", "Missing an encryption algorithm, or it is not AES256.")
    try:
        raw = base64.b64decode(key or "", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise _wrong("customerEncryptionKeyFormatIsInvalid", "The encryption key must be 32 bytes in base64.")
    found = base64.b64encode(hashlib.sha256(raw).digest()).decode()
    if headers.get(f"{prefix}key-sha256", found) != found:
        raise _wrong("customerEncryptionKeySha256IsInvalid", "The SHA-256 that was sent is not that of the key.")
    return found


def of(row: Object) -> str | None:
    """Return the SHA-256 of the key of an object; None when it has none."""
    found = row.properties.get("customerEncryption")
    return str(found["keySha256"]) if found else None


def check(row: Object, key: str | None) -> None:
    """Refuse to read an object with another key than its own."""
    needed = of(row)
    if needed == key:
        return
    if key is None:
        reason = "resourceIsEncryptedWithCustomerEncryptionKey"
        raise _wrong(reason, "The target object is encrypted by a customer-supplied encryption key.")
    if needed is None:
        reason = "resourceNotEncryptedWithCustomerEncryptionKey"
        raise _wrong(reason, "The target object is not encrypted by a customer-supplied encryption key.")
    raise _wrong("customerEncryptionKeyIsIncorrect", "The provided encryption key is incorrect.")


def property_of(key: str | None) -> dict[str, dict[str, str]]:
    """Return what the resource of an object tells of its key."""
    return {} if key is None else {"customerEncryption": {"encryptionAlgorithm": "AES256", "keySha256": key}}


def _wrong(reason: str, message: str) -> StorageError:
    return StorageError(400, reason, message)
