"""How many replicas a deployed model may have, and by which metrics: DedicatedResources.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/DedicatedResources
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_tasks.emulator.errors import invalid
from edge_tasks.emulator.services.machines import Use, check_machine

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message

WHERE = "dedicated_resources"
# Whose targets are percentages; others count something.
OF_USE = (
    "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle",
    "aiplatform.googleapis.com/prediction/online/cpu/utilization",
)


def check_resources(resources: Message) -> None:
    """Refuse machines and numbers of replicas that no deployed model can have."""
    fewest, most, required = (
        resources.min_replica_count,
        resources.max_replica_count,
        resources.required_replica_count,
    )
    if fewest < 0:
        raise invalid(f"{WHERE}.min_replica_count must be at least 1.")
    if most and most < fewest:
        raise invalid(f"{WHERE}.max_replica_count must not be less than min_replica_count.")
    if required < 0 or (fewest and required > fewest):
        raise invalid(f"{WHERE}.required_replica_count must be from 1 to min_replica_count.")
    _check_metrics(resources)
    check_machine(resources.machine_spec, f"deployed_model.{WHERE}.machine_spec", Use.SERVING)


def _check_metrics(resources: Message) -> None:
    names = [metric.metric_name for metric in resources.autoscaling_metric_specs]
    if not all(names):
        raise invalid(f"{WHERE}.autoscaling_metric_specs.metric_name is required.")
    if len(set(names)) < len(names):
        raise invalid(f"{WHERE}.autoscaling_metric_specs names a metric twice.")
    for metric in resources.autoscaling_metric_specs:
        # 0 is not set: 60.
        if metric.metric_name in OF_USE and not 0 <= metric.target <= 100:
            raise invalid(f"The target of {metric.metric_name} is {metric.target}: it must be from 1 to 100 percent.")
