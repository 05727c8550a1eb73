"""Bodies of two parts, metadata and content, as a multipart upload has them: RFC 2387.

https://cloud.google.com/storage/docs/uploading-objects-from-memory
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from email.message import Message

from edge_tasks.emulator.storage.errors import invalid
from edge_tasks.emulator.storage.request import Body

LONGEST_METADATA = 1 << 20


def boundary_of(content_type: str) -> bytes:
    """Return what separates the parts of a body."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if not content_type.startswith("multipart/") or not boundary:
        raise invalid("The body must be of a multipart type, and name its boundary.")
    # Google's command line quotes it with apostrophes, which Google takes for quotes.
    return boundary.strip("'").encode("latin-1", "replace")


class Parts:
    """Reads the parts in their order, the last one as a stream."""

    def __init__(self, body: Body, content_type: str) -> None:
        self._pieces = body.pieces()
        self._delimiter = b"--" + boundary_of(content_type)
        self._waiting = b""

    async def first(self) -> bytes:
        """Return the content of the first part."""
        before = await self._until(self._delimiter)
        if before is None:
            raise invalid("The body has no parts.")
        while b"\n" not in self._waiting and await self._more():
            pass
        # Lines end with CRLF; gcsfs ends them with LF. The one before a delimiter belongs to it.
        ending = b"\n" if self._waiting.partition(b"\n")[0].rstrip(b" \t") == b"" else b"\r\n"
        self._delimiter = ending + self._delimiter
        await self._header()
        content = await self._until(self._delimiter)
        if content is None:
            raise invalid("The body must have two parts: metadata and content.")
        return content

    async def content_type(self) -> str | None:
        """Read the header of the second part, and return its content type."""
        found = re.search(rb"(?im)^content-type:[ \t]*([^\r\n]*)", await self._header())
        return found and found.group(1).decode("latin-1").strip()

    async def content(self) -> AsyncIterator[bytes]:
        """Yield the content of the second part, piece by piece."""
        kept = len(self._delimiter) - 1
        while True:
            end = self._waiting.find(self._delimiter)
            if end >= 0:
                if end:
                    yield self._waiting[:end]
                break
            ready = len(self._waiting) - kept
            if ready > 0:
                piece, self._waiting = self._waiting[:ready], self._waiting[ready:]
                yield piece
            if not await self._more():
                raise invalid("The body ends before its last part does.")
        async for _ in self._pieces:
            pass

    async def _header(self) -> bytes:
        """Return the header of a part."""
        while True:
            for end in (b"\r\n\r\n", b"\n\n"):
                at = self._waiting.find(end)
                if at >= 0:
                    header, self._waiting = self._waiting[:at], self._waiting[at + len(end) :]
                    return header
            if len(self._waiting) > LONGEST_METADATA or not await self._more():
                raise invalid("A part of the body has no header.")

    async def _until(self, delimiter: bytes) -> bytes | None:
        while True:
            at = self._waiting.find(delimiter)
            if at >= 0:
                before, self._waiting = self._waiting[:at], self._waiting[at + len(delimiter) :]
                return before
            if len(self._waiting) > LONGEST_METADATA or not await self._more():
                return None

    async def _more(self) -> bool:
        async for piece in self._pieces:
            self._waiting += piece
            return True
        return False
