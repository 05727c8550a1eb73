"""The servers of target `local`: starting, finding and ending the emulator that belongs to one repository.

The emulator is a separate program (`python -m edge_tasks.emulator`); this module only runs it as a process. Its data
lie in the repository's `.edge/emulator/`, and it leaves a card there, servers.json, that says where it answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import edge_tasks
from edge_tasks.errors import MAKE_ROOM, ServerError
from edge_tasks.repo import layout

# Seconds. A cold start on a slow disk without bytecode takes several; an answer takes milliseconds.
START_LIMIT = 60.0
STOP_LIMIT = 20.0
_POLL_INTERVAL = 0.02
# Bytes. With less the servers cannot start.
_LEAST_ROOM = 1 << 20
SHARED, ISOLATED = "shared", "isolated"
SNAPSHOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")


@dataclass(frozen=True)
class Servers:
    """Where the running servers of a repository answer."""

    pid: int
    vertex_url: str
    storage_url: str
    grpc_address: str = ""
    environments: str = SHARED
    prefix: str = ""
    release: str = ""

    @property
    def notice(self) -> str:
        """What is to be said before a job or a model is started there; empty when what it gets is what is here.

        Servers that one environment has started serve all others of the same repository, and outlive an upgrade.
        """
        if self.release not in ("", edge_tasks.__version__):
            return (
                f"the local servers are those of vertex-edge {self.release}, and {edge_tasks.__version__} is "
                "installed; to use it: invoke local.stop"
            )
        same = Path(self.prefix).resolve() == Path(sys.prefix).resolve()
        if self.environments == ISOLATED or not self.prefix or same:
            return ""
        return (
            f"the local servers run in {self.prefix}, and jobs and models have its packages, not those of "
            f"{sys.prefix}; to use these: invoke local.stop"
        )


def data_directory(root: Path) -> Path:
    """Return the folder that holds all the emulator's data of the repository at `root`."""
    return layout.emulator_data(root)


def log_file(root: Path) -> Path:
    """Return the file that the servers write their own log to."""
    return layout.emulator_log(root)


