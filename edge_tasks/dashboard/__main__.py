"""The dashboard where it is hosted: the program of the image that `invoke dashboard.deploy` builds.

    python -m edge_tasks.dashboard        in a folder with edge.yaml; it serves until SIGTERM

PORT                     where to listen, as Cloud Run says: https://cloud.google.com/run/docs/container-contract
EDGE_DASHBOARD_CHANGES   yes: who is let in may change runs and ask endpoints, too, with this program's rights
EDGE_DASHBOARD_HOSTS     names under which it is reached besides those of Cloud Run, with commas between them
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from edge_tasks.cloud.client import connect
from edge_tasks.dashboard.bucket import open_records, open_views
from edge_tasks.dashboard.live import LiveLoop
from edge_tasks.dashboard.server import DashboardServer, Hosting
from edge_tasks.errors import EdgeError
from edge_tasks.repo.edge_yaml import find_root, load_config


def main() -> int:
    """Serve until SIGTERM. Returns the exit status."""
    signal.signal(signal.SIGTERM, _end)
    try:
        root = find_root()
        config = load_config(root)
        cloud = connect(config, root)
        hosting = Hosting(
            changes=os.environ.get("EDGE_DASHBOARD_CHANGES") == "yes",
            hosts=frozenset(name for name in os.environ.get("EDGE_DASHBOARD_HOSTS", "").lower().split(",") if name),
        )
        records, loop = open_records(cloud, config, None), LiveLoop(cloud, config, root)
        server = DashboardServer(records, loop, _port(), hosting, open_views(cloud, config))
    except EdgeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    with server.running():
        sys.stderr.write(f"the dashboard of gs://{cloud.bucket_name} listens on port {server.server_port}\n")
        server.wait_for_ctrl_c()
    return 0


def _port() -> int:
    port = os.environ.get("PORT", "8080")
    if not port.isdecimal():
        raise EdgeError(f"PORT is `{port}`, which is not a number")
    return int(port)


def _end(number: int, frame: FrameType | None) -> None:
    """End as by Ctrl-C: the first process of a container is not ended by a signal that it does not handle."""
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
