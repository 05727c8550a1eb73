"""Runs programs as an interpreter does that has imported a library already: each in a fork of this process.

    python programs_of_a_library.py LIBRARY FOLDER

FOLDER is where the library lies; empty if it is installed. A line of the input is a program: its file and arguments,
its folder, and the files that it has for 0, 1, 2. The answer to it is its exit status.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import sys
import warnings
from pathlib import Path
from typing import Any

from edge_tasks.emulator.runtime import forked_program


def become(folder: str, files: list[str]) -> None:
    """Give this process, newly forked, what is its own."""
    os.chdir(folder)
    for number, name in enumerate(files):
        opened = os.open(name, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)


def run(words: list[str]) -> None:
    sys.argv = words
    sys.path.insert(0, str(Path(words[0]).parent))
    runpy.run_path(words[0], run_name="__main__")


def main(library: str, place: str) -> dict[str, Any]:
    """Fork for each line. Returns in the forked processes only."""
    if place:
        sys.path.insert(1, place)
    warnings.simplefilter("ignore")
    # What cannot be imported is left to the programs.
    with contextlib.suppress(ImportError):
        importlib.import_module(library)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            return dict(json.loads(line))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    return forked_program.leave(0)


if __name__ == "__main__":
    PROGRAM = main(*sys.argv[1:])
    become(PROGRAM["folder"], PROGRAM["files"])
    forked_program.draw_anew()
    forked_program.leave(forked_program.ended(lambda: run(PROGRAM["words"])))