def running(root: Path) -> Servers | None:
    """Return the servers of the repository at `root`, or None when they do not run."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError, ValueError, KeyError, TypeError, RecursionError):
        return _by_card(root)
    return None


def _by_card(root: Path) -> Servers | None:
    card = json.loads((data_directory(root) / "servers.json").read_text(encoding="utf-8"))
    addresses = (str(card["vertex_url"]), str(card["storage_url"]), str(card.get("grpc_address", "")))
    facts = (("environments", SHARED), ("prefix", ""), ("release", ""))
    servers = Servers(int(card["pid"]), *addresses, *(str(card.get(key, default)) for key, default in facts))
    started = float(card["started"])
    # A copy of a repository has a copy of its card; the servers are the original's.
    own = card["data"] == str(data_directory(root).resolve())
    return servers if own and _process(servers.pid, started) else None


def ensure_running(root: Path, environments: str = SHARED) -> Servers:
    """Return the servers of the repository at `root`, started if need be.

    Jobs and models that start from now on run in `environments`, which are shared or isolated.
    """
    servers = running(root)
    return _with_environments(servers, environments) if servers else start(root, environments=environments)


def start(root: Path, port: int = 0, storage_port: int = 0, environments: str = SHARED) -> Servers:
    """Start the servers of the repository at `root` unless they run, and return when they answer.

    A port of 0 is chosen by the emulator: the one it used last when that is free. Raises ServerError with the
    emulator's own words when it does not start. Two processes that start at the same time get the same servers.
    """
    require_extra()
    _require_uv(environments)
    data_directory(root).mkdir(parents=True, exist_ok=True)
    with _start_lock(root):
        servers = running(root)
        if servers is not None:
            return _with_environments(servers, environments)
        deadline = time.monotonic() + START_LIMIT
        while servers is None:
            with log_file(root).open("wb") as log:
                process = _spawn(root, port, storage_port, environments, log)
            servers = _when_ready(root, process, deadline)
        return _with_environments(servers, environments)


def require_extra() -> None:
    """Raise ServerError when the packages are missing that the servers are made of."""
    from importlib.util import find_spec

    missing = [name for name in ("uvicorn", "psutil", "orjson") if find_spec(name) is None]
    if missing:
        raise ServerError(
            f"target `local` needs packages that are not installed ({', '.join(missing)})",
            "pip install -r requirements.txt",
        )


def _require_uv(environments: str) -> None:
    from importlib.util import find_spec

    if environments == ISOLATED and find_spec("uv") is None and shutil.which("uv") is None:
        raise ServerError(
            "`local.environments` is `isolated`, which takes uv, and it is not installed", "pip install uv"
        )


def _with_environments(servers: Servers, environments: str) -> Servers:
    """Let the running servers use these environments from now on."""
    if servers.environments == environments:
        return servers
    import requests

    _require_uv(environments)
    session = requests.Session()
    session.trust_env = False  # a proxy of the user's is not for this machine
    try:
        answer = session.put(f"{servers.vertex_url}/_emulator/environments", json={"kind": environments}, timeout=10)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise ServerError(f"the local servers do not answer: {error}", "invoke local.stop") from None
    return replace(servers, environments=environments)


def _spawn(root: Path, port: int, storage_port: int, environments: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [*_command(root), "--port", str(port), "--storage-port", str(storage_port)]
    command += ["--environments", environments]
    # Its own session: Ctrl-C in the user's terminal is meant for the command, not for the servers.
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=root, start_new_session=True)


def _command(root: Path) -> list[str]:
    return [sys.executable, "-m", "edge_tasks.emulator", "--data", str(data_directory(root))]


def _when_ready(root: Path, process: subprocess.Popen[bytes], deadline: float) -> Servers | None:
    """Return the servers when they answer; None when they have to be started again."""
    ready = None
    try:
        while ready is None and process.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL_INTERVAL)
            ready = running(root)
    finally:
        ended = process.poll() is not None
        if ready is None:
            process.terminate()
    if ready is not None:
        # The servers outlive this command; a Popen that thinks its process has ended does not complain of that.
        process.returncode = 0
        return ready
    if not ended:
        raise ServerError(f"the local servers gave no answer within {START_LIMIT:.0f} s", _look_at_log(root))
    others = _search(root)
    if others is None:
        raise _start_failure(root)
    return _others(root, others, deadline)


def _others(root: Path, pid: int, deadline: float) -> Servers | None:
    """Return servers that were there first when they answer; None when they have ended.

    A command that was killed leaves servers that still start, or already end.
    """
    while time.monotonic() < deadline:
        if _gone(pid):
            return None
        ready = running(root)
        if ready is not None:
            return ready
        if lost := _lost(root, pid):
            raise lost
        time.sleep(_POLL_INTERVAL)
    raise ServerError(
        f"the local servers (process {pid}) run and gave no answer within {START_LIMIT:.0f} s", "invoke local.stop"
    )


def lost(root: Path) -> ServerError | None:
    """Return what is to be said of servers that run and cannot be found by their card; None when none run."""
    pid = _search(root)
    if pid is None:
        return None
    starting = ServerError(
        f"the local servers (process {pid}) are starting or ending", "try again; if that stays so: invoke local.stop"
    )
    return _lost(root, pid) or starting


def _lost(root: Path, pid: int) -> ServerError | None:
    """Return what is wrong with the card of servers that run; None when it may still come."""
    state = _state_of_card(root, pid)
    if not state:
        return None
    card = data_directory(root) / "servers.json"
    return ServerError(f"the local servers run, but `{card}`, which tells where, is {state}", "invoke local.stop")


def _state_of_card(root: Path, pid: int) -> str:
    """Say in a word or two what is wrong with the card of servers that run; "" when it may still come."""
    import psutil

    state = "not theirs"
    try:
        if _by_card(root):
            return ""
    except FileNotFoundError:
        state = "missing"
    except (IsADirectoryError, ValueError, KeyError, TypeError):
        return "broken"
    with contextlib.suppress(psutil.Error):
        return state if time.time() - psutil.Process(pid).create_time() > START_LIMIT else ""
    return ""


def _start_failure(root: Path) -> ServerError:
    """Pass on the emulator's own `error:` and `hint:`, or point at its log."""
    text = log_file(root).read_text(encoding="utf-8", errors="replace")
    if "error: " in text.partition("hint: ")[0]:
        return _emulator_s_words(root, text)
    if shutil.disk_usage(data_directory(root)).free < _LEAST_ROOM:  # then the log holds nothing, either
        return ServerError(f"there is no space left on the disk: `{data_directory(root)}`", MAKE_ROOM)
    return ServerError("the local servers ended while starting", _look_at_log(root))


