"""Connections of clients that the emulator lends to a model server: one process less between a client and its model.

The emulator accepts a connection and answers its first requests. When they are all alike, it sends the socket here,
with the terms: what a request must look like, what goes around an answer. Whatever else comes, it gets back:

- A request stays in the socket until its answer is there. Who takes it out answers it: a server that dies, or a
  connection that is taken back, loses none.
- An answer that is not a prediction goes to the emulator, which says it in Google's words.
- What would take a thread, or is not there as a whole, is the emulator's.

A loan is a connection between the two, on a Unix socket next to that of the server; its end ends the loan.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import orjson

from edge_tasks.serving.http_protocol import Answer
from edge_tasks.serving.tally import Tally

# Bytes of a message, of a request with its head, and of what is read at once.
MOST_TERMS = 32 * 1024
_MOST = 32 * 1024
# Seconds until the rest of a request is looked for, at first and at last: clients send its body after its head.
_SHORTEST_WAIT, _LONGEST_WAIT = 0.001, 0.1
# Bytes for which a socket has room when nothing is unsent.
_SURELY_TAKEN = 4096
# What is in an answer besides the ids.
_OF_ANSWERS = ("predictions", "metadata")


def address(path: str) -> str:
    """Return the socket for loans of a server that listens on the Unix socket `path`."""
    return f"{path}.loans"


class Terms(NamedTuple):
    """What is lent: requests with one head but for their length, whose answers have the same head and the same end.

    `edges` are those of the tally's buckets.
    """

    # Of the request's head, to the digits of its length, and from there on.
    before: bytes
    after: bytes
    # The fields that the body may have.
    fields: frozenset[str]
    # Of the answer: its head to the digits of its length, and the members that follow the model's.
    head: bytes
    members: bytes
    edges: tuple[float, ...]

    def packed(self) -> bytes:
        """Return them as they are sent."""
        texts = (self.before, self.after, self.head, self.members)
        return orjson.dumps([[text.decode("latin-1") for text in texts], sorted(self.fields), self.edges])

    @classmethod
    def unpacked(cls, data: bytes) -> Terms:
        """Return what was sent."""
        texts, fields, edges = orjson.loads(data)
        before, after, head, members = (text.encode("latin-1") for text in texts)
        return cls(before, after, frozenset(fields), head, members, tuple(edges))

    def request(self, data: bytes) -> tuple[int, bytes] | None:
        """Return the length of the request that data begin with, and its body; None when it is another one.

        A request that is longer than the data has not come as a whole.
        """
        if not data.startswith(self.before):
            return (len(data) + 1, b"") if self.before.startswith(data) else None
        end = data.find(b"\r", len(self.before))
        digits = data[len(self.before) : end]
        if end < 0:
            return len(data) + 1, b""
        if not digits.isdigit() or len(digits) > len(str(_MOST)):
            return None
        if not data.startswith(self.after, end):
            return (len(data) + 1, b"") if self.after.startswith(data[end:]) else None
        begin = end + len(self.after)
        size = begin + int(digits)
        return (size, data[begin:size]) if size <= _MOST else None

    def accept(self, body: bytes) -> bool:
        """Say whether a body is that of a prediction, so that nobody has to say what is wrong with it."""
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError:
            return False
        return (
            isinstance(request, dict) and isinstance(request.get("instances"), list) and request.keys() <= self.fields
        )

    def answer(self, answer: Answer) -> bytes | None:
        """Return an answer as it is written, head and body; None for one that is not a prediction."""
        if answer.status != 200:
            return None
        try:
            reply = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(reply, dict) or not isinstance(reply.get("predictions"), list):
            return None
        body = orjson.dumps({name: reply[name] for name in _OF_ANSWERS if name in reply})[:-1] + self.members
        return b"%s%d\r\n\r\n%s" % (self.head, len(body), body)


class Given(NamedTuple):
    """An answer that is not a prediction, and the milliseconds that it took: the emulator has to say it."""

    answer: Answer
    milliseconds: float

    def packed(self) -> bytes:
        """Return it as it is sent."""
        return orjson.dumps([self.answer.status, self.answer.body.decode("latin-1"), self.milliseconds])

    @classmethod
    def unpacked(cls, data: bytes) -> Given | None:
        """Return what was sent; None when nothing, or not all of it, has come."""
        try:
            status, body, milliseconds = orjson.loads(data)
        except ValueError:
            return None
        return cls(Answer(status, body.encode("latin-1")), milliseconds)


class Server(Protocol):
    """What answers: `edge_tasks.serving.server.ModelServer`."""

    def answer_at_once(self, bodies: Sequence[bytes]) -> list[Answer] | None:
        """Answer requests in this thread; None when that would keep others waiting."""


class Borrower:
    """Takes loans for a server, and answers on the connections that it has."""

    def __init__(self, server: Server, path: str) -> None:
        """`path` is the Unix socket of the server itself."""
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._borrowed: set[_Borrowed] = set()
        self._ready: list[tuple[_Borrowed, int, bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(address(path))
        self._listener.listen(1024)
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Take nothing more, and give all back."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for one in list(self._borrowed):
            one.give_back()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            channel, _ = self._listener.accept()
            channel.setblocking(False)
            self._loop.add_reader(channel, self._receive, channel)

    def _receive(self, channel: socket.socket) -> None:
        """Begin a loan: the first message has the terms and both descriptors."""
        self._loop.remove_reader(channel)
        descriptors: list[int] = []
        try:
            message, descriptors, _, _ = socket.recv_fds(channel, MOST_TERMS, 2)
            terms, page = Terms.unpacked(message), descriptors.pop()
            try:
                tally = Tally(page, terms.edges)
            finally:
                os.close(page)
            connection = socket.socket(fileno=descriptors[0])
        except (OSError, ValueError, IndexError):
            for descriptor in descriptors:
                os.close(descriptor)
            channel.close()
            return
        connection.set_inheritable(False)
        self._borrowed.add(_Borrowed(self, self._loop, channel, connection, terms, tally))

    def answer(self, one: _Borrowed, size: int, body: bytes) -> None:
        """Answer a request, with those of other connections that are there in the same moment."""
        if len(self._borrowed) == 1:
            self._answer([(one, size, body)])
            return
        if not self._ready:
            self._loop.call_soon(self._answer_ready)
        self._ready.append((one, size, body))

    def forget(self, one: _Borrowed) -> None:
        """Have one connection less."""
        self._borrowed.discard(one)

    def _answer_ready(self) -> None:
        ready, self._ready = self._ready, []
        self._answer([each for each in ready if each[0].is_lent])

    def _answer(self, asked: list[tuple[_Borrowed, int, bytes]]) -> None:
        started = time.perf_counter()
        answers = self._server.answer_at_once([body for _, _, body in asked]) if asked else []
        if answers is None:
            for one, _, _ in asked:
                one.give_back()
            return
        milliseconds = 1000 * (time.perf_counter() - started)
        for (one, size, _), answer in zip(asked, answers, strict=True):
            one.finish(size, answer, milliseconds)


class _Borrowed:
    """One client's connection, as long as it is lent."""

    def __init__(
        self,
        owner: Borrower,
        loop: asyncio.AbstractEventLoop,
        channel: socket.socket,
        connection: socket.socket,
        terms: Terms,
        tally: Tally,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._channel = channel
        self._connection = connection
        self._terms = terms
        self._tally = tally
        self._wait = _SHORTEST_WAIT
        self._asks = False
        self._unsent = b""
        self._waits_for_room = False
        self.is_lent = True
        # Whatever comes from the lender is the end.
        loop.add_reader(channel, self.give_back)
        loop.add_reader(connection, self._look)

    def give_back(self) -> None:
        """End the loan: what is in the socket is the lender's. Half an answer is written to its end."""
        if not self.is_lent:
            return
        self.is_lent = False
        self._owner.forget(self)
        self._loop.remove_reader(self._channel)
        self._loop.remove_reader(self._connection)
        if not self._unsent:
            self._close()

    def _close(self) -> None:
        self._connection.close()
        self._tally.close()
        # Last: the lender reads again when it sees this.
        self._channel.close()

    def _look(self) -> None:
        """See what has come, and leave it in the socket."""
        if self._asks:
            return
        try:
            data = self._connection.recv(_MOST, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        request = self._terms.request(data) if data and self._tally.is_open else None
        if request is None:
            self.give_back()
            return
        size, body = request
        if size > len(data):
            self._look_later()
            return
        self._wait = _SHORTEST_WAIT
        if not self._terms.accept(body):
            self.give_back()
            return
        self._asks = True
        self._owner.answer(self, size, body)

    def _look_later(self) -> None:
        """Let the rest of a request come: the socket would say all the time that there is something."""
        if self._wait > _LONGEST_WAIT:
            self.give_back()
            return
        self._loop.remove_reader(self._connection)
        self._loop.call_later(self._wait, self._look_again)
        self._wait *= 2

    def _look_again(self) -> None:
        if self.is_lent:
            self._loop.add_reader(self._connection, self._look)

    def finish(self, size: int, answer: Answer, milliseconds: float) -> None:
        """Write the answer to the request that lies in the socket, if nobody has taken it."""
        self._asks = False
        if not self.is_lent or not self._tally.is_open:
            self.give_back()
            return
        written = self._terms.answer(answer)
        if written is None:
            with contextlib.suppress(OSError):
                self._channel.send(Given(answer, milliseconds).packed())
            self.give_back()
            return
        self._tally.is_writing = True
        if not self._take(size):
            self._tally.is_writing = False
            self.give_back()
            return
        self._tally.add(milliseconds)
        self._unsent = written
        self._send()

    def _take(self, size: int) -> bool:
        """Take a request out of the socket; whether it was still there."""
        try:
            return len(self._connection.recv(size)) == size
        except OSError:
            return False

    def _send(self) -> None:
        """Write what is left of an answer: now, or when there is room."""
        # Not after it: the client, woken by a small answer, may run before this process does, and end it.
        self._tally.is_writing = len(self._unsent) > _SURELY_TAKEN
        try:
            self._unsent = self._unsent[self._connection.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            # Nobody is there to read it.
            self._unsent = b""
        self._tally.is_writing = bool(self._unsent)
        if not self._unsent:
            self._stop_waiting()
        elif not self._waits_for_room:
            self._waits_for_room = True
            self._loop.remove_reader(self._connection)
            self._loop.add_writer(self._connection, self._send)

    def _stop_waiting(self) -> None:
        if not self._waits_for_room:
            return
        self._waits_for_room = False
        self._loop.remove_writer(self._connection)
        if self.is_lent:
            self._loop.add_reader(self._connection, self._look)
        else:
            self._close()
