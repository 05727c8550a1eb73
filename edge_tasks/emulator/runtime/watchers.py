"""What a child of the emulator is given: its variables, its mark, and the shell line that ends it; see `processes`."""

from __future__ import annotations

import os
from pathlib import Path

# Where this package is imported from, for programs of ours that run as children.
ROOT = Path(__file__).parents[3]

# Variables of ours that a child may see. Everything else, secrets of the user first, stays here.
ALLOWED = ("PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")

# exec keeps the pid, so the child is the very process that was started.
SUPERVISED_COMMAND = 'exec 3<&0; (read -r _ <&3; kill -9 -$$) >/dev/null 2>&1 & exec 3<&-; exec "$@" </dev/null'

# The same for `docker run`, which a container outlives: the container goes first. Its name is in a variable.
CONTAINER = "VERTEX_EMULATOR_CONTAINER"
SUPERVISED_CONTAINER = SUPERVISED_COMMAND.replace(
    "kill -9 -$$", f'docker rm --force --volumes "${CONTAINER}"; kill -9 -$$'
)

# The same for a process that was forked and execs nothing; the pipe is its input.
WATCHER = 'read -r _; kill -9 -"$1" >/dev/null 2>&1'

# The name of a variable, and of a piece of memory: what is forked from a child shares the latter, what it starts has
# the former.
MARK = "VERTEX_EMULATOR_CHILD"


def clean_environment() -> dict[str, str]:
    """Return the part of our environment that children may see."""
    return {name: value for name, value in os.environ.items() if name in ALLOWED or name.startswith("LC_")}
