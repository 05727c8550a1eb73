"""The tasks as people look for them: what belongs together, and in which order it is needed."""

from __future__ import annotations

from collections.abc import Iterable

GROUPS: dict[str, tuple[str, ...]] = {
    "Start": ("init", "doctor", "explain", "model.init", "model.import", "model.rename"),
    "Train": (
        "model.train",
        "model.tune",
        "experiments.reproduce",
        "jobs.list",
        "jobs.logs",
        "jobs.cancel",
        "pipeline.export",
        "pipeline.run",
        "pipeline.list",
        "pipeline.logs",
        "pipeline.cancel",
        "pipeline.schedule",
        "pipeline.schedules",
        "pipeline.unschedule",
    ),
    "Release": (
        "model.deploy",
        "model.promote",
        "model.rollback",
        "model.predict",
        "model.predict-batch",
        "model.get-endpoint",
        "model.image",
        "service.run",
    ),
    "Look": (
        "model.list",
        "model.describe",
        "model.why",
        "model.logs",
        "model.monitor",
        "model.feedback",
        "model.report",
        "cost.status",
        "cost.update",
        "experiments.list",
        "experiments.show",
        "experiments.compare",
        "experiments.tag",
        "experiments.note",
        "dashboard",
        "experiments.dashboard",
    ),
    "Team": (
        "config.show",
        "config.get",
        "config.schema",
        "dvc.init",
        "infra.export",
        "infra.adopt",
        "dashboard.deploy",
        "dashboard.undeploy",
        "state.show",
        "state.unlock",
        "state.replace",
        "template.update",
    ),
    "The servers of this machine": (
        "local.start",
        "local.stop",
        "local.status",
        "local.logs",
        "local.env",
        "local.save",
        "local.load",
        "local.chaos",
        "local.record",
        "local.replay",
        "local.clock",
        "local.parity",
        "local.reset",
    ),
    "Clean up": ("model.undeploy", "model.remove", "model.delete", "experiments.remove", "teardown"),
    "CI": (
        "ci.compare",
        "ci.train",
        "ci.record",
        "ci.deploy",
        "ci.smoke-test",
        "ci.promote",
        "ci.cancel",
        "ci.monitor",
        "ci.setup",
        "ci.token",
    ),
}
OWN = "Your own"


def grouped(names: Iterable[str]) -> dict[str, list[str]]:
    """Return those of `names` in each group, in its order; what is in none of them comes first, as `OWN`."""
    there = list(names)
    known = {name for group in GROUPS.values() for name in group}
    own = {OWN: [name for name in there if name not in known]}
    found = own | {title: [name for name in group if name in there] for title, group in GROUPS.items()}
    return {title: group for title, group in found.items() if group}
