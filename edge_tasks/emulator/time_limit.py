"""`async with time_limit(seconds)`: what takes longer is cancelled, and ends in asyncio.TimeoutError.

asyncio.wait_for cannot do it: before Python 3.12 it forgets that it was itself cancelled when what it waits for is
done in that moment, and the task that was to be stopped continues. https://github.com/python/cpython/issues/86296
"""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from asyncio import timeout as time_limit
else:
    from async_timeout import timeout as time_limit

__all__ = ["time_limit"]
