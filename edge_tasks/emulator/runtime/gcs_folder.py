"""What a job sees below /gcs, where Vertex AI mounts the buckets with Cloud Storage FUSE.

There is no such mount here, but a folder: what the job's command and variables name below /gcs is copied into it
before the job starts, and what the job has written there is uploaded when it ends.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge_tasks.emulator.runtime.bucket import Location, Storage, safe_join

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A path below /gcs, in an argument or inside a shell command.
GCS_PATH = re.compile(r"(?<![\w./-])/gcs/([a-z0-9][\w.-]*)(/[^\s\"'`;&|<>()$]*)?")
URI = re.compile(r"gs://([a-z0-9][\w.-]*)")


class GcsFolder:
    """The folder of one replica."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self.path = path
        self._storage = storage
        # What was copied into the folder, by time and size.
        self._fetched: dict[Path, tuple[int, int]] = {}

    def fetch(self, texts: list[str]) -> bool:
        """Copy what the texts name below /gcs; return whether they name anything there. This blocks."""
        found = False
        for text in texts:
            for match in GCS_PATH.finditer(text):
                found = True
                self._fetch(match.group(1), (match.group(2) or "").strip("/"))
            for match in URI.finditer(text):
                # The program may write there by way of /gcs.
                (self.path / match.group(1)).mkdir(parents=True, exist_ok=True)
        self._fetched |= dict(self._files())
        return found

    @staticmethod
    def moved(text: str, mount: str) -> str:
        """Return a text in which /gcs is somewhere else."""
        return GCS_PATH.sub(lambda match: f"{mount}/{match.group(1)}{match.group(2) or ''}", text)

    def upload_changes(self) -> int:
        """Upload the files that are new or have changed, and return how many there were. This blocks."""
        changed = [path for path, state in self._files() if self._fetched.get(path) != state]
        for path in changed:
            bucket, _, name = path.relative_to(self.path).as_posix().partition("/")
            self._storage.upload(path, bucket, name)
        return len(changed)

    def _fetch(self, bucket: str, path: str) -> None:
        folder = self.path / bucket
        folder.mkdir(parents=True, exist_ok=True)
        target = safe_join(folder, path) if path else folder
        if not path or not self._storage.download(bucket, path, target):
            self._storage.download_folder(Location(bucket, path), target)
        # On a mount, a folder comes into being with the first file in it.
        target.parent.mkdir(parents=True, exist_ok=True)

    def _files(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        for path in self.path.rglob("*"):
            # A link may lead anywhere.
            if path.is_file() and not path.is_symlink() and path.parent != self.path:
                status = path.stat()
                yield path, (status.st_mtime_ns, status.st_size)
