"""A claim: an object in the bucket by which, of several processes, one alone does what two must not do at once.

It is created only if there is none, held for a few requests, and taken over from a holder that died with it.
https://cloud.google.com/storage/docs/request-preconditions
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Iterator
from datetime import datetime, timezone

from edge_tasks.cloud.client import CALL_TIMEOUT, Cloud, sdk_errors
from edge_tasks.errors import CloudError, EdgeError

# Seconds after which the holder must be dead: longer than the request that it holds the claim for.
STALE_AGE = CALL_TIMEOUT + 15.0

# Seconds that several holders, one after another, are waited for.
_LIMIT = 3 * STALE_AGE

# Seconds between two tries, each time another number: nobody keeps coming too late.
_PAUSE = (0.1, 0.4)


@contextlib.contextmanager
def claimed(cloud: Cloud, name: str) -> Iterator[None]:
    """Hold the claim `name` (of an object) for the block, which must be short: it is not renewed.

    Waits for another holder. Raises CloudError when there are still others after minutes.
    """
    token = secrets.token_hex(8)
    try:
        _take(cloud, name, token)
        yield
    finally:
        with contextlib.suppress(EdgeError):  # what is not removed now is stale soon
            _release(cloud, name, token)


def _take(cloud: Cloud, name: str, token: str) -> None:
    from google.api_core.exceptions import PreconditionFailed

    deadline = time.monotonic() + _LIMIT
    generation = 0  # that of the object which is to be replaced; 0 is none
    while time.monotonic() < deadline:
        with sdk_errors(f"write gs://{cloud.bucket_name}/{name}"):
            try:
                blob = cloud.bucket.blob(name)
                blob.upload_from_string(token, if_generation_match=generation, retry=cloud.retry)
            except PreconditionFailed:
                pass
            else:
                return
        holder = _holder(cloud, name)
        if holder is None:
            generation = 0
            continue
        found, generation, age = holder
        if found == token:  # the client repeats an upload whose answer was lost, and meets its own first success
            return
        if age < STALE_AGE:
            time.sleep(random.uniform(*_PAUSE))  # noqa: S311  not a secret
            generation = 0
    raise CloudError(f"others keep starting the same job: gs://{cloud.bucket_name}/{name}", "try again later")


def _holder(cloud: Cloud, name: str) -> tuple[str, int, float] | None:
    """Return the token of who holds the claim, the object's generation and its age in seconds; None without one."""
    from google.api_core.exceptions import NotFound

    with sdk_errors(f"read gs://{cloud.bucket_name}/{name}"):
        blob = cloud.bucket.get_blob(name, retry=cloud.retry)
        if blob is None:
            return None
        try:
            token = blob.download_as_bytes(retry=cloud.retry).decode(errors="replace")
        except NotFound:
            return None
    return token, int(blob.generation), (datetime.now(timezone.utc) - blob.time_created).total_seconds()


def _release(cloud: Cloud, name: str, token: str) -> None:
    from google.api_core.exceptions import NotFound, PreconditionFailed

    # Not every server checks the generation on delete, so look first: never remove somebody else's.
    holder = _holder(cloud, name)
    if holder is not None and holder[0] == token:
        with sdk_errors(f"remove gs://{cloud.bucket_name}/{name}"), contextlib.suppress(NotFound, PreconditionFailed):
            cloud.bucket.blob(name).delete(if_generation_match=holder[1], retry=cloud.retry)
