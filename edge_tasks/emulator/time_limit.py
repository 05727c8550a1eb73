"""What is waited for, with a limit and to the end.

`async with time_limit(seconds)`: what takes longer is cancelled, and ends in asyncio.TimeoutError. `to_the_end(work)`
waits for what must not be left half done, also when the waiting task is cancelled.

asyncio.wait_for cannot do the former: before Python 3.12 it forgets that it was itself cancelled when what it waits for
is done in that moment, and the task that was to be stopped continues. https://github.com/python/cpython/issues/86296
"""

from __future__ import annotations

import asyncio
import sys
from typing import TypeVar

if sys.version_info >= (3, 11):
    from asyncio import timeout as time_limit
else:
    from async_timeout import timeout as time_limit

__all__ = ["time_limit", "to_the_end"]

Result = TypeVar("Result")


async def to_the_end(work: asyncio.Future[Result]) -> Result:
    """Wait for `work`, however often this task is cancelled meanwhile; the cancellation takes effect after that.

    asyncio.shield lets `work` continue, but no longer waits for it.
    """
    cancelled = False
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:  # noqa: PERF203  the loop is there for it
            cancelled = True
    if cancelled:
        # It is looked at, so that nobody complains that an error of it was not.
        work.exception()
        raise asyncio.CancelledError
    return work.result()
