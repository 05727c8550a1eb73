"""`dashboard` (and `experiments.dashboard`, its name of old) and `dashboard.*`: one web page over the whole loop.

It is shown on this machine, written as files, or put on Cloud Run.
"""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

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
    from edge_tasks.dashboard.bucket import open_records, open_views
    from edge_tasks.dashboard.export import export_page
    from edge_tasks.dashboard.live import LiveLoop
    from edge_tasks.dashboard.server import DashboardServer, open_browser
    from edge_tasks.tools.user import user_name

    here = repository()

    def reconnect() -> Cloud | None:
        return connect_if_running(here.config, here.root)

    records = open_records(here.cloud, here.config, model or None, reconnect)
    loop = LiveLoop(here.cloud, here.config, here.root, model or None, reconnect)
    views = open_views(here.cloud, here.config)
    with Console() as console:
        if export:
            amount = export_page(records, loop, Path(export), console, views)
            if warning := records.place()["warning"]:
                print_warning(warning["problem"])
            console.step(f"exported {amount} runs; publish the folder, or open its page from the disk")
            print_result(str(Path(export) / "index.html"))
            return
        server = DashboardServer(records, loop, port, views=views, user=user_name())
        with server.running():
            print_result(server.address)
            sys.stdout.flush()
            if browser and sys.stdout.isatty():
                open_browser(server.address)
            console.step("the dashboard runs until Ctrl-C")
            server.wait_for_ctrl_c()
        console.step("the dashboard has ended")


@task(
    help={
        "member": "who may open it, such as user:ada@example.com, group:team@example.com; can be repeated",
        "changes": "let them change runs and ask endpoints, too, with the rights of the dashboard's account",
        "request_logs": "show drift, too: the account may read what models are asked (model.monitor --on)",
        "output": "only write what the image is built from into this folder",
        "dry_run": "only print the commands",
        "yes": "do not ask",
    },
    iterable=["member"],
)
def deploy(
    _context: Any,
    member: list[str] | None = None,
    changes: bool = False,
    request_logs: bool = False,
    output: str = "",
    dry_run: bool = False,
    yes: bool = False,
) -> None:
    """Put the dashboard on Cloud Run, behind IAM.

    Its account may read, and with --changes change what runs have; only the members may open it. Not tried on Google
    Cloud yet.
    """
    from pathlib import Path

    from edge_tasks.console import Console, confirm, print_result
    from edge_tasks.errors import EdgeError
    from edge_tasks.setup import dashboard_service, terraform

    here = repository()
    members = dashboard_service.check_members(member or ())
    files = dashboard_service.contents(here.root)
    with Console() as console:
        uri = dashboard_service.image_uri(here.config, files)
        if output:
            dashboard_service.write(files, Path(output))
            console.step(f"wrote {output}; build it: docker build --tag {uri} {output}")
            return
        managed = terraform.is_managed(here.root)
        ground = dashboard_service.preparing(
            here.config, changes=changes, request_logs=request_logs, by_terraform=managed
        )
        rest = dashboard_service.deploying(here.config, uri, members, changes=changes)
        if managed:
            console.step("its account is Terraform's to make: invoke infra.export --dashboard")
        if dry_run:
            print_result(dashboard_service.script(here.config, files, "dashboard-image", ground, rest))
            return
        dashboard_service.check_target(here.config)
        who = ", ".join(members) or "nobody yet (--member)"
        if not yes and not confirm(f"put the dashboard on Cloud Run, open to {who}? It is paid for while it answers."):
            raise EdgeError("nothing was deployed", "add `--yes` to continue without being asked, or `--dry-run`")
        hosted = dashboard_service.deploy(
            here.cloud, here.config, here.root, files, ground, rest, console, by_terraform=managed
        )
        console.step("who was let in opens it so, at http://127.0.0.1:8766/:")
        print_result(dashboard_service.proxy_command(hosted))


@task(help={"dry_run": "only print the commands", "yes": "do not ask"})
def undeploy(_context: Any, dry_run: bool = False, yes: bool = False) -> None:
    """Take the dashboard off Cloud Run, with its account.

    What it shows stays as it is, and so does its image.
    """
    import shlex

    from edge_tasks.console import Console, confirm, print_result
    from edge_tasks.errors import EdgeError
    from edge_tasks.setup import dashboard_service

    here = repository()
    hosted = dashboard_service.deployed(here.cloud)
    with Console() as console:
        if hosted is None:
            console.step("no dashboard is on Cloud Run")
            return
        if dry_run:
            print_result("\n".join(shlex.join(step.command) for step in dashboard_service.removing(hosted)))
            return
        if not yes and not confirm(f"take {hosted} off Cloud Run?"):
            raise EdgeError("nothing was removed", "add `--yes` to continue without being asked")
        dashboard_service.undeploy(here.cloud, hosted)
        console.step(f"{hosted} is off Cloud Run")


class _Beside(Collection):
    """A collection next to a task of the same name, which is its default task and listed there."""

    @property
    def task_names(self) -> dict[str, list[str]]:
        """The names of the other tasks."""
        names: dict[str, list[str]] = super().task_names
        return {name: aliases for name, aliases in names.items() if name != self.default}


collection = _Beside("dashboard", deploy, undeploy)
collection.add_task(dashboard, default=True)
