"""Snapshots: all that an emulator has stored, in a folder, from which another one can begin, or this one again.

    python -m edge_tasks.emulator.snapshots --data DIR --save FOLDER
    python -m edge_tasks.emulator.snapshots --data DIR --load FOLDER
    python -m edge_tasks.emulator --data DIR --seed FOLDER

An emulator may run while it is saved. The files of large objects never change, so that a snapshot has links to them,
where the file system allows it: it takes a moment and little room. What is under way (a job that runs, an upload that
has not ended) is in a snapshot as it would be had the emulator been killed then: the job has failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import sqlite3
import sys
from datetime import datetime, timezone
from pathlib import Path

from edge_tasks.emulator.data_folder import DataFolder
from edge_tasks.emulator.errors import StartError

FORMAT_VERSION = 1
CARD = "snapshot.json"
STORE = "store.sqlite3"
INDEX = Path("cloud-storage", "index.sqlite3")
CONTENTS = Path("cloud-storage", "contents")
# The store comes last: without it, a data folder is one that was not filled yet.
PARTS = ("models", "jobs", "servers", "cloud-storage", STORE)
OF_A_JOB = ("project", "log.jsonl")
# What is saved may change meanwhile: then it is begun again.
ATTEMPTS = 5
SECONDS_TO_WAIT = 30.0


class _ChangedError(Exception):
    """What was to be copied is not there any more."""


def save(data: Path, target: Path) -> None:
    """Write a snapshot of a data folder, all of it or nothing; StartError when that is not possible."""
    if not (data / STORE).exists():
        raise StartError(f"{data} holds nothing that could be saved", "start the emulator first: invoke local.start")
    if target.exists():
        raise StartError(f"the snapshot {target} exists already", "choose another name, or remove that folder")
    new = target.with_name(f".new-{secrets.token_hex(4)}")
    try:
        for attempt in range(ATTEMPTS):
            new.mkdir(parents=True)
            try:
                _copy_all(data, new)
                break
            except _ChangedError as error:
                shutil.rmtree(new)
                if attempt == ATTEMPTS - 1:
                    raise StartError(f"{error} while it was saved", "save again when less is being changed") from None
        saved = datetime.now(timezone.utc).isoformat(timespec="seconds")
        (new / CARD).write_text(json.dumps({"version": FORMAT_VERSION, "saved": saved}) + "\n")
        new.rename(target)
    except sqlite3.Error as error:
        raise StartError(f"what is stored in {data} cannot be read: {error}", "start with another --data DIR") from None
    except OSError as error:
        raise StartError(
            f"the snapshot {target} cannot be written: {error}", "free some room, and save again"
        ) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def load(data: Path, source: Path) -> None:
    """Put a snapshot in the place of a data folder, whose emulator does not run; the ports stay the same."""
    check(source)
    lock = DataFolder(data)
    data = lock.path
    old, new = (data.with_name(f".{kind}-{secrets.token_hex(4)}") for kind in ("old", "new"))
    try:
        new.mkdir()
        if (data / "ports.json").exists():
            shutil.copyfile(data / "ports.json", new / "ports.json")
        seed(new, source)
        data.rename(old)
        new.rename(data)
    except OSError as error:
        raise StartError(f"{source} cannot be loaded: {error}", "nothing was changed; load it again") from None
    finally:
        lock.release()
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def seed(data: Path, source: Path) -> bool:
    """Fill a data folder from a snapshot, unless something is stored there already; return whether it was filled."""
    if (data / STORE).exists():
        return False
    check(source)
    try:
        _fill(data, source)
    except OSError as error:
        raise StartError(f"{source} cannot be loaded: {error}", "free some room, and load it again") from None
    return True


def _fill(data: Path, source: Path) -> None:
    for part in PARTS:
        # What a process that was killed here has left.
        shutil.rmtree(data / part, ignore_errors=True)
        if part == STORE:
            new = data / f"{STORE}.new"
            shutil.copyfile(source / part, new)
            new.replace(data / part)
        elif (source / part).exists():
            shutil.copytree(source / part, data / part, copy_function=_copy)


def check(source: Path) -> None:
    """Refuse what is not a snapshot, is damaged, or is one of a newer version."""
    from edge_tasks.emulator.storage import index
    from edge_tasks.emulator.store import database

    try:
        card = json.loads((source / CARD).read_text())
        version = int(card["version"])
    except (OSError, ValueError, KeyError, TypeError):
        raise StartError(f"{source} is not a snapshot: it has no {CARD}", "make one: invoke local.save NAME") from None
    known = ((STORE, database.SCHEMA_VERSION), (INDEX, index.SCHEMA_VERSION))
    try:
        newer = version > FORMAT_VERSION or any(_format(source / name) > last for name, last in known)
    except sqlite3.Error as error:
        raise StartError(f"the snapshot {source} is damaged: {error}", "load another one") from None
    if newer:
        raise StartError(f"the snapshot {source} was written by a newer version", "update vertex-edge")


def _format(path: Path) -> int:
    ((found,),) = _read(path, "PRAGMA user_version")
    return int(found)


def _copy_all(data: Path, new: Path) -> None:
    _copy_database(data / STORE, new / STORE, ["DELETE FROM processes"])
    for (private,) in _read(new / STORE, "SELECT private FROM resources WHERE kind = 'Model'"):
        folder = Path("models") / json.loads(private)["artifacts"]
        try:
            shutil.copytree(data / folder, new / folder)
        except (shutil.Error, FileNotFoundError):
            raise _ChangedError(f"the model in {folder} was removed") from None
    _copy_database(data / INDEX, new / INDEX, ["DELETE FROM uploads", "DELETE FROM parts"])
    for (file,) in _read(new / INDEX, "SELECT DISTINCT file FROM objects WHERE file IS NOT NULL"):
        path = CONTENTS / file[:2] / file
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            _copy(str(data / path), str(new / path))
        except FileNotFoundError:
            raise _ChangedError("an object was replaced") from None
    for job in (data / "jobs").glob("*"):
        (new / "jobs" / job.name).mkdir(parents=True)
        for name in OF_A_JOB:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(job / name, new / "jobs" / job.name / name)
    for log in (data / "servers" / "logs").glob("*/*/*/*.log"):
        copy = new / log.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(log, copy)


def _copy_database(source: Path, target: Path, changes: list[str]) -> None:
    """Copy a database as it is at one moment, also while others write into it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        contextlib.closing(sqlite3.connect(source, timeout=SECONDS_TO_WAIT)) as one,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as other,
    ):
        one.backup(other)
        for change in changes:
            other.execute(change)
        # One file, without a journal next to it.
        other.execute("PRAGMA journal_mode=DELETE")


def _read(path: Path, query: str) -> list[tuple[str]]:
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def _copy(source: str, target: str) -> str:
    """Link the file of a large object, which never changes; copy any other."""
    if f"/{CONTENTS.as_posix()}/" in Path(source).as_posix():
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:
            pass  # Another file system, or one without links.
        else:
            return target
    return str(shutil.copyfile(source, target))


def main() -> int:
    """Save or load a snapshot; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m edge_tasks.emulator.snapshots", description="Save or load.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the emulator")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--save", type=Path, metavar="FOLDER", help="write a snapshot")
    what.add_argument("--load", type=Path, metavar="FOLDER", help="put a snapshot in the place of the data")
    arguments = parser.parse_args()
    try:
        if arguments.save:
            save(arguments.data, arguments.save)
        else:
            load(arguments.data, arguments.load)
    except StartError as error:
        print(f"error: {error.problem}\n\nhint: {error.hint}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
