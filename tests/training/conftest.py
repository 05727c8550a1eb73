"""What tests of trainings share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest


@pytest.fixture
def mongodb() -> Iterator[str]:
    """The address of a server that speaks MongoDB's protocol."""
    pytest.importorskip("mongoeco")
    from mongoeco.wire.proxy import AsyncMongoEcoProxyServer

    loop = asyncio.new_event_loop()
    server = AsyncMongoEcoProxyServer()
    address = loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield address.uri
    asyncio.run_coroutine_threadsafe(server.close(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
