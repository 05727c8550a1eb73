"""Reading and changing the shared state in the bucket: one lock, and compare-and-swap on the object's generation.

The lock is an object that is created only if it does not exist; it names its holder by a random token. A change costs
six requests: make the lock, read the state, look at the lock, write the state, look at the lock, remove it. It is
renewed while it is held (its metadata say when), so that a lock whose holder died can be told by its age.
https://cloud.google.com/storage/docs/request-preconditions
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.cloud.object_lock import ObjectLock, now
from edge_tasks.domain.state import Change, EdgeState, differences, dump_state, parse_state
from edge_tasks.errors import EdgeError, StateError, StateLockedError
from edge_tasks.redaction import redact_secrets
from edge_tasks.repo.layout import LOCK_OBJECT, STATE_OBJECT
from edge_tasks.tools import process
from edge_tasks.tools.signals import defer_signals
from edge_tasks.tools.user import user_name

# Seconds. A lock that was not renewed for STALE_AGE belongs to a holder that died or lost its network.
RENEW_INTERVAL = 15.0
STALE_AGE = 60.0

# Seconds between two looks at somebody else's lock, each time another number: nobody keeps coming too late.
_WAIT_INTERVAL = (0.1, 0.6)


@dataclass(frozen=True)
class LockHolder:
    """Who holds the lock. `token` tells our own lock from anybody else's."""

    owner: str
    host: str
    pid: int
    command: str
    created: str
    token: str
    machine: str = ""
    started: str = ""

    def describe(self, age: float) -> str:
        """Return one phrase for messages; `age` is the number of seconds since the lock was last renewed."""
        stale = f", no sign of life for {age:.0f} s" if age > STALE_AGE else ""
        return f"{self.owner} on {self.host} (process {self.pid}), `{self.command}`, since {self.created}{stale}"

    def is_gone(self) -> bool:
        """Say whether the holder was a process of this very machine that lives no more; of others nobody here knows."""
        if not self.started or self.machine != process.machine():
            return False
        return process.started(self.pid) != self.started


class StateStore:
    """The shared state of one repository."""

    def __init__(self, cloud: Cloud):
        self._cloud = cloud

    def load(self) -> EdgeState:
        """Return the state as it is now; an empty one when there is none yet."""
        return self._load()[0]

    def exists(self) -> bool:
        """Say whether there is a state, be it empty."""
        with sdk_errors("look for the shared state"):
            return self._cloud.objects.exists(STATE_OBJECT)

    def create(self) -> bool:
        """Write an empty state unless there is one. Returns whether it was written."""
        from google.api_core.exceptions import PreconditionFailed

        with sdk_errors("make the shared state"):
            try:
                self._upload(dump_state(EdgeState()), generation=0)
            except PreconditionFailed:
                return False
        return True

    @contextlib.contextmanager
    def locked(self, timeout: float = 0.0, tell: Callable[[str], None] = lambda _: None) -> Iterator[LockedState]:
        """Hold the lock for the block, which may change the state with `LockedState.save`.

        Waits at most `timeout` seconds for somebody else's lock, then raises StateLockedError that says who holds it.
        The lock of a process of this machine that was killed is taken over, of which `tell` is told.
        """
        with self._held(timeout, tell) as (renewal, mine):
            state, generation = self._load()
            yield LockedState(self, renewal, mine, state, generation)

    def raw(self) -> str:
        """Return the text of the state's object as it is, which may be broken. Raises StateError when there is none."""
        from google.api_core.exceptions import NotFound

        with sdk_errors("read the shared state"):
            try:
                return self._cloud.objects.read(STATE_OBJECT).decode(errors="replace")
            except NotFound:
                raise StateError("there is no shared state", "invoke init") from None

    def replace(self, text: str, timeout: float = 0.0, tell: Callable[[str], None] = lambda _: None) -> None:
        """Put the state that `text` holds in the place of the one that is there, which may be broken.

        Raises StateError when `text` is broken itself; else see `locked`.
        """
        from google.api_core.exceptions import NotFound

        state = parse_state(text)
        with self._held(timeout, tell) as (renewal, mine):
            with sdk_errors("read the shared state"):
                try:
                    generation = self._cloud.objects.read_versioned(STATE_OBJECT)[1]
                except NotFound:
                    generation = 0
            locked = LockedState(self, renewal, mine, state, generation)
            locked.save(state, ("replaced by what a person wrote",))

    @contextlib.contextmanager
    def _held(self, timeout: float, tell: Callable[[str], None]) -> Iterator[tuple[_Renewal, LockHolder]]:
        lock = ObjectLock(self._cloud.objects, LOCK_OBJECT)
        mine = _myself(lock.token)
        try:
            self._acquire(lock, mine, timeout, tell)
        except KeyboardInterrupt:
            _release(lock)  # it may have been ours already
            raise
        renewal = _Renewal(lock)
        try:
            yield renewal, mine
        except BaseException:
            with defer_signals(), contextlib.suppress(EdgeError):  # why the work failed is what is to be told
                renewal.stop()
                _release(lock)
            raise
        with defer_signals():
            renewal.stop()
            _release(lock)

    def holder(self) -> tuple[LockHolder, float] | None:
        """Return who holds the lock and the seconds since it was renewed, or None when nobody does."""
        found = self._read_lock()
        return (found[0], found[1]) if found else None

    def unlock(self) -> LockHolder | None:
        """Remove the lock, no matter who holds it. Returns the holder; None when there was no lock."""
        found = self._read_lock()
        if found is None:
            return None
        with sdk_errors("unlock the shared state"):
            ObjectLock(self._cloud.objects, LOCK_OBJECT).remove(found[2])
        return found[0]

    # -- the state's object --

    def _load(self) -> tuple[EdgeState, int]:
        from google.api_core.exceptions import NotFound

        with sdk_errors("read the shared state"):
            try:
                content, generation = self._cloud.objects.read_versioned(STATE_OBJECT)
            except NotFound:
                return EdgeState(), 0
        return parse_state(content.decode(errors="replace")), generation

    def _save(self, state: EdgeState, generation: int) -> int:
        from google.api_core.exceptions import PreconditionFailed

        text = dump_state(state)
        with sdk_errors("save the shared state"):
            try:
                return self._upload(text, generation)
            except PreconditionFailed:
                # The client repeats an upload whose answer was lost, and then meets its own first success.
                current, current_generation = self._load()
                if current == state:
                    return current_generation
        raise StateError(
            "somebody else changed the shared state meanwhile",
            "look at it, then try again: invoke state.show",
        )

    def _upload(self, text: str, generation: int) -> int:
        return self._cloud.objects.write(STATE_OBJECT, text, content_type="application/yaml", generation=generation)

    # -- the lock's object --

    def _acquire(self, lock: ObjectLock, mine: LockHolder, timeout: float, tell: Callable[[str], None]) -> None:
        deadline = time.monotonic() + timeout
        while not self._taken(lock, mine):
            found = self._read_lock()
            if found is not None and found[0].is_gone() and self._taken(lock, mine, replacing=found[2]):
                tell(f"took over the lock of a process that is gone: {found[0].describe(0.0)}")
                return
            if time.monotonic() < deadline:
                time.sleep(random.uniform(*_WAIT_INTERVAL))  # noqa: S311  not a secret
                continue
            if found is not None:  # else it was freed just now
                holder, age, _ = found
                raise StateLockedError(
                    f"the shared state is locked by {holder.describe(age)}",
                    "invoke state.unlock, if that process no longer lives"
                    if age > STALE_AGE
                    else "--lock-timeout 600 waits for that command, up to 10 minutes",
                )

    def _taken(self, lock: ObjectLock, mine: LockHolder, replacing: int = 0) -> bool:
        with sdk_errors("lock the shared state"):
            return lock.take(json.dumps(asdict(mine)).encode(), replacing)

    def _read_lock(self) -> tuple[LockHolder, float, int] | None:
        from google.api_core.exceptions import NotFound

        with sdk_errors("look at the lock of the shared state"):
            held = ObjectLock(self._cloud.objects, LOCK_OBJECT).held()
            if held is None:
                return None
            try:
                text = self._cloud.objects.read(LOCK_OBJECT)
            except NotFound:
                return None
        try:
            holder = LockHolder(**json.loads(text))
            readable = isinstance(holder.pid, int) and holder.pid >= 0
        except (ValueError, TypeError):
            readable = False
        if not readable:
            holder = LockHolder("somebody", "an unknown host", 0, "unknown", "an unknown time", "")
        return holder, held.age, held.generation


