"""What machines count against a project's quotas of Vertex AI, by the names of the metrics.

https://cloud.google.com/vertex-ai/docs/quotas names them; a job that asks for more is refused with
`The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_nvidia_t4_gpus`. New
projects have 0 of many.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edge_tasks.domain.prices import TRAINING, Machine, shape

SERVICE = "aiplatform.googleapis.com"

# Families whose cores count together.
_COMMON = frozenset({"n1", "e2"})
UNLIMITED = -1


@dataclass(frozen=True)
class Shortage:
    """A quota that is less than what is asked for: never enough, whatever else runs."""

    metric: str
    limit: int
    asked: int


def needs(machine: Machine) -> dict[str, int]:
    """Return how much of each metric the machines take; what is not known of them is left out."""
    use = "training" if machine.use == TRAINING else "serving"
    prefix = f"{SERVICE}/custom_model_{use}_{'preemptible_' if machine.spot else ''}"
    found = {}
    known = shape(machine)
    if known is not None:
        family = machine.machine_type.partition("-")[0]
        found[f"{prefix}{'' if family in _COMMON else f'{family}_'}cpus"] = int(known[0]) * machine.count
    accelerator = re.fullmatch(r"NVIDIA_(?:TESLA_)?(\w+)", machine.accelerator_type or "")
    if accelerator:
        found[f"{prefix}nvidia_{accelerator[1].lower()}_gpus"] = machine.accelerator_count * machine.count
    return found


def shortages(machine: Machine, limits: Mapping[str, int]) -> list[Shortage]:
    """Return which of the limits the machines can never keep; a metric without a known limit is none."""
    return [
        Shortage(metric, limits[metric], asked)
        for metric, asked in needs(machine).items()
        if metric in limits and UNLIMITED != limits[metric] < asked
    ]
