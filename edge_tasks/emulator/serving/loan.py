"""A client's connection that is lent to a model server; the other end, `edge_tasks.serving.borrowed`, says how."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

from edge_tasks.serving.borrowed import MOST_TERMS, Given, Terms, address
from edge_tasks.serving.tally import Counts, Tally

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Counts", "Given", "Loan", "Terms", "address", "lend"]


class Loan:
    """One loan. Its connection must not be read here before it ends, or is recalled."""

    def __init__(self, channel: socket.socket, tally: Tally, ended: Callable[[Loan, Given | None], None]) -> None:
        """Watch the channel: `ended` is called when the server gives the connection back, or has died."""
        self._channel = channel
        self._tally = tally
        self._ended = ended
        self._said = b""
        asyncio.get_running_loop().add_reader(channel, self._read)

    def counts(self) -> Counts:
        """Return what the server has answered on the connection."""
        return self._tally.read()

    @property
    def broke_off(self) -> bool:
        """Whether the server has ended while it wrote an answer: the client has at most a part of it."""
        return self._tally.is_writing

    def recall(self) -> None:
        """Take the connection back: it may be read at once, and `ended` is still called when the server knows.

        What the server is answering right now is answered once: by who takes the request out of the socket.
        """
        self._tally.end()
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)

    def _read(self) -> None:
        try:
            said = self._channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        self._said += said
        if not said:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
            self._ended(self, Given.unpacked(self._said))
            self._tally.close()


def lend(path: str, connection: int, terms: Terms, ended: Callable[[Loan, Given | None], None]) -> Loan | None:
    """Lend a connection, by its descriptor, to the server that listens on a Unix socket; None when it takes none."""
    message = terms.packed()
    if len(message) > MOST_TERMS:
        return None
    with contextlib.ExitStack() as on_failure:
        page = Tally.make_file()
        try:
            channel = on_failure.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            channel.setblocking(False)
            channel.connect(address(path))
            if socket.send_fds(channel, [message], [connection, page]) < len(message):
                return None
            tally = Tally(page, terms.edges)
        except OSError:
            return None
        finally:
            os.close(page)
        on_failure.pop_all()
    return Loan(channel, tally, ended)
