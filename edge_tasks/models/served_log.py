"""What the deployed versions of a model print."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.job_logs import LogLine, endpoint_log
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.errors import NotFoundError

# Seconds between two looks at a log.
_SHORT_PAUSE, _LONG_PAUSE = 0.2, 2.0


def printed(cloud: Cloud, name: str, since: timedelta, *, follow: bool) -> Iterator[LogLine]:
    """Yield what serves the model `name` has printed `since` so long ago; with `follow` what it prints, for ever.

    Raises NotFoundError when nothing is deployed.
    """
    state = StateStore(cloud).load().model(name)
    if state.endpoint is None or state.deployed is None:
        raise NotFoundError(f"the model `{name}` is not deployed", f"invoke model.deploy --name {name}")
    begin = datetime.now(timezone.utc) - since
    log, pause = endpoint_log(state.endpoint, begin.strftime("%Y-%m-%dT%H:%M:%SZ")), _SHORT_PAUSE
    while True:
        lines = list(log.new_lines(cloud))
        yield from lines
        if not follow:
            return
        pause = _SHORT_PAUSE if lines else min(pause * 1.5, _LONG_PAUSE)
        time.sleep(pause)
