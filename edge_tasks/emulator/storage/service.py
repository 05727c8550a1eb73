"""Cloud Storage as the emulator starts and ends it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from edge_tasks.emulator.http.server import make_server
from edge_tasks.emulator.storage import takeover
from edge_tasks.emulator.storage.application import StorageApplication
from edge_tasks.emulator.storage.contents import Contents
from edge_tasks.emulator.storage.index import Index

FOLDER = "cloud-storage"


class StorageService:
    """The service over one data folder."""

    def __init__(self, data: Path) -> None:
        takeover.take_over(data, data / FOLDER)
        self._contents, self._index = open_folder(data / FOLDER)
        self.application = StorageApplication(self._index, self._contents)
        self._server = make_server(self.application)
        self._serving: asyncio.Task[None] | None = None

    def start(self, listener: Any) -> None:
        """Begin to answer on a listening socket."""
        self._serving = asyncio.ensure_future(self._server.serve(sockets=[listener]))

    async def tidy(self) -> None:
        """Remove what an earlier process has left."""
        await self.application.tidy()

    async def close(self) -> None:
        """Answer what was asked, and end."""
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving
        self._contents.close()
        self._index.close()


def open_folder(folder: Path) -> tuple[Contents, Index]:
    """Open, or make, the folder of the service."""
    (folder / "contents").mkdir(parents=True, exist_ok=True)
    contents = Contents(folder / "contents")
    return contents, Index(folder / "index.sqlite3", contents)
