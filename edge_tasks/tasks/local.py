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
        here = repository()
        servers = emulator_process.start(here.root, port, storage_port, here.config.local.environments)
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

    root = repository().root
    servers = emulator_process.running(root)
    if servers is None:
        raise emulator_process.lost(root) or ServerError("the local servers do not run", "invoke local.start")
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


@task(help={"name": "of the snapshot", "replace": "replace a snapshot of that name"})
def save(_context: Any, name: str, replace: bool = False) -> None:
    """Save all that the servers have stored, under a name.

    Buckets, jobs, models, endpoints; the servers may run.
    """
    from edge_tasks.console import Console
    from edge_tasks.tools import emulator_process

    with Console() as console:
        folder = emulator_process.save(repository().root, name, replace=replace)
        console.step(f"saved what the local servers stored in {folder}; back to it: invoke local.load {name}")


@task(help={"name": "of the snapshot", "yes": "do not ask"})
def load(_context: Any, name: str, yes: bool = False) -> None:
    """Go back to what local.save saved under a name.

    It takes the place of all that the servers have stored.
    """
    from edge_tasks.console import Console, confirm
    from edge_tasks.errors import EdgeError
    from edge_tasks.tools import emulator_process

    root = repository().root
    emulator_process.require_snapshot(root, name)
    if not yes and not confirm(f"replace all that the local servers have stored by the snapshot `{name}`?"):
        raise EdgeError("nothing was loaded", "add `--yes` to load without being asked")
    emulator_process.load(root, name)
    with Console() as console:
        console.step(f"loaded the snapshot `{name}`")


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
    servers = emulator_process.ensure_running(here.root, here.config.local.environments)
    variables = emulator_process.environment(servers, google_cloud.project_id, google_cloud.region)
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

    here = repository()
    servers = emulator_process.ensure_running(here.root, here.config.local.environments)
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


@task(
    help={
        "file": "a new one, with a line of JSON for each request",
        "to": "address of the API (default: Vertex AI's in the region of edge.yaml)",
        "port": "to listen on (default: a free one)",
    }
)
def record(_context: Any, file: str, to: str = "", port: int = 0) -> None:
    """Write down a session of Vertex AI's API.

    A proxy passes requests on until Ctrl-C; names and secrets are left out.
    """
    from pathlib import Path

    from invoke.exceptions import Exit

    from edge_tasks.tools import emulator_process

    address = to or f"https://{repository().config.google_cloud_project.region}-aiplatform.googleapis.com"
    if emulator_process.record(Path(file), address, port):
        raise Exit(code=1)  # it has said why


@task(
    help={
        "file": "of local.record",
        "set": "NAME=VALUE for a word of the recording, such as bucket-1=my-bucket",
        **AS_JSON,
    },
    iterable=["set"],
)
def replay(_context: Any, file: str, set: list[str] | None = None, json: bool = False) -> None:  # noqa: A002
    """Compare the emulator's answers with a recording.

    It is asked what was asked in a recorded session; where its answers differ is printed.
    """
    from pathlib import Path

    from invoke.exceptions import Exit

    from edge_tasks.console import Console, print_result
    from edge_tasks.tools import emulator_process

    servers = emulator_process.ensure_running(repository().root)
    compared = emulator_process.replay(servers, Path(file), set or [], json=json)
    with Console() as console:
        console.step(compared.count)
    if compared.found:
        print_result(compared.found)
    if compared.differs:
        raise Exit(code=1)


@task(help={"forward": "how far: 30m, 2h, 7d; without it the clock is only shown", **AS_JSON})
def clock(_context: Any, forward: str | None = None, json: bool = False) -> None:
    """Show the emulator's clock, or move it forward.

    Monitoring jobs look at what has passed, and logs get later times.
    """
    from edge_tasks.console import print_json, print_result
    from edge_tasks.domain.period import read_period
    from edge_tasks.tools import emulator_process

    seconds = read_period(forward).total_seconds() if forward is not None else 0.0
    now = emulator_process.move_clock(emulator_process.ensure_running(repository().root), seconds)
    if json:
        print_json({"now": now})
    else:
        print_result(now)


@task(help=AS_JSON)
def parity(_context: Any, json: bool = False) -> None:
    """Print which RPCs of Vertex AI are emulated.

    Each is emulated, emulated in part (and what is missing), or absent.
    """
    from edge_tasks.console import print_result
    from edge_tasks.tools import emulator_process

    print_result(emulator_process.parity(json=json))


collection = Collection(
    "local", start, stop, status, logs, reset, save, load, env, chaos, record, replay, clock, parity
)
