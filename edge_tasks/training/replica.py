"""Which replica of a job this process is, and where it meets the others.

Vertex AI tells it in CLUSTER_SPEC: https://cloud.google.com/vertex-ai/docs/training/distributed-training.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Replica:
    """One of the machines that train together, in the words of `torch.distributed`.

    `rank` counts from 0, which is the primary one: its results, and its record, are those of the job. `master_addr` and
    `master_port` are where the primary one may listen and the others find it.
    """

    rank: int = 0
    world_size: int = 1
    master_addr: str = "127.0.0.1"
    master_port: int = 0


def this_replica() -> Replica:
    """Return which replica this process is; outside a job, and in a job of one, the only one."""
    described = json.loads(os.environ.get("CLUSTER_SPEC") or "{}")
    pools: dict[str, list[str]] = described.get("cluster", {})
    everyone = [(pool, number) for pool in sorted(pools) for number in range(len(pools[pool]))]
    if len(everyone) < 2:
        return Replica()
    task = described["task"]
    rank = everyone.index((task["type"], int(task["index"])))
    host, _, port = pools["workerpool0"][0].partition(":")
    # Others reach the primary one by a name that need not lead back to it, and it tells them its address.
    if rank == 0 and not host.startswith("127."):
        host = socket.gethostbyname(socket.gethostname())
    return Replica(rank, len(everyone), host, int(port))
