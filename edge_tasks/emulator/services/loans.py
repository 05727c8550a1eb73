"""Connections that model servers answer by themselves: which may be lent, until when, and what is counted of them.

A client that sends one prediction after the other is answered by two processes, the emulator and the model's. When all
that is said of such requests is the same each time, the connection is lent to the model's: see `serving.borrowed`. It
comes back when anything is written that could change an answer, so that no request is answered as things were before.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_tasks.emulator.services.request_counts import EDGES, Answers
from edge_tasks.emulator.serving.loan import Counts, Terms

if TYPE_CHECKING:
    from edge_tasks.emulator.clock import Clock
    from edge_tasks.emulator.http.exchange import Connection
    from edge_tasks.emulator.services.request_counts import RequestCounts
    from edge_tasks.emulator.serving.loan import Given, Loan
    from edge_tasks.emulator.serving.model_server import ModelServer
    from edge_tasks.emulator.store.database import Database

# Seconds between two looks at what is lent; how many of them a request may wait, and a connection may be idle.
SECONDS_TO_LOOK = 1.0
LOOKS_TO_WAIT, LOOKS_TO_BE_IDLE = 2, 3
NOTHING = Counts(0.0, 0.0, (0,) * (len(EDGES) + 1))
# What the answers of an endpoint depend on.
_CONCERNING = ("/endpoints/", "/modelDeploymentMonitoringJobs/")


@dataclass
class _Lent:
    """A loan: of which connection, who answers on it, and what was counted of that so far.

    A connection that was recalled is here until its server knows it, and has counted its last answer.
    """

    connection: Connection
    endpoint: str
    deployed_model_id: str
    counted: Counts = NOTHING
    looks: int = 0
    is_recalled: bool = False


class Loans:
    """All connections that are lent."""

    def __init__(self, database: Database, clock: Clock, counts: RequestCounts) -> None:
        self._lent: dict[Loan, _Lent] = {}
        self._clock = clock
        self._counts = counts
        self._looked = clock.seconds()
        self._timer: asyncio.TimerHandle | None = None
        database.when_written(self._written)
        counts.when_asked(self._count)
        # What was answered before the clock was moved belongs to the time before.
        clock.when_moved(lambda: self._count(self._looked))

    def lend(
        self,
        connection: Connection,
        fields: frozenset[str],
        members: bytes,
        endpoint: str,
        deployed_model_id: str,
        server: ModelServer,
    ) -> bool:
        """Lend a connection to the server of a deployed model; False when it takes none.

        `fields` are those that a request may have, `members` what an answer has after those of the model.
        """
        terms = Terms(connection.before, connection.after, fields, connection.answer_head, members, EDGES)
        loan = server.lend(connection.descriptor, terms, self._ended)
        if loan is None:
            return False
        self._lent[loan] = _Lent(connection, endpoint, deployed_model_id)
        connection.when_closed = lambda: self._recall(loan)
        if self._timer is None:
            self._look()
        return True

    def recall(self) -> None:
        """Take all connections back."""
        for loan in list(self._lent):
            self._recall(loan)

    def _written(self, name: str) -> None:
        if self._lent and any(part in name for part in _CONCERNING):
            self.recall()

    def _recall(self, loan: Loan) -> None:
        lent = self._lent.get(loan)
        if lent is not None and not lent.is_recalled:
            lent.is_recalled = True
            loan.recall()
            lent.connection.come_back(None, any(loan.counts().buckets), False)

    def _ended(self, loan: Loan, given: Given | None) -> None:
        lent = self._lent.pop(loan)
        self._add(lent, loan.counts(), self._clock.seconds())
        if not lent.is_recalled:
            lent.connection.come_back(given, any(lent.counted.buckets), loan.broke_off)

    # -- counts --

    def _count(self, moment: float | None = None) -> None:
        """Count what was answered since the last time."""
        for loan, lent in self._lent.items():
            self._add(lent, loan.counts(), self._clock.seconds() if moment is None else moment)

    def _add(self, lent: _Lent, counts: Counts, moment: float) -> None:
        before, lent.counted = lent.counted, counts
        buckets = {
            number: now - then
            for number, (now, then) in enumerate(zip(counts.buckets, before.buckets, strict=True))
            if now > then
        }
        if buckets:
            lent.looks = 0
            answers = Answers(
                sum(buckets.values()), counts.total - before.total, counts.squares - before.squares, buckets
            )
            self._counts.take(lent.endpoint, lent.deployed_model_id, 200, moment, answers)

    # -- looks --

    def _look(self) -> None:
        """Count, and take back what is of no use: a request that waits, since the server is stuck; idle ones."""
        self._timer = None
        self._count()
        self._looked = self._clock.seconds()
        for loan, lent in list(self._lent.items()):
            lent.looks += 1
            if lent.is_recalled:
                continue
            if lent.looks > (LOOKS_TO_WAIT if _waits(lent.connection.descriptor) else LOOKS_TO_BE_IDLE):
                self._recall(loan)
        if self._lent:
            self._timer = asyncio.get_running_loop().call_later(SECONDS_TO_LOOK, self._look)


def _waits(descriptor: int) -> bool:
    """Say whether something lies in a socket: https://man7.org/linux/man-pages/man7/tcp.7.html, SIOCINQ."""
    waiting = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
    return waiting[0] > 0
