"""Refusals in the form of Cloud Storage: https://cloud.google.com/storage/docs/json_api/v1/status-codes."""

from __future__ import annotations

import errno
import sqlite3
from typing import Any

FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StorageError(Exception):
    """A request that is refused: status and reason of the JSON API, and a message for people."""

    def __init__(self, status: int, reason: str, message: str, *, location: tuple[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        # Which part of the request is wrong: its kind ("parameter" or "header") and its name.
        self.location = location

    def body(self) -> dict[str, Any]:
        """Return the body of the answer."""
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        if self.location is not None:
            detail["locationType"], detail["location"] = self.location
        return {"error": {"code": self.status, "message": self.message, "errors": [detail]}}


def invalid(message: str) -> StorageError:
    """Return the error for a request that is wrong by itself."""
    return StorageError(400, "invalid", message)


def wrong_parameter(name: str, value: object) -> StorageError:
    """Return the error for a query parameter that cannot be read."""
    return StorageError(
        400, "invalidParameter", f"Invalid value for {name}: {value!r:.100}", location=("parameter", name)
    )


def required(message: str) -> StorageError:
    """Return the error for something that is missing from the request."""
    return StorageError(400, "required", message)


def no_bucket() -> StorageError:
    """Return the error for a bucket that does not exist."""
    return StorageError(404, "notFound", "The specified bucket does not exist.")


def no_object(bucket: str, name: str) -> StorageError:
    """Return the error for an object, or a version of it, that does not exist."""
    return StorageError(404, "notFound", f"No such object: {bucket}/{name}")


def condition_not_met(header: str = "If-Match") -> StorageError:
    """Return the error for a precondition that does not hold."""
    message = "At least one of the pre-conditions you specified did not hold."
    return StorageError(412, "conditionNotMet", message, location=("header", header))


def not_modified() -> StorageError:
    """Return the answer to a reader who has the present version already."""
    return StorageError(304, "notModified", "Not Modified", location=("header", "If-None-Match"))


def forbidden(reason: str, message: str) -> StorageError:
    """Return the error for what the settings of a bucket or an object forbid."""
    return StorageError(403, reason, message)


def full_disk() -> StorageError:
    """Return the error for a disk without room. Clients do not repeat a request that is answered so."""
    message = "No space left on this machine's disk: nothing was changed. Free some space and repeat the request."
    return StorageError(507, "insufficientStorage", message)


def unimplemented(what: str) -> StorageError:
    """Return the error for what Cloud Storage does and this emulator does not."""
    return StorageError(501, "notImplemented", f"{what} is not implemented by this emulator.")


def is_full_disk(error: BaseException) -> bool:
    """Whether an error of the system means that the disk, or the quota, is full."""
    if isinstance(error, sqlite3.OperationalError):
        return "disk is full" in str(error)  # Python 3.10 has no sqlite_errorcode
    return isinstance(error, OSError) and error.errno in FULL_DISK
