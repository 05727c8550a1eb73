"""Objects in a bucket: every call of google.cloud.storage to them, each with the same limits.

Errors are Google's own; callers say with `sdk_errors` what they were about to do.
https://cloud.google.com/storage/docs/request-preconditions
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

# As many as the client keeps open.
CONNECTIONS = 8

_FIELDS = "items(name,generation,size,metadata,timeCreated),nextPageToken"
_NAMES = "items(name),nextPageToken"


class StoredObject:
    """What is known of an object without reading it. Every write gives it another `generation`."""

    def __init__(self, blob: Any) -> None:
        self._blob = blob
        self.name = str(blob.name)
        self.metadata: Mapping[str, str] = blob.metadata or {}

    @property
    def generation(self) -> int:
        """Which version of the object this is."""
        return int(self._blob.generation or 0)

    @property
    def size(self) -> int:
        """The bytes of its content."""
        return int(self._blob.size or 0)

    @property
    def created(self) -> datetime:
        """When this version was written. It is read when it is asked for, since that costs the most in a long list."""
        return cast("datetime", self._blob.time_created)


class Bucket:
    """The objects of one bucket. `limits` are the `retry` and `timeout` of every call."""

    def __init__(self, bucket: Any, limits: Mapping[str, Any]):
        self._bucket = bucket
        self._limits = dict(limits)

    @property
    def name(self) -> str:
        """The bucket's name."""
        return str(self._bucket.name)

    def exists(self, name: str) -> bool:
        """Say whether there is such an object."""
        return bool(self._bucket.blob(name).exists(**self._limits))

    def look(self, name: str) -> StoredObject | None:
        """Return what is known of an object, or None when there is none."""
        blob = self._bucket.get_blob(name, **self._limits)
        return None if blob is None else StoredObject(blob)

    def list(self, prefix: str, *, first: str = "", most: int | None = None) -> Iterator[StoredObject]:
        """Yield the objects whose names begin with `prefix`, by name; with `first` from that name on."""
        found = self._bucket.list_blobs(
            prefix=prefix or None, start_offset=first or None, max_results=most, fields=_FIELDS, **self._limits
        )
        yield from map(StoredObject, found)

    def names(self, prefix: str) -> Iterator[str]:
        """Yield the names of the objects that begin with `prefix`, by name: a tenth of what `list` has to move."""
        for blob in self._bucket.list_blobs(prefix=prefix or None, fields=_NAMES, **self._limits):
            yield str(blob.name)

    def read(self, name: str, start: int = 0) -> bytes:
        """Return the content of an object from byte `start` on."""
        return self.read_versioned(name, start)[0]

    def read_versioned(self, name: str, start: int = 0) -> tuple[bytes, int]:
        """Return the content of an object from byte `start` on, and its generation."""
        blob = self._bucket.blob(name)
        content: bytes = blob.download_as_bytes(start=start or None, single_shot_download=True, **self._limits)
        return content, int(blob.generation or 0)

    def download(self, name: str, path: Path) -> None:
        """Write the content of an object into the file `path`."""
        self._bucket.blob(name).download_to_filename(str(path), **self._limits)

    def write(
        self,
        name: str,
        content: bytes | str | Path,
        *,
        content_type: str = "application/octet-stream",
        generation: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> int:
        """Write an object, from memory or from a file; return its generation.

        With `generation` only over that one; 0 is none at all. Otherwise it raises PreconditionFailed.
        """
        blob = self._bucket.blob(name)
        if metadata is not None:
            blob.metadata = dict(metadata)
        limits = {**self._limits, "if_generation_match": generation}
        if isinstance(content, Path):
            blob.upload_from_filename(str(content), **limits)
        else:
            blob.upload_from_string(content, content_type=content_type, **limits)
        return int(blob.generation)

    def set_metadata(self, name: str, metadata: Mapping[str, str], generation: int) -> None:
        """Set the custom metadata of that generation of an object. Raises PreconditionFailed when it is another."""
        blob = self._bucket.blob(name)
        blob.metadata = dict(metadata)
        blob.patch(if_generation_match=generation, **self._limits)

    def delete(self, name: str, generation: int | None = None) -> None:
        """Delete an object; with a generation only that one."""
        self._bucket.blob(name).delete(if_generation_match=generation, **self._limits)

    def download_many(self, files: Mapping[Path, str]) -> None:
        """Write objects into files, whose folders exist, several at a time."""
        from google.cloud.storage import transfer_manager

        transfer_manager.download_many(
            [(self._bucket.blob(name), str(path)) for path, name in files.items()],
            download_kwargs=self._limits,
            worker_type=transfer_manager.THREAD,
            max_workers=CONNECTIONS,
            raise_exception=True,
        )
