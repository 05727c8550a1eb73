"""Which process this is, and whether another of this machine is gone: a number alone may be another's by now."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
from pathlib import Path

_PROC = Path("/proc")

# Of /proc/PID/stat, counted after the command's closing bracket: the state, and the start in ticks since boot.
_STATE, _START = 0, 19


def machine() -> str:
    """Return what says that a process number means the same here: host, this start of it, and the set of processes.

    Containers on one host have the same kernel, but sets of processes to themselves.
    """
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        facts.append((_PROC / "sys/kernel/random/boot_id").read_text().strip())
        facts.append(os.readlink(_PROC / "self/ns/pid"))  # noqa: PTH115  not a path
    if len(facts) == 1:
        facts.append(_ask("sysctl", "-n", "kern.boottime"))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def started(pid: int) -> str | None:
    """Return when a process of this machine began, in its system's own words; None when there is none."""
    if not (_PROC / "self/stat").exists():
        return _ask("ps", "-o", "lstart=", "-p", str(pid)) or None
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[_STATE] in "ZX" else fields[_START]


def _ask(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
