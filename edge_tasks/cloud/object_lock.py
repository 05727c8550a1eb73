"""A lock in the bucket: an object that of several processes one alone can make, for the state's lock and for claims.

It is known by a random token, and says in its metadata when its holder was last seen to live.
https://cloud.google.com/storage/docs/request-preconditions
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from edge_tasks.cloud.bucket import Bucket, StoredObject
from edge_tasks.cloud.client import CALL_TIMEOUT, Cloud, sdk_errors
from edge_tasks.errors import CloudError, EdgeError
from edge_tasks.tools.signals import defer_signals

# Seconds after which the holder of a claim must be dead: longer than the request that it holds the claim for.
STALE_AGE = CALL_TIMEOUT + 15.0

# Seconds that several holders of a claim, one after another, are waited for.
_LIMIT = 3 * STALE_AGE

# Seconds between two tries, each time another number: nobody keeps coming too late.
_PAUSE = (0.1, 0.4)


@dataclass(frozen=True)
class Held:
    """A lock that somebody holds: whose it is, the generation of its object, and the seconds since a sign of life."""

    token: str
    generation: int
    age: float


class ObjectLock:
    """One process's hand on the lock `name`. Errors are Google's own, as `Bucket`'s are."""

    def __init__(self, bucket: Bucket, name: str):
        self._bucket = bucket
        self._name = name
        self.token = secrets.token_hex(8)

    def take(self, content: bytes, replacing: int = 0) -> bool:
        """Make the lock's object unless there is one (but the generation `replacing`); say whether it is ours."""
        from google.api_core.exceptions import PreconditionFailed

        # Who goes away before the answer may look for the lock, and remove it, before the server has made it.
        with defer_signals():
            try:
                self._bucket.write(
                    self._name,
                    content,
                    content_type="application/json",
                    generation=replacing,
                    metadata=self._signs_of_life(),
                )
            except PreconditionFailed:
                # The client repeats an upload whose answer was lost, and then meets its own first success.
                return self.is_held()
        return True

    def held(self) -> Held | None:
        """Return who holds the lock, or None when nobody does."""
        found = self._bucket.look(self._name)
        return None if found is None else Held(found.metadata.get("token", ""), found.generation, _age(found))

    def is_held(self) -> bool:
        """Say whether this process holds the lock."""
        return self._own() is not None

    def renew(self) -> bool:
        """Say in the lock that its holder lives. False when the lock is gone or somebody else's."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        own = self._own()
        if own is None:
            return False
        try:
            self._bucket.set_metadata(self._name, self._signs_of_life(), own.generation)
        except (NotFound, PreconditionFailed):
            return False
        return True

    def release(self) -> None:
        """Remove the lock if this process holds it."""
        # Not every server checks the generation on delete, so look first: never remove somebody else's.
        own = self._own()
        if own is not None:
            self.remove(own.generation)

    def remove(self, generation: int) -> None:
        """Remove that generation of the lock, no matter who holds it; one that is gone is not an error."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        with contextlib.suppress(NotFound, PreconditionFailed):
            self._bucket.delete(self._name, generation)

    def _own(self) -> Held | None:
        found = self.held()
        return found if found is not None and found.token == self.token else None

    def _signs_of_life(self) -> dict[str, str]:
        """Return the metadata of the lock, which one request reads: whose it is, and when that was last said."""
        return {"token": self.token, "renewed": now()}


@contextlib.contextmanager
def claimed(cloud: Cloud, name: str) -> Iterator[None]:
    """Hold the claim `name` (of an object) for the block, which must be short: it is not renewed.

    A claim is a lock that is held for a few requests, and taken over from a holder that died with it. Waits for
    another holder. Raises CloudError when there are still others after minutes.
    """
    lock = ObjectLock(cloud.objects, name)
    try:
        _take(cloud, lock, name)
        yield
    finally:
        # What is not removed now is stale soon.
        with contextlib.suppress(EdgeError), sdk_errors(f"remove gs://{cloud.bucket_name}/{name}"):
            lock.release()


def _take(cloud: Cloud, lock: ObjectLock, name: str) -> None:
    deadline = time.monotonic() + _LIMIT
    stale = 0  # the generation of the object which is to be replaced; 0 is none
    while time.monotonic() < deadline:
        with sdk_errors(f"write gs://{cloud.bucket_name}/{name}"):
            if lock.take(lock.token.encode(), replacing=stale):
                return
            held = lock.held()
        stale = held.generation if held is not None and held.age >= STALE_AGE else 0
        if held is not None and not stale:
            time.sleep(random.uniform(*_PAUSE))  # noqa: S311  not a secret
    raise CloudError(f"others keep starting the same job: gs://{cloud.bucket_name}/{name}", "try again later")


def now() -> str:
    """Return the time, as locks hold it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _age(found: StoredObject) -> float:
    renewed = found.metadata.get("renewed")
    try:
        moment = datetime.fromisoformat(renewed.replace("Z", "+00:00")) if renewed else found.created
    except ValueError:
        moment = found.created
    if moment and moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (datetime.now(timezone.utc) - moment).total_seconds()) if moment else 0.0