def _look_at_log(root: Path) -> str:
    return f"look at the log: {log_file(root)}"


def _emulator_s_words(root: Path, text: str) -> ServerError:
    """Return what the emulator said on stderr; of stored data that it cannot read, with the tasks that help."""
    problem, _, hint = text.partition("hint: ")
    problem = problem.rpartition("error: ")[2].strip()
    if "disk is full" in problem:  # SQLite's words: all that is stored is as it was
        return ServerError(problem, MAKE_ROOM)
    unreadable = any(f" cannot be {what}: " in problem for what in ("opened", "read"))
    return ServerError(problem, _begin_again(root) if unreadable else hint.strip() or None)


def _begin_again(root: Path) -> str:
    """Return the commands that put something in the place of stored data which cannot be read."""
    reset = "invoke local.reset removes all that the local servers stored"
    saved = _saved(root)
    return f"invoke local.load NAME goes back to a snapshot ({', '.join(saved)}); {reset}" if saved else reset


def answering(servers: Servers, limit: float = 10.0) -> bool:
    """Say whether both servers answer within `limit` seconds; a process that lives may still hang."""
    import requests

    session = requests.Session()
    session.trust_env = False  # a proxy of the user's is not for this machine
    addresses = (f"{servers.vertex_url}/_emulator/health", f"{servers.storage_url}/storage/v1/b?project=-")
    try:
        return all(session.get(address, timeout=limit).ok for address in addresses)
    except requests.RequestException:
        return False


def stop(root: Path) -> bool:
    """End the servers of the repository at `root`, with their jobs and model servers. False when none ran."""
    servers = running(root)
    pid = servers.pid if servers else _search(root)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_LIMIT
    while time.monotonic() < deadline:
        if _gone(pid):
            return True
        time.sleep(_POLL_INTERVAL)
    raise ServerError(f"the local servers (process {pid}) did not end within {STOP_LIMIT:.0f} s", f"kill -9 {pid}")


def reset(root: Path) -> None:
    """End the servers and remove all their data: buckets, jobs, models and endpoints."""
    stop(root)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(data_directory(root))


def save(root: Path, name: str, *, replace: bool = False) -> Path:
    """Save all that the servers have stored under a name; they may run. Return the folder."""
    folder = _snapshot(root, name)
    if folder.exists() and not replace:
        raise ServerError(f"there is a snapshot `{name}` already", f"invoke local.save {name} --replace")
    # The old one goes only when the new one is there.
    new = folder.with_name(f"{name}.new")
    shutil.rmtree(new, ignore_errors=True)
    _snapshots(root, "--save", new)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    return folder


def load(root: Path, name: str) -> None:
    """Put a snapshot in the place of all that the servers have stored; they run afterwards if they ran before."""
    folder = require_snapshot(root, name)
    ran = stop(root)
    _snapshots(root, "--load", folder)
    if ran:
        start(root)


def require_snapshot(root: Path, name: str) -> Path:
    """Return the folder of a snapshot; ServerError, which names those that there are, when there is none."""
    folder = _snapshot(root, name)
    if not folder.exists():
        saved = ", ".join(_saved(root))
        raise ServerError(f"there is no snapshot `{name}`", f"saved: {saved}" if saved else f"invoke local.save {name}")
    return folder


def _saved(root: Path) -> list[str]:
    """Return the names of the snapshots."""
    return sorted(card.parent.name for card in layout.emulator_snapshot(root, "NAME").parent.glob("*/snapshot.json"))


def _snapshot(root: Path, name: str) -> Path:
    if not SNAPSHOT_NAME.fullmatch(name):
        raise ServerError(f"`{name}` cannot name a snapshot", "use letters, digits, `-` and `_`, at most 60")
    return layout.emulator_snapshot(root, name)


