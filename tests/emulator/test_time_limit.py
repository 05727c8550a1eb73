"""What is waited for with a limit: too long is an error, and a cancelled task stops."""

from __future__ import annotations

import asyncio

import pytest

from edge_tasks.emulator.time_limit import time_limit, to_the_end


async def limited(seconds: float, event: asyncio.Future[None]) -> str:
    async with time_limit(seconds):
        await event
    return "continued"


def test_what_takes_too_long_is_an_error() -> None:
    async def scene() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await limited(0.01, asyncio.get_running_loop().create_future())

    asyncio.run(scene())


def test_a_cancellation_in_the_moment_of_the_end_is_not_forgotten() -> None:
    async def scene() -> None:
        event = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(limited(60, event))
        await asyncio.sleep(0)
        event.set_result(None)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scene())


def test_what_must_not_be_half_done_is_waited_for_however_often_the_wait_is_cancelled() -> None:
    async def scene() -> None:
        work: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(to_the_end(work))
        for _ in range(2):
            await asyncio.sleep(0)
            waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        work.set_result("done")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await to_the_end(work) == "done"

    asyncio.run(scene())
