"""What a job sees below /gcs, where Vertex AI mounts the buckets with Cloud Storage FUSE.

A process of this machine gets its own mount (`gcs_mount`), where the machine allows that: Linux, FUSE and a mount
namespace. Elsewhere, and in containers, there is a folder: what the job's command and variables name below /gcs is
copied into it before the job starts, what a job's Python asks for is fetched by `gcs_hook`, and what the job has
written there is uploaded when it ends.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edge_tasks.emulator.runtime.bucket import Location, Storage, safe_join

if TYPE_CHECKING:
    from collections.abc import Iterator

# A path below /gcs, in an argument or inside a shell command.
GCS_PATH = re.compile(r"(?<![\w./-])/gcs/([a-z0-9][\w.-]*)(/[^\s\"'`;&|<>()$]*)?")
URI = re.compile(r"gs://([a-z0-9][\w.-]*)")
HERE = Path(__file__).parent
SECONDS_TO_TRY = 20
# A user who does not want mounts, and tests, set this to anything.
NO_MOUNT = "VERTEX_EMULATOR_NO_MOUNT"
# The time of a file that `gcs_hook` has fetched, as long as nothing has changed it.
AS_FETCHED = 0


class GcsMount:
    """The mount that each job gets for itself, where this machine allows one."""

    def __init__(self, storage_url: str) -> None:
        self._command = [sys.executable, "-I", "-S", str(HERE / "gcs_mount.py"), storage_url]
        self._refusal: str | None = None

    def refusal(self) -> str:
        """Return why there can be no mount, in a few words; nothing when there can. This blocks once."""
        if os.environ.get(NO_MOUNT):
            return f"{NO_MOUNT} is set"
        if self._refusal is None:
            with tempfile.TemporaryDirectory() as folder:
                self._refusal = self._try(folder)
        return self._refusal

    def given(self, root: Path, words: list[str]) -> list[str]:
        """Return a command that runs another one with /gcs."""
        return [*self._command, str(root), *words]

    def _try(self, folder: str) -> str:
        try:
            done = subprocess.run(
                [*self._command, folder],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS_TO_TRY,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return (done.stderr.strip().splitlines() or ["no mount can be made"])[-1] if done.returncode else ""


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

    def hook(self, refusal: str) -> dict[str, str]:
        """Return the variables that make a Python fetch what it asks for below /gcs; `refusal` is told with errors."""
        return {
            "VERTEX_EMULATOR_GCS": str(self.path),
            "VERTEX_EMULATOR_GCS_REASON": refusal,
            "VERTEX_EMULATOR_GCS_HOOK": str(HERE / "gcs_hook.py"),
        }

    @staticmethod
    def moved(text: str, mount: str) -> str:
        """Return a text in which /gcs is somewhere else."""
        return GCS_PATH.sub(lambda match: f"{mount}/{match.group(1)}{match.group(2) or ''}", text)

    def upload_changes(self) -> int:
        """Upload the files that are new or have changed, and return how many there were. This blocks."""
        changed = [path for path, state in self._files() if self._fetched.get(path) != state and state[0] != AS_FETCHED]
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
