"""`local.*`: the servers of target local on this machine."""

from __future__ import annotations

from typing import Any

from invoke.collection import Collection

from edge_tasks.tasks._repository import repository
from edge_tasks.tasks._task import AS_JSON, task


@task(
    help={
        "port": "of the Vertex AI emulator (default: a free one)",
        "storage_port": "of Cloud Storage (default: a free one)",
    }
)
def start(_context: Any, port: int = 0, storage_port: int = 0) -> None:
    """Start the servers.

    Other commands do it by themselves when they need them.
    """
    from edge_tasks.console import Console
    from edge_tasks.tools import emulator_process

    with Console() as console:
        servers = emulator_process.start(repository().root, port, storage_port)
        console.step(f"Vertex AI emulator at {servers.vertex_url}, Cloud Storage at {servers.storage_url}")


@task()
def stop(_context: Any) -> None:
    """End the servers; what they stored is kept.

    The jobs and the models that they run end with them.
    """
    from edge_tasks.console import Console
    from edge_tasks.tools import emulator_process

    with Console() as console:
        console.step(
            "stopped the local servers" if emulator_process.stop(repository().root) else "the local servers did not run"
        )


@task(help=AS_JSON)
def status(_context: Any, json: bool = False) -> None:
    """Print where the servers answer.

    Exit status 1 when they do not run.
    """
    from dataclasses import asdict

    from edge_tasks.console import print_json, print_table
    from edge_tasks.errors import ServerError
    from edge_tasks.tools import emulator_process

    servers = emulator_process.running(repository().root)
    if servers is None:
        raise ServerError("the local servers do not run", "invoke local.start")
    if json:
        print_json(asdict(servers))
        return
    print_table(
        ["server", "address", "process"],
        [
            ["Vertex AI emulator", servers.vertex_url, str(servers.pid)],
            ["Cloud Storage", servers.storage_url, ""],
        ],
    )


@task()
def logs(_context: Any) -> None:
    """Print the servers' own log."""
    from edge_tasks.console import print_result
    from edge_tasks.errors import ServerError
    from edge_tasks.tools import emulator_process

    path = emulator_process.log_file(repository().root)
    if not path.exists():
        raise ServerError("there is no log: the local servers have not been started yet", "invoke local.start")
    print_result(path.read_text(encoding="utf-8", errors="replace").rstrip())


@task(help={"yes": "do not ask"})
def reset(_context: Any, yes: bool = False) -> None:
    """Stop the servers and remove all that they stored.

    Buckets, jobs, models, endpoints.
    """
    from edge_tasks.console import Console, confirm
    from edge_tasks.errors import EdgeError
    from edge_tasks.tools import emulator_process

    root = repository().root
    if not yes and not confirm(f"remove all that the local servers stored in {emulator_process.data_directory(root)}?"):
        raise EdgeError("nothing was removed", "add `--yes` to remove without being asked")
    emulator_process.reset(root)
    with Console() as console:
        console.step("removed what the local servers stored; begin again: invoke init")


@task()
def env(_context: Any) -> None:
    """Print what leads any Google client to the servers.

    In a shell: eval "$(invoke local.env)"
    """
    import shlex

    from edge_tasks.console import print_result
    from edge_tasks.tools import emulator_process

    here = repository()
    google_cloud = here.config.google_cloud_project
    variables = emulator_process.environment(
        emulator_process.ensure_running(here.root), google_cloud.project_id, google_cloud.region
    )
    for name, value in variables.items():
        kept = '"${PYTHONPATH:+:$PYTHONPATH}"' if name == "PYTHONPATH" else ""
        print_result(f"export {name}={shlex.quote(value)}{kept}")


@task(
    help={
        "rpc": "of the Vertex AI API, such as DeployModel (default: all)",
        "error": "that it answers, such as RESOURCE_EXHAUSTED, PERMISSION_DENIED or UNAVAILABLE",
        "message": "of the error (default: Google's own)",
        "rate": "share of the requests, above 0 and at most 1 (default: 1)",
        "delay": "before the answer, such as 20s",
        "off": "remove all faults",
        **AS_JSON,
    }
)
def chaos(
    _context: Any,
    rpc: str = "",
    error: str = "",
    message: str = "",
    rate: float = 1.0,
    delay: str = "",
    off: bool = False,
    json: bool = False,
) -> None:
    """Let the emulator's RPCs fail or be slow, on demand.

    To see how a program bears it; without arguments, it lists what is set.
    """
    from edge_tasks.console import Console, print_json, print_table
    from edge_tasks.tools import emulator_process

    servers = emulator_process.ensure_running(repository().root)
    if off:
        emulator_process.faults(servers, "DELETE")
        with Console() as console:
            console.step("removed all faults")
        return
    if rpc or error or delay:
        fault = {"rpc": rpc or "*", "error": error, "message": message, "rate": rate, "delay": delay or 0}
        found = emulator_process.faults(servers, "POST", fault)
    else:
        found = emulator_process.faults(servers, "GET")
    if json:
        print_json(found)
        return
    if not found:
        with Console() as console:
            console.step("no fault is set; such as: invoke local.chaos --rpc DeployModel --error UNAVAILABLE")
        return
    rows = [[each["rpc"], each["error"], f"{each['rate']:g}", f"{each['delay']:g} s"] for each in found]
    print_table(["RPC", "error", "rate", "delay"], rows)


@task(help={"forward": "how far: 30m, 2h, 7d; without it the clock is only shown"})
def clock(_context: Any, forward: str | None = None) -> None:
    """Show the emulator's clock, or move it forward.

    Monitoring jobs look at what has passed, and logs get later times.
    """
    from edge_tasks.console import print_result
    from edge_tasks.domain.period import read_period
    from edge_tasks.tools import emulator_process

    seconds = read_period(forward).total_seconds() if forward is not None else 0.0
    print_result(emulator_process.move_clock(emulator_process.ensure_running(repository().root), seconds))


@task(help=AS_JSON)
def parity(_context: Any, json: bool = False) -> None:
    """Print which RPCs of Vertex AI are emulated.

    Each is emulated, emulated in part (and what is missing), or absent.
    """
    from edge_tasks.console import print_result
    from edge_tasks.tools import emulator_process

    print_result(emulator_process.parity(json=json))


collection = Collection("local", start, stop, status, logs, reset, env, chaos, clock, parity)
