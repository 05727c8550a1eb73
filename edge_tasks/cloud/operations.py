"""Waiting for Vertex AI's long-running operations: our own, because the SDK has no limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from edge_tasks.cloud.client import CALL_TIMEOUT, sdk_errors
from edge_tasks.errors import CloudError, ConflictError

# Seconds.
OPERATION_LIMIT = 900.0
_FIRST_POLL, _LONGEST_POLL = 0.1, 5.0


def begun(client: Any, operation: str, response: Any, metadata: Any) -> Any:
    """Return an operation that was started, here or anywhere, by its name, as the call that starts it does.

    `client` is that of its service, `response` and `metadata` are the types that the operation holds.
    """
    from google.api_core.operation import from_gapic

    message = client.get_operation(request={"name": operation})
    return from_gapic(message, client.transport.operations_client, response, metadata_type=metadata)


def wait(
    operation: Any, waiting_for: str, limit: float, on_wait: Callable[[float], None] = lambda elapsed: None
) -> Any:
    """Wait until the long-running `operation` ends and return its result.

    `on_wait` is called between looks with the seconds that passed. Raises CloudError with the operation's own error, or
    when `limit` seconds have passed.
    """
    started = time.monotonic()
    pause = _FIRST_POLL
    with sdk_errors(f"wait for {waiting_for}"):
        while not operation.done():
            elapsed = time.monotonic() - started
            if elapsed > limit:
                raise CloudError(
                    f"waited {limit:.0f} s for {waiting_for}",
                    f"it is still running: {operation.operation.name}; look again later",
                )
            on_wait(elapsed)
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL)
    return _result(operation, waiting_for)


def take_away(waiting_for: str, start: Callable[[], Any]) -> None:
    """Start a deletion and wait for its end; what is gone already is not an error."""
    from google.api_core.exceptions import NotFound

    with sdk_errors(f"wait for {waiting_for}"):
        try:
            operation = start()
        except NotFound:
            return
    wait(operation, waiting_for, OPERATION_LIMIT)


def _result(operation: Any, waiting_for: str) -> Any:
    from google.api_core.exceptions import AlreadyExists, GoogleAPICallError

    try:
        return operation.result(timeout=CALL_TIMEOUT)
    except AlreadyExists as error:
        raise ConflictError(f"waited for {waiting_for}, but it exists already: {error.message}") from error
    except GoogleAPICallError as error:
        raise CloudError(f"waited for {waiting_for}, but it failed: {error.message}") from error
