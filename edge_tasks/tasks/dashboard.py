"""`dashboard` (and `experiments.dashboard`, its name of old): one web page over the whole loop, or files of it."""

from __future__ import annotations

from typing import Any

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import task


@task(
    help={
        "model": "only what belongs to this model",
        "port": "of this machine (default 8765, or a free one when that is taken; 0: a free one)",
        "export": "write the page as static files into this folder instead",
        "browser": "do not open the page in a browser",
    }
)
def dashboard(_context: Any, model: str = "", port: int = 8765, export: str = "", browser: bool = True) -> None:
    """Show the whole loop as a web page: runs to drift.

    Runs, models, endpoints, jobs, pipelines, monitoring and data. It is served on this machine; --export DIR writes it
    as static files.
    """
    import sys
    from pathlib import Path

    from edge_tasks.cloud.client import Cloud, connect_if_running
    from edge_tasks.console import Console, print_result, print_warning
    from edge_tasks.dashboard.bucket import open_records
    from edge_tasks.dashboard.export import export_page
    from edge_tasks.dashboard.live import LiveLoop
    from edge_tasks.dashboard.server import DashboardServer, open_browser

    here = repository()

    def reconnect() -> Cloud | None:
        return connect_if_running(here.config, here.root)

    records = open_records(here.cloud, here.config, model or None, reconnect)
    loop = LiveLoop(here.cloud, here.config, here.root, model or None, reconnect)
    with Console() as console:
        if export:
            amount = export_page(records, loop, Path(export), console)
            if warning := records.place()["warning"]:
                print_warning(warning["problem"])
            console.step(f"exported {amount} runs; publish the folder, or open its page from the disk")
            print_result(str(Path(export) / "index.html"))
            return
        server = DashboardServer(records, loop, port)
        with server.running():
            print_result(server.address)
            sys.stdout.flush()
            if browser and sys.stdout.isatty():
                open_browser(server.address)
            console.step("the dashboard runs until Ctrl-C")
            server.wait_for_ctrl_c()
        console.step("the dashboard has ended")
