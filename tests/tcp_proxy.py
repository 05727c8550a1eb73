"""A network between two programs that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

from typing_extensions import Self


class TcpProxy:
    """Passes connections to 127.0.0.1:`port` on; while it is cut nothing answers at its own `port`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.port = 0
        self.mend()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    def cut(self) -> None:
        """Close every connection, and refuse new ones."""
        with self._lock:
            sockets, self._open = [*self._open, self._listener], set()
            self._listener = None
        for item in sockets:
            if item is not None:
                with contextlib.suppress(OSError):
                    item.shutdown(socket.SHUT_RDWR)
                item.close()

    def mend(self) -> None:
        """Accept connections again, at the same port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                inner, _ = listener.accept()
            except OSError:
                return
            outer = socket.socket()
            try:
                outer.connect(("127.0.0.1", self._target))
            except OSError:  # nobody is there: refuse it as well as can be
                inner.close()
                outer.close()
                continue
            with self._lock:
                cut = self._listener is not listener
                self._open |= set() if cut else {inner, outer}
            if cut:
                inner.close()
                outer.close()
                return
            for source, target in ((inner, outer), (outer, inner)):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
