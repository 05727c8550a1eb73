"""What endpoints are asked: what is kept of it, what has changed, and how the requests are spread over versions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from edge_tasks.cloud import request_log
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig, ModelConfig, Monitoring
from edge_tasks.domain.period import read_period
from edge_tasks.errors import CloudError, NotFoundError
from edge_tasks.monitoring import requests, text, watch
from edge_tasks.repo import layout

# How far back the requests of a canary and of the stable version are counted, in how many steps.
_TRAFFIC_WINDOW, _STEPS = timedelta(hours=1), 60


def monitoring(cloud: Cloud, config: EdgeConfig, names: Iterable[str]) -> dict[str, Any]:
    """Return of each model that has an endpoint what is kept, and the drift that was noted for what serves."""
    state = StateStore(cloud).load()
    found = []
    for name in names:
        model = state.model(name)
        if model.endpoint is None:
            continue
        settings = _settings(config, name)
        log = request_log.setting(cloud, model.endpoint)
        serving = [one for one in (model.deployed, model.candidate) if one]
        found.append(
            {
                "model": name,
                "enabled": log.enabled,
                "rate": log.sampling_rate,
                "table": log.table,
                "window": settings.window,
                "fewest": settings.fewest_requests,
                "on_drift": settings.on_drift,
                "notes": [
                    {"version": one.version, **note}
                    for one in serving
                    if (note := _note(cloud, config, name, one.version))
                ],
            }
        )
    return {"models": found}


def _settings(config: EdgeConfig, name: str) -> Monitoring:
    known: ModelConfig | None = config.models.get(name)
    return known.monitoring if known else Monitoring()


def _note(cloud: Cloud, config: EdgeConfig, name: str, version: str) -> dict[str, Any] | None:
    """Return the note on the drift of a version, as `ci.monitor` wrote it; None when there is none."""
    try:
        with sdk_errors("read what a drift has led to"):
            note = json.loads(cloud.objects.read(layout.drift_note(config, name, version)))
    except (NotFoundError, ValueError):
        return None
    if not isinstance(note, dict) or not isinstance(note.get("columns"), list):
        return None
    return {"columns": [str(one) for one in note["columns"]], "issue": note.get("issue"), "at": note.get("at")}


def watched(cloud: Cloud, config: EdgeConfig, name: str) -> dict[str, Any]:
    """Return what the version that serves was asked, compared with its training. Raises EdgeError."""
    settings = _settings(config, name)
    found = watch.watch(cloud, name, read_period(settings.window), settings)
    return {
        **text.document(found),
        "since": found.since.isoformat() if found.since else None,
        "until": found.until.isoformat() if found.until else None,
        "fewest": found.fewest,
    }


def traffic(cloud: Cloud, name: str) -> dict[str, Any]:
    """Return the requests of the last hour, minute by minute, for each deployed model id; none when none are kept."""
    endpoint = requests.endpoint_of(cloud, name)
    log = request_log.setting(cloud, endpoint)
    if not log.enabled:
        return {"kept": False, "minutes": _STEPS, "versions": {}}
    now = requests.now(cloud)
    since = now - _TRAFFIC_WINDOW
    counted: dict[str, Counter[int]] = {}
    instances: Counter[str] = Counter()
    try:
        for row in request_log.read(cloud, endpoint, log.table, since):
            step = int((row.time - since) / _TRAFFIC_WINDOW * _STEPS)
            counted.setdefault(row.deployed_model_id, Counter())[min(_STEPS - 1, max(0, step))] += 1
            instances[row.deployed_model_id] += len(row.asked)
    except CloudError as error:
        return {"kept": True, "minutes": _STEPS, "versions": {}, "problem": error.problem}
    return {
        "kept": True,
        "rate": log.sampling_rate,
        "minutes": _STEPS,
        "versions": {
            deployed: {
                "requests": sum(steps.values()),
                "instances": instances[deployed],
                "steps": [steps[step] for step in range(_STEPS)],
            }
            for deployed, steps in counted.items()
        },
    }