def _snapshots(root: Path, option: str, folder: Path) -> None:
    require_extra()
    command = [sys.executable, "-m", "edge_tasks.emulator.snapshots"]
    command += ["--data", str(data_directory(root)), option, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise _emulator_s_words(root, result.stderr)


def environment(servers: Servers, project: str, region: str) -> dict[str, str]:
    """Return the variables that lead any Google client to `servers`, for `local.env`.

    The Vertex AI SDK has no variable for its address, so a start-up hook on PYTHONPATH presets it; see
    `edge_tasks/emulator/sdk_patch`.
    """
    host = servers.vertex_url.removeprefix("http://")
    hook = Path(edge_tasks.__file__).parent / "emulator" / "sdk_patch"
    return {
        "STORAGE_EMULATOR_HOST": servers.storage_url,
        "VERTEX_EMULATOR_URL": servers.vertex_url,
        "VERTEX_EMULATOR_GRPC": servers.grpc_address,
        "CLOUD_ML_PROJECT_ID": project,
        "CLOUD_ML_REGION": region,
        "GCE_METADATA_HOST": host,
        "GCE_METADATA_IP": host,
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": f"{servers.vertex_url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": f"{servers.vertex_url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{servers.storage_url}/storage/v1/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": project,
        "PYTHONPATH": str(hook),
    }


def faults(servers: Servers, method: str, fault: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Add a fault (POST), list them (GET) or remove them (DELETE); return those that are left."""
    found: list[dict[str, Any]] = _ask(servers, method, "faults", fault)["faults"]
    return found


def move_clock(servers: Servers, seconds: float) -> str:
    """Move the emulator's clock forward; return the time that it shows."""
    return str(_ask(servers, "POST", "clock", {"forward": seconds})["now"])


def _ask(servers: Servers, method: str, what: str, body: dict[str, Any] | None) -> dict[str, Any]:
    import requests

    session = requests.Session()
    session.trust_env = False  # a proxy of the user's is not for this machine
    try:
        answer = session.request(method, f"{servers.vertex_url}/_emulator/{what}", json=body, timeout=10)
    except requests.RequestException as error:
        raise ServerError(f"the local servers do not answer: {error}", "invoke local.stop") from None
    told: dict[str, Any] = answer.json()
    if answer.status_code != 200:
        raise ServerError(told["error"]["message"], "invoke local.parity")
    return told


def record(output: Path, address: str, port: int = 0) -> int:
    """Pass requests to the API on and write them down, until Ctrl-C; return the exit status."""
    require_extra()
    command = [sys.executable, "-m", "edge_tasks.emulator.recording", "record"]
    command += ["--output", str(output), "--to", address, "--port", str(port)]
    return subprocess.run(command, check=False).returncode


@dataclass(frozen=True)
class Comparison:
    """The servers' answers next to a recording's: what differs, as text or JSON, the count in words, whether any do."""

    found: str
    count: str
    differs: bool


def replay(servers: Servers, file: Path, substitutes: list[str], *, json: bool = False) -> Comparison:
    """Compare the servers' answers with a recording. Raises ServerError when it cannot."""
    command = [sys.executable, "-m", "edge_tasks.emulator.recording", "replay", str(file), "--to", servers.vertex_url]
    command += [word for each in substitutes for word in ("--set", each)]
    command += ["--json"] if json else []
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    problem, marked, hint = result.stderr.partition("hint: ")
    if marked:
        raise ServerError(problem.rpartition("error: ")[2].strip(), hint.strip())
    return Comparison(result.stdout.rstrip(), result.stderr.strip(), differs=result.returncode != 0)


def parity(*, json: bool = False) -> str:
    """Return what the emulator answers of the Vertex AI API, as the emulator itself tells it: a table, or JSON."""
    require_extra()
    command = [sys.executable, "-m", "edge_tasks.emulator.parity", *(["--json"] if json else [])]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ServerError(f"the emulator cannot tell what it answers: {result.stderr.strip().splitlines()[-1]}")
    return result.stdout.rstrip()


@contextlib.contextmanager
def _start_lock(root: Path) -> Iterator[None]:
    import fcntl

    with layout.emulator_start_lock(root).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _process(pid: int, started: float) -> Any:
    """Return the process with this id and start time, or None: an id alone may belong to somebody else by now."""
    import psutil

    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < 1.0
    except psutil.Error:
        return None
    return process if alive else None


def _search(root: Path) -> int | None:
    """Return the process of the servers whose card is lost or broken, by the command that started them."""
    try:
        import psutil
    except ModuleNotFoundError:  # then no servers were ever started
        return None
    command = _command(root)
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [])[1 : len(command)] == command[1:]:
            return int(process.pid)
    return None


def _gone(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
