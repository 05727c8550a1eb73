"""What endpoints are asked: what is kept of it, and what has changed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from edge_tasks.cloud import request_log
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig, ModelConfig, Monitoring
from edge_tasks.domain.period import read_period
from edge_tasks.errors import NotFoundError
from edge_tasks.monitoring import text, watch
from edge_tasks.repo import layout


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
