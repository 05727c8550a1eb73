"""What a release would change: the last training of each model next to the version that serves, for who approves it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_tasks.cloud.client import Cloud
from edge_tasks.cloud.state_store import StateStore
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.provenance import Provenance
from edge_tasks.domain.state import Deployment
from edge_tasks.repo import layout
from edge_tasks.repo.trained_model import TrainedModel, last_training

_Pair = dict[str, Any]

# Characters of a commit or of DVC's hash that are shown.
_SHORT = 12


def compared(root: Path, config: EdgeConfig, cloud: Cloud) -> list[dict[str, Any]]:
    """Return of each model what `serves`, what was `trained`, and what differs: each `old` value with the `new` one.

    Metrics are all there; of parameters and data, those that differ.
    """
    state = StateStore(cloud).load()
    found = []
    for name in config.models:
        trained, problem, _ = last_training(layout.model_folder(root, name), name)
        deployed = state.model(name).deployed
        old, new = deployed or Provenance(), trained or Provenance()
        measured = [dict(one.metrics) if one else {} for one in (deployed, trained)]
        found.append(
            {
                "model": name,
                "serves": _of_deployment(deployed) if deployed else None,
                "trained": _of_training(trained) if trained else None,
                "problem": problem.problem if problem else None,
                "serves already": bool(deployed and trained and deployed.run_id == trained.run_id),
                "metrics": {key: _pair(key, *measured) for key in sorted({*measured[0], *measured[1]})},
                "parameters": _different(old.parameters, new.parameters),
                "data": _different(old.data, new.data),
            }
        )
    return found


def markdown(found: Iterable[Mapping[str, Any]]) -> str:
    """Return what was `compared` for people."""
    return "\n".join(line for model in found for line in _section(model))


def _of_deployment(deployed: Deployment) -> dict[str, Any]:
    since = deployed.deployed_at.isoformat(timespec="seconds")
    return {"version": deployed.version, "since": since, **_origin(deployed)}


def _of_training(trained: TrainedModel) -> dict[str, Any]:
    version = trained.model.rpartition("@")[2] if trained.model else None
    return {"version": version, **_origin(trained)}


def _origin(one: Provenance) -> dict[str, Any]:
    return {"run_id": one.run_id, "commit": one.commit, "dirty": bool(one.dirty), "user": one.user}


def _pair(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> _Pair:
    before, after = old.get(key), new.get(key)
    if isinstance(before, int | float) and isinstance(after, int | float):
        return {"old": before, "new": after, "diff": after - before}
    return {"old": before, "new": after}


def _different(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, _Pair]:
    return {key: _pair(key, old, new) for key in sorted({*old, *new}) if old.get(key) != new.get(key)}


def _section(model: Mapping[str, Any]) -> Iterator[str]:
    serves, trained = model["serves"], model["trained"]
    yield f"## {model['model']}, against what serves"
    yield ""
    if trained is None:
        yield f"{model['problem']}." if model["problem"] else "It has not been trained yet."
    elif model["serves already"]:
        yield f"Version {serves['version']} serves already: nothing new was trained."
    else:
        if serves is None:
            yield "Nothing serves yet: this would be the first version."
            yield ""
        yield from _table(model, serves or {}, trained)
        yield ""
        yield from _code(model["model"], serves, trained)
    yield ""


def _table(model: Mapping[str, Any], serves: Mapping[str, Any], trained: Mapping[str, Any]) -> Iterator[str]:
    yield "| | serves | new | difference |"
    yield "|---|---|---|---|"
    yield _row("version", serves.get("version"), trained["version"])
    yield _row("run", serves.get("run_id"), trained["run_id"])
    yield _row("commit", _commit(serves), _commit(trained))
    yield _row("trained by", serves.get("user"), trained["user"])
    for key, pair in model["metrics"].items():
        difference = f"{pair['diff']:+.4g}" if "diff" in pair else ""
        yield _row(key, pair["old"], pair["new"], difference)
    changed = "changed" if serves else ""
    for key, pair in model["parameters"].items():
        yield _row(f"parameter {key}", pair["old"], pair["new"], changed)
    for path, pair in model["data"].items():
        yield _row(f"data {path}", (pair["old"] or "")[:_SHORT], (pair["new"] or "")[:_SHORT], changed)


def _code(name: str, serves: Mapping[str, Any] | None, trained: Mapping[str, Any]) -> Iterator[str]:
    """Yield how to see what changed in the code, and what no commit tells."""
    old, new = (serves or {}).get("commit"), trained["commit"]
    if old and new and old != new:
        yield f"The code: `git diff {old[:_SHORT]} {new[:_SHORT]} -- models/{name} src`"
    if trained["dirty"]:
        yield "It was trained with changes that were not committed, so no commit tells its code."


def _commit(one: Mapping[str, Any]) -> str | None:
    commit = one.get("commit")
    return commit[:_SHORT] if commit else None


def _row(title: str, old: Any, new: Any, difference: str = "") -> str:
    return f"| {' | '.join(_cell(value) for value in (title, old, new, difference))} |"


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")
