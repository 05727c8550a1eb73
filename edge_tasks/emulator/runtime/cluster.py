"""The replicas of a job, and the variables by which they find each other.

CLUSTER_SPEC and TF_CONFIG: https://cloud.google.com/vertex-ai/docs/training/distributed-training. MASTER_ADDR,
MASTER_PORT, RANK and WORLD_SIZE, which `torch.distributed` reads, are documented for the service's predecessor
(https://cloud.google.com/ai-platform/training/docs/distributed-pytorch) and set by Vertex AI, too, for jobs of several
replicas: https://github.com/Snapchat/GiGL relies on them in containers of its own.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message

# What TensorFlow calls the worker pools.
TENSORFLOW_TASKS = ("chief", "worker", "ps", "evaluator")


class Replica(NamedTuple):
    """One machine of a job; here, one process tree."""

    pool: int
    number: int

    @property
    def name(self) -> str:
        """The name, as in errors and logs."""
        return f"workerpool{self.pool}-{self.number}"


PRIMARY = Replica(0, 0)


def replicas(spec: Message) -> list[Replica]:
    """Return the replicas of a job, the primary one first, which runs also when nobody has counted it."""
    others = [pool.replica_count for pool in spec.worker_pool_specs[1:]]
    return [PRIMARY, *(Replica(pool, number) for pool, count in enumerate(others, 1) for number in range(count))]


class Cluster:
    """The replicas of one job with an address for each, which is free for the job's own use."""

    def __init__(self, members: list[Replica]) -> None:
        self.replicas = members
        *addresses, self._master = _free_addresses(len(members) + 1)
        self._addresses = dict(zip(members, addresses, strict=True))

    def variables(self, replica: Replica, trial_id: str, job_spec: dict[str, Any]) -> dict[str, str]:
        """Return CLUSTER_SPEC; when there is more than one replica, also TF_CONFIG and what PyTorch reads."""
        trial = {"trial": trial_id} if trial_id else {}
        found = {"CLUSTER_SPEC": self._describe([f"workerpool{n}" for n in range(4)], replica, trial, job_spec)}
        if len(self.replicas) > 1:
            found["TF_CONFIG"] = self._describe(TENSORFLOW_TASKS, replica, trial, job_spec)
            host, port = self._master.split(":")
            found |= {"MASTER_ADDR": host, "MASTER_PORT": port}
            found |= {"RANK": str(self.replicas.index(replica)), "WORLD_SIZE": str(len(self.replicas))}
        return found

    def _describe(self, names: Any, replica: Replica, trial: dict[str, str], job_spec: dict[str, Any]) -> str:
        cluster: dict[str, list[str]] = {}
        for member, address in self._addresses.items():
            # What TensorFlow calls the cluster does not include evaluators.
            if names[member.pool] != "evaluator":
                cluster.setdefault(names[member.pool], []).append(address)
        task = {"type": names[replica.pool], "index": replica.number, **trial}
        return json.dumps({"cluster": cluster, "environment": "cloud", "task": task, "job": json.dumps(job_spec)})


def _free_addresses(count: int) -> list[str]:
    """Return addresses that nobody listens on, each another one."""
    sockets = []
    try:
        for _ in range(count):
            sockets.append(socket.socket())
            sockets[-1].bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    finally:
        for each in sockets:
            each.close()
