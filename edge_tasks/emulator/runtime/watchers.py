"""The shell lines that end a child when the emulator is gone: see `processes`. They need nothing to be imported."""

from __future__ import annotations

from pathlib import Path

# Where this package is imported from, for programs of ours that run as children.
ROOT = Path(__file__).parents[3]

# exec keeps the pid, so the child is the very process that was started.
SUPERVISED_COMMAND = 'exec 3<&0; (read -r _ <&3; kill -9 -$$) >/dev/null 2>&1 & exec 3<&-; exec "$@" </dev/null'

# The same for `docker run`, which a container outlives: the container goes first. Its name is in a variable.
CONTAINER = "VERTEX_EMULATOR_CONTAINER"
SUPERVISED_CONTAINER = SUPERVISED_COMMAND.replace(
    "kill -9 -$$", f'docker rm --force --volumes "${CONTAINER}"; kill -9 -$$'
)

# The same for a process that was forked and execs nothing; the pipe is its input.
WATCHER = 'read -r _; kill -9 -"$1" >/dev/null 2>&1'
