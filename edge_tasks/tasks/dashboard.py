"""`experiments.dashboard`: the recorded runs as a web page on this machine, or as files."""

from __future__ import annotations

from typing import Any

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import task


@task(
    help={
        "model": "only the runs of this model",
        "port": "of this machine (default 8765, or a free one when that is taken; 0: a free one)",
        "export": "write the page as static files into this folder instead",
        "browser": "do not open the page in a browser",
    }
)
def dashboard(_context: Any, model: str = "", port: int = 8765, export: str = "", browser: bool = True) -> None:
    """Show all recorded runs as a web page.

    It is served on this machine; --export DIR writes it as static files.
    """
    import sys
    from pathlib import Path

    from edge_tasks.cloud.client import connect_if_running
    from edge_tasks.console import Console, print_result, print_warning
    from edge_tasks.dashboard.bucket import open_records
    from edge_tasks.dashboard.export import export_page
    from edge_tasks.dashboard.server import DashboardServer, open_browser

    here = repository()
    records = open_records(here.cloud, here.config, model or None, lambda: connect_if_running(here.config, here.root))
    with Console() as console:
        if export:
            amount = export_page(records, Path(export), console)
            if warning := records.place()["warning"]:
                print_warning(warning["problem"])
            console.step(f"exported {amount} runs; publish the folder, or open its page from the disk")
            print_result(str(Path(export) / "index.html"))
            return
        server = DashboardServer(records, port)
        with server.running():
            print_result(server.url)
            sys.stdout.flush()
            if browser and sys.stdout.isatty():
                open_browser(server.url)
            console.step("the dashboard runs until Ctrl-C")
            server.wait_for_ctrl_c()
        console.step("the dashboard has ended")