def _release(lock: ObjectLock) -> None:
    with sdk_errors("unlock the shared state"):
        lock.release()


class LockedState:
    """The state while its lock is held."""

    def __init__(self, store: StateStore, renewal: _Renewal, mine: LockHolder, state: EdgeState, generation: int):
        self._store = store
        self._renewal = renewal
        self._mine = mine
        self._generation = generation
        self.state = state

    def check(self) -> None:
        """Raise StateError when the lock was taken away: call it before every change of the world."""
        if not self._renewal.still_held():
            raise StateError(
                "the lock was removed while it was held, so nothing more was done",
                "look at what exists: invoke state.show --history",
            )

    def save(self, state: EdgeState, what: tuple[str, ...] = ()) -> None:
        """Write `state`, with a note of what changed: `what`, or else what is different.

        Raises StateError when lock or state was taken over meanwhile.
        """
        self.check()
        what = what or differences(self.state, state)
        if what:
            now = datetime.now(timezone.utc).replace(microsecond=0)
            state = state.with_change(Change(at=now, by=self._mine.owner, command=self._mine.command, what=what))
        with defer_signals():  # a state that was written, but not known to be, would look like somebody else's
            self._generation = self._store._save(state, self._generation)  # noqa: SLF001  the two halves of one thing
            self.state = state


class _Renewal:
    """A thread that renews a held lock; it notices when the lock is gone."""

    def __init__(self, lock: ObjectLock):
        self._lock = lock
        self._ended = threading.Event()
        self.lost = False
        self._thread = threading.Thread(target=self._run, name="lock-renewal", daemon=True)
        self._thread.start()

    def still_held(self) -> bool:
        with sdk_errors("look at the lock of the shared state"):
            self.lost = self.lost or not self._lock.is_held()
        return not self.lost

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._ended.wait(RENEW_INTERVAL):
            try:
                with sdk_errors("renew the lock of the shared state"):
                    self.lost = not self._lock.renew()
            except EdgeError:
                continue  # a network that comes and goes: the next renewal is soon
            if self.lost:
                return


def _myself(token: str) -> LockHolder:
    return LockHolder(
        owner=user_name(),
        host=socket.gethostname(),
        pid=os.getpid(),
        command=redact_secrets(" ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]]))[:200],  # noqa: PTH119
        created=now(),
        token=token,
        machine=process.machine(),
        started=process.started(os.getpid()) or "",
    )
