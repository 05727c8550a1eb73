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


def main(text: str) -> None:
    """Run the program that the facts name, with the arguments of this process."""
    facts = json.loads(text)
    order = order_of(facts)
    connection = order and ask(facts["address"], order)
    if not connection:
        os.execv(facts["program"], [facts["program"], *sys.argv[1:]])
    for number in FORWARDED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: connection.send(bytes([number])))
    status = int.from_bytes(connection.recv(4) or b"\xff\xff\xff\x7f", "little", signed=True)
    if status < 0:
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def order_of(facts: "dict[str, Any]") -> "dict[str, Any] | None":
    """Return what a fork must know; None if no fork can do what the program does."""
    if (
        os.getsid(0) != facts["session"]
        or os.geteuid() != facts["user"]
        # From 3.13 on a traceback shows the lines of `-c`, which the interpreter alone keeps.
        or (sys.version_info >= (3, 13) and sys.argv[1:2] == ["-c"])
        or any(key.startswith("PYTHON") and key != "PYTHONDONTWRITEBYTECODE" for key in os.environ)
        or any(os.readlink("/proc/self/ns/" + name) != at for name, at in facts["namespaces"].items())
        or any(list(resource.getrlimit(getattr(resource, name))) != at for name, at in facts["limits"].items())
    ):
        return None
    words = sys.argv[1:]
    kind, first = "file", facts["program"]
    if facts["program"].rpartition("/")[2].startswith("python"):
        if not words or (words[0].startswith("-") and words[0] not in ("-m", "-c")):
            return None
        kind = {"-m": "module", "-c": "code"}.get(words[0], "file")
        if kind != "file":
            words = words[1:]
        if not words:
            return None
        first, words = words[0], words[1:]
    return {
        "kind": kind,
        "first": first,
        "words": words,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "umask": mask(),
        "group": os.getpgid(0),
        "ignored": [number for number in FORWARDED if signal.getsignal(number) is signal.SIG_IGN],
    }


def mask() -> int:
    """Return the umask, which can be read only by setting it."""
    found = os.umask(0o077)
    os.umask(found)
    return found


def ask(address: str, order: "dict[str, Any]") -> "socket.socket | None":
    """Send the order with the three files of this process; return the connection, None if nobody answers."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
        body = json.dumps(order).encode("utf-8", "surrogateescape")
        socket.send_fds(connection, [len(body).to_bytes(8, "little")], [0, 1, 2])
        connection.sendall(body)
    except OSError:
        return None
    return connection
