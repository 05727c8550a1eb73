"""The HTTP client to model servers, against servers that answer in their own ways."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from edge_tasks.emulator.serving.connection import Answer, Pool, ServerGoneError

T = TypeVar("T")


def asked(reply: bytes, ask: Callable[[Pool], Awaitable[T]]) -> T:
    """Serve a reply to every request, close the connection after it, and return what asking gave."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()

    async def run() -> T:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            pool = Pool(server.sockets[0].getsockname()[1])
            try:
                return await ask(pool)
            finally:
                pool.close()

    return asyncio.run(run())


async def whole(pool: Pool) -> Answer:
    return await pool.request("POST", "/predict", b"", "application/json")


async def pieces(pool: Pool) -> bytes:
    stream = await pool.stream("/predict", b"", "application/json", limit=5)
    try:
        return b"".join([piece async for piece in stream.chunks()])
    finally:
        stream.close()


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    reply = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it"
    assert asked(reply, whole) == Answer(200, "text/plain", b"all of it")
    assert asked(reply, pieces) == b"all of it"


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"no HTTP at all\r\n\r\n"])
def test_an_answer_that_breaks_off_is_none(reply: bytes) -> None:
    for ask in (whole, pieces):
        with pytest.raises(ServerGoneError):
            asked(reply, ask)


def test_a_large_answer_comes_whole_however_slowly_it_is_taken() -> None:
    body = bytes(range(256)) * 8192
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def slowly(pool: Pool) -> bytes:
        stream = await pool.stream("/predict", b"", "application/json", limit=5)
        taken = b""
        async for piece in stream.chunks():
            taken += piece
            await asyncio.sleep(0)
        stream.close()
        return taken

    assert asked(reply, slowly) == body
