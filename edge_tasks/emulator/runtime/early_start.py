"""The fork server of an emulator that has deployed models, started before the rest of the emulator is imported.

The libraries of a model take longer to import than the emulator itself, and both can be imported at once. What was
imported last time is noted in the data folder. This module is imported before all else, so it needs little.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edge_tasks.emulator import data_folder
from edge_tasks.emulator.runtime import watchers

# macOS's own libraries do not survive a fork: https://github.com/python/cpython/issues/77906.
CAN_FORK = sys.platform == "linux"
PROGRAM = Path(__file__).parent / "fork_server.py"
NAME = "python"
NOTE = Path("preloaded.json")


class Files(NamedTuple):
    """Where a fork server listens and prints, below the data folder."""

    socket: Path
    log: Path

    @classmethod
    def of(cls, name: str) -> Files:
        """Return those of the fork server of this name."""
        return cls(Path("sockets") / f"{name}.sock", Path("servers") / f"{name}.log")

    def clear(self, data: Path) -> None:
        """Make room for a server that starts. Raises OSError."""
        for path in self:
            (data / path).parent.mkdir(exist_ok=True)
        for path in (self.socket, Path(f"{self.socket}.new")):
            (data / path).unlink(missing_ok=True)


class EarlyServer(NamedTuple):
    """A fork server that runs already; `watch_pipe` ends it when it is closed."""

    process: subprocess.Popen[bytes]
    watch_pipe: int
    mark: str


def note(modules: Sequence[str]) -> None:
    """Keep in the data folder, which is the working directory, what the next start imports early."""
    if list(modules) == _noted(Path()):
        return
    # It saves time and nothing else: a full disk is told by those who keep something.
    with contextlib.suppress(OSError):
        if modules:
            data_folder.write(NOTE, modules)
        else:
            NOTE.unlink(missing_ok=True)


def start(data: Path) -> EarlyServer | None:
    """Start the fork server of the emulator's own interpreter; None when there is nothing to import."""
    modules = _noted(data)
    if not CAN_FORK or not modules:
        return None
    files = Files.of(NAME)
    mark = os.urandom(8).hex()
    read_end, watch_pipe = os.pipe()
    try:
        files.clear(data)
        with (data / files.log).open("wb") as output:
            process = subprocess.Popen(
                [
                    *("/bin/sh", "-c", watchers.SUPERVISED_COMMAND, "sh"),
                    *(sys.executable, str(PROGRAM), str(watchers.ROOT), str(files.socket), *modules),
                ],
                env={**watchers.clean_environment(), watchers.MARK: mark},
                cwd=data,
                stdin=read_end,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError:
        # It is started again when it is needed, by those who can tell of it.
        os.close(watch_pipe)
        return None
    finally:
        os.close(read_end)
    return EarlyServer(process, watch_pipe, mark)


def _noted(data: Path) -> list[str]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((data / NOTE).read_text())
        if isinstance(found, list) and all(isinstance(module, str) for module in found):
            return found
    return []
