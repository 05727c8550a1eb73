"""What a connection says and is told, in HTTP/1.1: uvicorn's own, with a short way for predictions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge_tasks.emulator.http.exchange import Connection

if TYPE_CHECKING:
    from edge_tasks.emulator.http.exchange import Reply
    from edge_tasks.emulator.serving.loan import Given

# Bytes of a request that is held until it is there as a whole.
MOST_HELD = 64 * 1024
# How many requests in a row have to be alike before a connection is lent.
FEWEST_ALIKE, MOST_ALIKE = 8, 1024
_END = b"\r\n\r\n"
_IDENTITY = re.compile(rb"(?i)\r\nTransfer-Encoding:[ \t]*identity(?=\r\n|$)")
_CHUNKED = re.compile(rb"(?i)\r\nTransfer-Encoding:[ \t]*chunked(?=\r\n|$)")
_LENGTH = re.compile(rb"(?i)\r\nContent-Length:[ \t]*(\d{0,18})[^\r\n]*")
_OFFER = re.compile(rb"(?i)\r\nUpgrade:[ \t]*h2c(?=\r\n|$)")


class _Transport:
    """A transport that writes the head of an answer together with its body: the client is woken once, not twice."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        """Do the rest as the transport does."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or keep the head of an answer whose length is known: its body is written next."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and b"content-length: " in data:
            self._head = data
            return
        self._transport.write(data)

    def write_whole(self, answer: bytes) -> None:
        """Write head and body of an answer."""
        self._transport.write(answer)

    def flush(self) -> None:
        """Write a head that no body has followed."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close when everything is written."""
        self.flush()
        self._transport.close()


class _Exchange:
    """A request that has come in one piece, and what uvicorn asks of the exchange that a connection is in."""

    __slots__ = ("body", "disconnected", "keep_alive", "response_complete")

    def __init__(self) -> None:
        self.body = b""
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    @property
    def message_event(self) -> _Exchange:
        """What is set when something happens that nobody waits for here."""
        return self

    def set(self) -> None:
        """Do nothing."""


class Protocol(HttpToolsProtocol):
    """uvicorn's, but for what is asked often, and for headers that httptools has trouble with.

    A request that is there as a whole is answered by the application's `answer_whole`, if it has one and takes it so:
    what ASGI is for, bodies and answers in pieces, costs a short prediction a tenth of its time. A client that sends
    the head and the body of a small request one after the other is waited for. When several requests of a connection
    were alike, the answer may tell where to lend it: until it comes back, nothing is read here.

    Java's own client offers HTTP/2 with its first request, which a server may ignore; the body would be taken for
    another protocol's. TensorFlow names the encoding `identity`, which is none, for bodies that are empty, and a length
    of bodies in chunks, which have none (RFC 9112, 6.3).
    """

    _whole: _Exchange | None = None
    _is_whole = False
    # The beginning of a request whose rest is to come.
    _held = b""
    # What the heads of the last requests were, but for the length, and how many have had it in a row.
    _frame: tuple[bytes, bytes] | None = None
    _alike = 0
    # How many have to be alike: more where a loan was of no use.
    _patience = FEWEST_ALIKE
    _lent: Connection | None = None
    # The answer to the next request, which the model has given while the connection was lent.
    _given: Given | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._writer = _Transport(transport)
        super().connection_made(self._writer)  # type: ignore[arg-type]

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._lent is not None:
            self._lent.when_closed()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._writer.flush()
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        """Take what has come; without these headers, if it is the beginning of a request."""
        if self.cycle is None or self.cycle.response_complete:
            data, self._held = self._held + data, b""
            head, end, rest = data.partition(_END)
            cleaned = _cleaned(head) if end else head
            if cleaned != head:
                data = cleaned + end + rest
            elif end:
                missing = self._missing(head, len(rest))
                if missing > 0 and missing + len(data) <= MOST_HELD and self._waits_for_whole(head):
                    self._held = data
                    return
                self._is_whole = missing == 0
        super().data_received(data)
        self._is_whole = False

    def on_headers_complete(self) -> None:
        """Begin an exchange."""
        if self._is_whole and self._takes_whole():
            self._whole = self.cycle = _Exchange()  # type: ignore[assignment]
        else:
            self._alike = 0
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        if self._whole is None:
            super().on_body(body)
        else:
            self._whole.body += body

    def on_message_complete(self) -> None:
        """Answer a request that is there as a whole."""
        if self._whole is None:
            super().on_message_complete()
            return
        exchange, self._whole = self._whole, None
        task = self.loop.create_task(self._answer(exchange, self.url, self.headers))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _missing(self, head: bytes, there: int) -> int:
        """Return how many bytes of a request's body have not come; note whether its head is that of the last one."""
        found = _LENGTH.search(head)
        if found is None or not found.group(1):
            self._alike = 0
            return -there if found is None else -1
        frame = (head[: found.start(1)], head[found.end(1) :])
        missing = int(found.group(1)) - there
        if missing <= 0:
            self._alike = self._alike + 1 if frame == self._frame else 1
            self._frame = frame
        return missing

    def _waits_for_whole(self, head: bytes) -> bool:
        """Say whether a request is held until its body is there: not one that waits for a word before it."""
        method, _, rest = head.partition(b" ")
        takes = getattr(self.app, "answers_whole", None)
        return takes is not None and takes(method, rest.partition(b" ")[0]) and b"100-continue" not in head.lower()

    def _takes_whole(self) -> bool:
        """Say whether nothing but an answer is asked for: not that the connection ends, nor a word before the body."""
        takes = getattr(self.app, "answers_whole", None)
        return (
            takes is not None
            and takes(self.parser.get_method(), self.url)
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
        )

    async def _answer(self, exchange: _Exchange, url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        given, self._given = self._given, None
        reply = await self.app.answer_whole(url, headers, exchange.body, given)
        if self.flow.write_paused:
            await self.flow.drain()
        if exchange.disconnected:
            return
        self._writer.write_whole(self.app.written(reply))
        exchange.response_complete = True
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()
        latest: Any = self.cycle
        # Nothing else was asked meanwhile.
        if latest is exchange and not self.transport.is_closing():
            self._lend(reply)

    def _lend(self, reply: Reply) -> None:
        """Let somebody else answer what is like the last requests, if these were enough, and somebody wants to."""
        if reply.lend is None or self._frame is None or self._alike < self._patience:
            return
        before, after = self._frame
        descriptor = self.transport.get_extra_info("socket").fileno()
        connection = Connection(descriptor, before, after + _END, self.app.head(reply), self._come_back)
        self.transport.pause_reading()
        if reply.lend(connection):
            self._lent = connection
            self._unset_keepalive_if_required()
        else:
            self._be_patient()
            self.transport.resume_reading()

    def _come_back(self, given: Given | None, answered: bool, broke_off: bool) -> None:
        """Read requests here again."""
        self._lent = None
        if self.transport.is_closing():
            return
        if broke_off:
            self.transport.close()
            return
        self._given = given
        self._alike = 0
        if answered:
            self._patience = FEWEST_ALIKE
        else:
            self._be_patient()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        self.transport.resume_reading()

    def _be_patient(self) -> None:
        self._alike = 0
        self._patience = min(2 * self._patience, MOST_ALIKE)


def _cleaned(head: bytes) -> bytes:
    """Return a request's head without the headers that httptools has trouble with."""
    if b"h2c" in head:
        return _OFFER.sub(b"", head)
    if b"identity" not in head and b"chunked" not in head:
        return head
    head = _IDENTITY.sub(b"", head)
    return _LENGTH.sub(b"", head) if _CHUNKED.search(head) else head
