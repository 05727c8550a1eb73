"""Leads a job's Python from /gcs to a folder, where a machine gives no mount: see `gcs_mount`.

Whatever opens, lists, makes or removes files by Python's own functions gets there; a file is fetched when it is asked
for, and the emulator uploads what has changed when the job ends. Other programs, and libraries that open files by
themselves, cannot be led: they find no /gcs, and a program that is started with such a path is refused with the reason.

`sdk_patch` loads this by its path in every Python of the job, so it stands alone.
"""

from __future__ import annotations

import builtins
import errno
import importlib.util
import io
import os
import posixpath
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER, REASON = "VERTEX_EMULATOR_GCS", "VERTEX_EMULATOR_GCS_REASON"
MOUNT = "/gcs"
# The time of a file that is as it was fetched.
AS_FETCHED = 0
# What takes a path first, by module; and what takes two.
ONE = ("open", "stat", "lstat", "listdir", "scandir", "mkdir", "rmdir", "access", "chdir", "utime", "truncate", "chmod")
TWO = ("rename", "replace")
REMOVES = ("remove", "unlink")


def _storage() -> Any:
    spec = importlib.util.spec_from_file_location("vertex_emulator_gcs_mount", Path(__file__).parent / "gcs_mount.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Bucket(os.environ["STORAGE_EMULATOR_HOST"])


class Mirror:
    """The folder that stands for /gcs."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._buckets: Any = None
        self._busy = False
        # As they are before they are led elsewhere.
        self._stat, self._mkdir, self._open, self._utime = os.stat, os.mkdir, io.open, os.utime

    def place(self, path: Any, *, whole: bool = False) -> Any:
        """Return where a path really leads, with the object there if there is one; `whole` brings a folder's files."""
        if self._busy or isinstance(path, int):
            return path
        try:
            text = os.fsdecode(path)
        except TypeError:
            return path
        if not text.startswith(MOUNT) or posixpath.normpath(text).split("/")[:2] != ["", "gcs"]:
            return path
        _, _, below = posixpath.normpath(text).partition(f"{MOUNT}/")
        place = f"{self._folder}/{below}".rstrip("/")
        bucket, _, name = below.partition("/")
        if bucket:
            self._busy = True
            try:
                self._bring(bucket, name, place, whole=whole)
            finally:
                self._busy = False
        return os.fsencode(place) if isinstance(path, bytes) else place

    def _bring(self, bucket: str, name: str, place: str, *, whole: bool) -> None:
        storage = self._buckets = self._buckets or _storage()
        if not name:
            if not storage.exists(bucket):
                # A bucket does not come into being by a folder being made.
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{MOUNT}/{bucket}")
            self._make(place)
        elif not self._is_there(place):
            parent = posixpath.dirname(place)
            if storage.stat(bucket, name) is not None:
                self._make(parent)
                self._fetch(bucket, name, place)
            elif storage.has(bucket, f"{name}/"):
                self._make(place)
            else:
                self._bring_parent(bucket, posixpath.dirname(name), parent)
        if whole and self._is_there(place):
            prefix = f"{name}/" if name else ""
            for word, is_folder in list(storage.children(bucket, prefix)):
                if is_folder:
                    self._make(f"{place}/{word}")
                elif not self._is_there(f"{place}/{word}"):
                    self._fetch(bucket, f"{prefix}{word}", f"{place}/{word}")

    def _bring_parent(self, bucket: str, name: str, place: str) -> None:
        if not self._is_there(place) and (self._buckets.has(bucket, f"{name}/") if name else True):
            self._bring(bucket, name, place, whole=False)

    def _fetch(self, bucket: str, name: str, place: str) -> None:
        if not name.endswith("/"):
            with self._open(place, "wb") as target:
                self._buckets.download(bucket, name, target)
            self._utime(place, ns=(AS_FETCHED, AS_FETCHED))

    def remove(self, place: str) -> None:
        """Remove the object, too."""
        bucket, _, name = place[len(self._folder) + 1 :].partition("/")
        self._busy = True
        try:
            self._buckets.delete(bucket, name)
        finally:
            self._busy = False

    def is_below(self, place: Any) -> bool:
        """Say whether a path is one of the folder's."""
        return isinstance(place, str) and place.startswith(f"{self._folder}/")

    def _make(self, place: str) -> None:
        if not self._is_there(place):
            self._make(posixpath.dirname(place))
            self._mkdir(place)

    def _is_there(self, place: str) -> bool:
        try:
            self._stat(place)
        except OSError:
            return False
        return True


def install() -> None:
    """Lead all functions there are."""
    mirror = Mirror(os.environ[FOLDER])
    opened: Any = _led(io.open, mirror)
    builtins.open = io.open = opened
    for module in (os, sys.modules[os.name]):
        for name in ONE:
            _lead(module, name, _led(getattr(module, name), mirror, whole=name in {"listdir", "scandir", "chdir"}))
        for name in TWO:
            _lead(module, name, _led_both(getattr(module, name), mirror))
        for name in REMOVES:
            _lead(module, name, _removing(getattr(module, name), mirror))
    sys.addaudithook(_refuse)


def _lead(module: ModuleType, name: str, function: Callable[..., Any]) -> None:
    support = (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks, os.supports_effective_ids)
    for each in support:
        if getattr(module, name) in each:
            each.add(function)
    setattr(module, name, function)


def _led(function: Callable[..., Any], mirror: Mirror, *, whole: bool = False) -> Callable[..., Any]:
    if getattr(function, "is_led", False):
        return function

    def led(path: Any = ".", *arguments: Any, **options: Any) -> Any:
        return function(mirror.place(path, whole=whole), *arguments, **options)

    led.is_led = True  # type: ignore[attr-defined]
    return led


def _led_both(function: Callable[..., Any], mirror: Mirror) -> Callable[..., Any]:
    def led(source: Any, target: Any, **options: Any) -> Any:
        place = mirror.place(source)
        done = function(place, mirror.place(target), **options)
        if mirror.is_below(place):
            mirror.remove(place)
        return done

    return led


def _removing(function: Callable[..., Any], mirror: Mirror) -> Callable[..., Any]:
    def removing(path: Any, **options: Any) -> Any:
        place = mirror.place(path)
        done = function(place, **options)
        if mirror.is_below(place):
            mirror.remove(place)
        return done

    return removing


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse to start a program that would look for /gcs in vain, or make one on this machine."""
    if event in {"subprocess.Popen", "os.system"}:
        words = arguments[1] if event == "subprocess.Popen" else [arguments[0]]
        for word in [words] if isinstance(words, (str, bytes)) else words:
            if f"{MOUNT}/" in os.fsdecode(word):
                reason = os.environ.get(REASON, "")
                raise OSError(errno.ENOTSUP, f"Only Python's own functions reach {MOUNT} here ({reason})", MOUNT)


if FOLDER in os.environ:
    install()
