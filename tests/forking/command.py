"""What stands for a program: asks for a fork that runs it, or runs it itself. Its facts are written below it.

It is read by an interpreter that imports nothing by itself (-I -S), since it stands before every command.
"""

import json
import os
import resource
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` takes longer than all the others
    from typing import Any

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# What changes nothing in a fork; the latter is what gcloud sets.
HARMLESS = (("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONIOENCODING", "UTF-8"))
LOST = 127
GCLOUD = "/lib/gcloud.py"


def main(text: str) -> None:
    """Run the program that the facts name, with the arguments of this process."""
    facts, words = json.loads(text), sys.argv[1:]
    # An isolated environment's Python runs an emulator's fork server, too.
    order = order_of(facts, words, dict(os.environ)) if sys.executable == facts["python"] else None
    # One that comes before it can be forwarded would end this process, and with it, unasked, what was forked.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    running = order and ask(facts["folder"], order)
    if not running:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        program = [sys.executable, facts["program"]] if facts["program"].endswith(".py") else [facts["program"]]
        os.execv(program[0], [*program, *words])
    pid, connection = running
    with open("/proc/self/comm", "w") as name:  # so that tests find what stands behind this process
        name.write(f"fork-{pid}")
    for number in FORWARDED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: connection.send(bytes([number])))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    status = status_from(connection)
    if status < 0:
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def order_of(facts: "dict[str, Any]", words: "list[str]", environment: "dict[str, str]") -> "dict[str, Any] | None":
    """Return what a fork must know; None if no fork can do what the program does."""
    kind, first, rest = named(facts["program"], words)
    leads = os.getsid(0) == os.getpid()
    if (
        not kind
        # What leads a session and is not ours may be ended by what it has started there.
        or (os.getsid(0) != facts["session"] and not (leads and is_ours(kind, first)))
        or os.geteuid() != facts["user"]
        # From 3.13 on a traceback shows the lines of `-c`, which the interpreter alone keeps.
        or (sys.version_info >= (3, 13) and kind == "code")
        or any(key.startswith("PYTHON") and (key, value) not in HARMLESS for key, value in environment.items())
        or any(os.readlink("/proc/self/ns/" + name) != at for name, at in facts["namespaces"].items())
        or any(list(resource.getrlimit(getattr(resource, name))) != at for name, at in facts["limits"].items())
    ):
        return None
    return {
        "server": server_of(kind, first),
        "kind": kind,
        "first": first,
        "words": rest,
        "python": facts["python"],
        "shown": [facts["python"], *(["-m"] if kind == "module" else []), first, *rest],
        "folder": os.getcwd(),
        "environment": environment,
        "umask": mask(),
        "group": 0 if leads else os.getpgid(0),
        "ignored": [number for number in FORWARDED if signal.getsignal(number) is signal.SIG_IGN],
    }


def named(program: str, words: "list[str]") -> "tuple[str, str, list[str]]":
    """Return what kind of program is run, its name, and its words; no kind when it is an option of the interpreter."""
    if not program.rpartition("/")[2].startswith("python"):
        return "file", program, words
    if words[1:] and words[0] == "-S" and words[1].endswith(GCLOUD):
        return "file", words[1], words[2:]
    kind = {"-m": "module", "-c": "code"}.get(words[0], "file") if words else ""
    if kind == "file":
        return ("", "", []) if words[0].startswith("-") else ("file", words[0], words[1:])
    return (kind, words[1], words[2:]) if words[1:] else ("", "", [])


def is_ours(kind: str, first: str) -> bool:
    """Say whether it is a program of this project, which ends with its process or by itself."""
    return server_of(kind, first) != "commands" or (kind == "module" and first.startswith("edge_tasks."))


def server_of(kind: str, first: str) -> str:
    """Return the name of the process that has imported what the program imports."""
    if kind == "file" and first.endswith("/fork_server.py"):
        return "fork-servers"
    if first.endswith(GCLOUD):
        return "gcloud"
    return "emulators" if (kind, first) == ("module", "edge_tasks.emulator") else "commands"


def mask() -> int:
    """Return the umask, which can be read only by setting it."""
    found = os.umask(0o077)
    os.umask(found)
    return found


def ask(
    folder: str, order: "dict[str, Any]", files: "tuple[int, int, int]" = (0, 1, 2)
) -> "tuple[int, socket.socket] | None":
    """Send the order with three files; return the fork's number and the connection, None if nobody forks."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(os.path.join(folder, order["server"]))
        body = json.dumps(order).encode("utf-8", "surrogateescape")
        socket.send_fds(connection, [len(body).to_bytes(8, "little")], files)
        connection.sendall(body)
        pid = int.from_bytes(connection.recv(4, socket.MSG_WAITALL), "little")
    except OSError:
        pid = 0
    if pid:
        return pid, connection
    connection.close()
    return None


def status_from(connection: socket.socket) -> int:
    """Wait for a fork's end; return how it ended, negative for a signal."""
    told = connection.recv(4, socket.MSG_WAITALL)
    return int.from_bytes(told, "little", signed=True) if len(told) == 4 else LOST
