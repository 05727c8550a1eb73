"""A disk that is full or read-only, and files of somebody else: two lines for people, and nothing said to be done."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from edge_tasks.errors import disk_refusal
from edge_tasks.setup.checks import Check, Finding, State, examine
from edge_tasks.tasks._task import task
from edge_tasks.tools import emulator_process


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (errno.ENOSPC, "there is no space left on the disk: `/a/b`"),
        (errno.EDQUOT, "there is no space left on the disk: `/a/b`"),
        (errno.EROFS, "`/a/b` cannot be written: its disk is read-only"),
        (errno.EACCES, "this user may not read or write `/a/b`"),
        (errno.EPERM, "this user may not read or write `/a/b`"),
    ],
)
def test_the_file_is_named(number: int, problem: str) -> None:
    refusal = disk_refusal(OSError(number, os.strerror(number), "/a/b"))
    assert refusal is not None
    assert refusal.problem == problem
    assert refusal.hint


def test_what_is_no_matter_of_a_file_stays_an_error_of_the_program() -> None:
    assert disk_refusal(PermissionError(errno.EPERM, "a signal to another user's process")) is None
    assert disk_refusal(FileNotFoundError(errno.ENOENT, "not there", "/a/b")) is None


def test_a_task_ends_with_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    @task()
    def write(_context: object) -> None:
        """Write."""
        raise OSError(errno.EROFS, "Read-only file system", "/a/b")

    with pytest.raises(Exit) as caught:
        write.body(None)
    assert caught.value.code == 1
    assert "`/a/b` cannot be written: its disk is read-only" in capsys.readouterr().err + str(caught.value)


def test_a_check_that_may_not_read_a_file_is_broken_and_the_next_ones_are_looked_at() -> None:
    def unreadable() -> Finding:
        raise OSError(errno.EACCES, "Permission denied", "/a/b")

    first, second = examine([Check("one", unreadable), Check("two", lambda: Finding("fine"))])
    assert (first.state, first.fact) == (State.BROKEN, "this user may not read or write `/a/b`")
    assert "ls -ld" in first.fix
    assert second.state == State.OK


def test_data_that_could_not_be_removed_are_not_called_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **options: object) -> None:
        if not options.get("ignore_errors"):
            raise OSError(errno.EROFS, "Read-only file system", "store.sqlite3")

    emulator_process.reset(tmp_path)  # nothing is there
    emulator_process.data_directory(tmp_path).mkdir(parents=True)
    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(OSError, match="Read-only"):
        emulator_process.reset(tmp_path)
