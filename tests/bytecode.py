"""Gives a new environment the bytecode that an older one has of the same sources.

    python bytecode.py FOLDER NEW_FOLDER ...

What a new environment has to compile at its first commands takes ten seconds, and says nothing about it. Each pair is a
folder of sources and a newer one; a source that differs is left to be compiled.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

TIMESTAMP = bytes(4)  # the kind of bytecode that belongs to a time and a size: https://peps.python.org/pep-0552/


def command(python: Path, environment: str) -> str:
    """Return the shell's command that gives a new environment what this one has compiled; `python` is the new one's."""
    import edge_tasks

    new = f"{environment}/lib/python*/site-packages"
    here, package = sysconfig.get_path("purelib"), str(Path(edge_tasks.__file__).parent)
    words = shlex.join([str(python), "-ISB", __file__, here])
    return f"{words} {new} {shlex.quote(package)} {new}/edge_tasks"


def share(folder: Path, new: Path) -> None:
    """Put the bytecode that belongs to the sources of `folder` next to the same sources in `new`."""
    ending = f".{sys.implementation.cache_tag}.pyc"
    for place, _, names in os.walk(new):
        older, newer = folder / os.path.relpath(place, new), Path(place)
        if not any(name.endswith(".py") for name in names) or not (older / "__pycache__").is_dir():
            continue
        (newer / "__pycache__").mkdir(exist_ok=True)
        for file in (older / "__pycache__").iterdir():
            name, target = file.name.removesuffix(ending) + ".py", newer / "__pycache__" / file.name
            if name in names and (older / name).is_file() and not target.exists():
                _give(file, older / name, newer / name, target)


def _give(bytecode: Path, older: Path, newer: Path, target: Path) -> None:
    if older.samefile(newer):
        with contextlib.suppress(OSError):  # a folder on another disk
            os.link(bytecode, target)
            return
        shutil.copyfile(bytecode, target)
    elif older.read_bytes() == newer.read_bytes():
        compiled = bytecode.read_bytes()
        if compiled[4:16] == TIMESTAMP + _stamp(older):
            target.write_bytes(compiled[:8] + _stamp(newer) + compiled[16:])


def _stamp(source: Path) -> bytes:
    found = source.stat()
    return b"".join((int(number) & 0xFFFFFFFF).to_bytes(4, "little") for number in (found.st_mtime, found.st_size))


if __name__ == "__main__":
    for one, other in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        share(Path(one), Path(other))
