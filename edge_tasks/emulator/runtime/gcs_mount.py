"""Gives a program /gcs, as Vertex AI gives it: each bucket a folder below it, read and written as files.

    python gcs_mount.py STORAGE_URL FOLDER PROGRAM [ARGUMENT ...]

The program sees it, and all that it starts, and nobody else: this needs Linux, FUSE, and the right to a mount namespace
(root's, or one of a user namespace). A machine whose root has no /gcs keeps none: the program gets its own root,
made of the machine's. Without a program it is only tried whether that is allowed here.

A file is fetched when it is opened and uploaded when it is closed, before `close` returns, as with Cloud Storage FUSE
(https://cloud.google.com/vertex-ai/docs/training/cloud-storage-file-system): what is closed is in the bucket.

It is run by its path and stands alone, with the standard library only: a job starts so much later as it needs to load.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import http.client
import json
import os
import signal
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000
NO_SUID, NO_DEVICES, BIND, RECURSIVE, PRIVATE = 2, 4, 0x1000, 0x4000, 0x40000
MOUNT = "/gcs"
ROOT = 1
LARGEST_WRITE = 1 << 20
PIECE = 1 << 20
TIMEOUT = 60
# https://github.com/torvalds/linux/blob/master/include/uapi/linux/fuse.h, version 7.31.
VERSION = (7, 31)
IN_HEADER, OUT_HEADER = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<6Q10I")
BIG_WRITES, TRUNCATES_AT_OPEN, MANY_PAGES = 1 << 5, 1 << 3, 1 << 22
SIZE_IS_SET = 1 << 3
UNANSWERED = frozenset({2, 36, 38, 42})  # FORGET, INTERRUPT, DESTROY, BATCH_FORGET


class StorageError(OSError):
    """The storage did not do what it was asked for."""


class Bucket:
    """Cloud Storage by its JSON API, over one connection that is kept."""

    def __init__(self, url: str) -> None:
        self._netloc = urlsplit(url).netloc
        self._connection: http.client.HTTPConnection | None = None

    def stat(self, bucket: str, name: str) -> dict[str, Any] | None:
        """Return an object's metadata; None when there is none."""
        return self._json("GET", f"{_object(bucket, name)}?fields=size,updated,generation")

    def exists(self, bucket: str) -> bool:
        """Say whether there is such a bucket."""
        return self._json("GET", f"/storage/v1/b/{quote(bucket, safe='')}?fields=name") is not None

    def has(self, bucket: str, prefix: str) -> bool:
        """Say whether there is an object with a prefix."""
        found = self._list(bucket, {"prefix": prefix, "maxResults": "1", "fields": "items(name)"})
        return found is not None and bool(found.get("items"))

    def children(self, bucket: str, prefix: str) -> Iterator[tuple[str, bool]]:
        """Yield (name, whether it is a folder) of what lies directly below a prefix."""
        token = ""
        while True:
            fields = "items(name),prefixes,nextPageToken"
            found = self._list(bucket, {"prefix": prefix, "delimiter": "/", "pageToken": token, "fields": fields})
            if found is None:
                return
            for folder in found.get("prefixes", []):
                yield folder[len(prefix) : -1], True
            for item in found.get("items", []):
                if item["name"] != prefix:
                    yield item["name"][len(prefix) :], False
            token = found.get("nextPageToken", "")
            if not token:
                return

    def download(self, bucket: str, name: str, target: IO[bytes]) -> bool:
        """Write an object to a file; False when there is none."""
        response = self._ask("GET", f"{_object(bucket, name)}?alt=media")
        if response.status == 404:
            response.read()
            return False
        _check(response)
        while piece := response.read(PIECE):
            target.write(piece)
        if response.length:
            self._connection = None
            raise StorageError(errno.EIO, "the object is not whole")
        target.flush()
        return True

    def upload(self, bucket: str, name: str, source: IO[bytes]) -> None:
        """Write a file as an object."""
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        query = urlencode({"uploadType": "media", "name": name})
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        path = f"/upload/storage/v1/b/{quote(bucket, safe='')}/o?{query}"
        response = self._ask("POST", path, source, headers)
        _check(response)
        response.read()

    def copy(self, bucket: str, name: str, new_bucket: str, new_name: str) -> None:
        """Copy an object."""
        token = ""
        while True:
            query = f"?rewriteToken={quote(token, safe='')}" if token else ""
            path = f"{_object(bucket, name)}/rewriteTo{_object(new_bucket, new_name).removeprefix('/storage/v1')}"
            found = self._json("POST", path + query)
            if found is None:
                raise StorageError(errno.ENOENT, name)
            token = found.get("rewriteToken", "")
            if found.get("done"):
                return

    def delete(self, bucket: str, name: str) -> bool:
        """Delete an object; False when there is none."""
        response = self._ask("DELETE", _object(bucket, name))
        if response.status != 404:
            _check(response)
        response.read()
        return response.status != 404

    def _list(self, bucket: str, query: dict[str, str]) -> dict[str, Any] | None:
        return self._json("GET", f"/storage/v1/b/{quote(bucket, safe='')}/o?{urlencode(query)}")

    def _json(self, method: str, path: str) -> dict[str, Any] | None:
        response = self._ask(method, path, headers={"Content-Length": "0"} if method == "POST" else {})
        if response.status == 404:
            response.read()
            return None
        _check(response)
        found: dict[str, Any] = json.loads(response.read())
        return found

    def _ask(
        self, method: str, path: str, body: IO[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        kept = self._connection is not None
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._netloc, timeout=TIMEOUT)
            self._connection.request(method, path, body, headers or {})
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            if not kept:
                raise StorageError(errno.EIO, f"Cloud Storage does not answer: {error}") from error
            # The server may have closed a connection that was kept for long.
            if body is not None:
                body.seek(0)
            return self._ask(method, path, body, headers)


def _object(bucket: str, name: str) -> str:
    return f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"


def _check(response: http.client.HTTPResponse) -> None:
    if response.status >= 300:
        response.read()
        codes = {400: errno.EINVAL, 403: errno.EACCES, 404: errno.ENOENT, 412: errno.EBUSY}
        raise StorageError(codes.get(response.status, errno.EIO), f"Cloud Storage answered {response.status}")


class _Open:
    """A file that is open, once or more often: its content lies in a file without a name."""

    def __init__(self) -> None:
        self.content: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (it closes with the last user)
        self.users = 0
        self.changed = False

    @property
    def size(self) -> int:
        return os.fstat(self.content.fileno()).st_size


class FileSystem:
    """Answers the kernel's requests, one after the other."""

    def __init__(self, device: int, storage: Bucket) -> None:
        self._device = device
        self._storage = storage
        self._paths: dict[int, str] = {ROOT: ""}
        self._nodes: dict[str, int] = {"": ROOT}
        self._next = ROOT
        self._open: dict[int, _Open] = {}
        self._listed: dict[int, list[tuple[str, bool]]] = {}
        self._handle = 0
        self._owner = (os.getuid(), os.getgid())
        self._calls: dict[int, Callable[[int, bytes], bytes]] = {
            1: self._lookup,
            3: self._getattr,
            4: self._setattr,
            9: self._mkdir,
            10: self._unlink,
            11: self._rmdir,
            12: lambda node, data: self._rename(node, data, 8),
            14: self._open_file,
            15: self._read,
            16: self._write,
            17: lambda *_: struct.pack(
                "<5Q4I6I", 1 << 40, 1 << 39, 1 << 39, 1 << 20, 1 << 20, 4096, 255, 4096, *[0] * 7
            ),
            18: self._release,
            20: self._flush,
            25: self._flush,
            26: self._init,
            27: self._open_folder,
            28: self._read_folder,
            29: self._release_folder,
            30: lambda *_: b"",
            34: lambda *_: b"",
            35: self._create,
            45: lambda node, data: self._rename(node, data, 16),
        }

    def serve(self) -> None:
        """Answer until nobody has the file system any more."""
        while True:
            try:
                request = os.read(self._device, LARGEST_WRITE + 65536)
            except OSError as error:
                if error.errno in {errno.EINTR, errno.EAGAIN, errno.ENOENT}:
                    continue
                return
            _, code, unique, node, *_ = IN_HEADER.unpack_from(request)
            if code in UNANSWERED:
                continue
            failure, answer = 0, b""
            try:
                call = self._calls.get(code)
                if call is None:
                    failure = errno.ENOSYS
                else:
                    answer = call(node, request[IN_HEADER.size :])
            except OSError as error:
                failure = error.errno or errno.EIO
            except Exception:
                failure = errno.EIO
            answer = b"" if failure else answer
            with contextlib.suppress(OSError):
                os.write(self._device, OUT_HEADER.pack(OUT_HEADER.size + len(answer), -failure, unique) + answer)

    def _init(self, _: int, data: bytes) -> bytes:
        _, _, readahead, _ = struct.unpack_from("<4I", data)
        flags = BIG_WRITES | TRUNCATES_AT_OPEN | MANY_PAGES
        pages = LARGEST_WRITE // 4096
        return struct.pack("<4I2H2I2HI7I", *VERSION, readahead, flags, 16, 12, LARGEST_WRITE, 1, pages, 0, 0, *[0] * 7)

    def _node(self, path: str) -> int:
        if path not in self._nodes:
            self._next += 1
            self._nodes[path], self._paths[self._next] = self._next, path
        return self._nodes[path]

    def _child(self, node: int, name: bytes) -> str:
        parent = self._paths[node]
        word = os.fsdecode(name.partition(b"\0")[0])
        return f"{parent}/{word}" if parent else word

    def _attributes(self, path: str) -> bytes:
        node = self._node(path)
        is_folder, size, moment = self._stat(path)
        mode = stat.S_IFDIR | 0o755 if is_folder else stat.S_IFREG | 0o755
        seconds, rest = divmod(moment, 10**9)
        times = (seconds, seconds, seconds, rest, rest, rest)
        blocks = -(-size // 512)
        return ATTRIBUTES.pack(node, size, blocks, *times, mode, 1, *self._owner, 0, 4096, 0)

    def _stat(self, path: str) -> tuple[bool, int, int]:
        """Return whether it is a folder, its size, and when it was changed, in nanoseconds; ENOENT if it is not."""
        if path == "":
            return True, 0, 0
        opened = self._open.get(self._nodes.get(path, 0))
        if opened is not None:
            return False, opened.size, os.fstat(opened.content.fileno()).st_mtime_ns
        bucket, _, name = path.partition("/")
        if not name:
            if self._storage.exists(bucket):
                return True, 0, 0
            raise StorageError(errno.ENOENT, path)
        found = self._storage.stat(bucket, name)
        if found is not None:
            return False, int(found["size"]), _nanoseconds(found["updated"])
        if self._storage.has(bucket, f"{name}/"):
            return True, 0, 0
        raise StorageError(errno.ENOENT, path)

    def _entry(self, path: str) -> bytes:
        attributes = self._attributes(path)
        # Valid for no time at all: others write to the bucket, too.
        return struct.pack("<4Q2I", self._node(path), 0, 0, 0, 0, 0) + attributes

    def _lookup(self, node: int, data: bytes) -> bytes:
        return self._entry(self._child(node, data))

    def _getattr(self, node: int, _: bytes) -> bytes:
        return struct.pack("<Q2I", 0, 0, 0) + self._attributes(self._paths[node])

    def _setattr(self, node: int, data: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("<2I2Q", data)
        if valid & SIZE_IS_SET:
            is_open = node in self._open
            opened = self._opened(node, truncate=size == 0)
            os.ftruncate(opened.content.fileno(), size)
            opened.changed = True
            if not is_open:
                self._put_back(node)
        # Modes and times are none of Cloud Storage's; a mount takes them, and keeps its own.
        return self._getattr(node, b"")

    def _mkdir(self, node: int, data: bytes) -> bytes:
        path = self._child(node, data[8:])
        bucket, _, name = path.partition("/")
        if not name:
            raise StorageError(errno.EACCES, "a bucket is not made by making a folder")
        with contextlib.suppress(FileNotFoundError), _as_file_errors():
            self._stat(path)
            raise StorageError(errno.EEXIST, path)
        with tempfile.TemporaryFile() as empty:
            self._storage.upload(bucket, f"{name}/", empty)
        return self._entry(path)

    def _unlink(self, node: int, data: bytes) -> bytes:
        path = self._child(node, data)
        bucket, _, name = path.partition("/")
        opened = self._open.get(self._nodes.get(path, 0))
        if opened is not None:
            opened.changed = False
        if not self._storage.delete(bucket, name) and opened is None:
            raise StorageError(errno.ENOENT, path)
        self._forget(path)
        return b""

    def _rmdir(self, node: int, data: bytes) -> bytes:
        path = self._child(node, data)
        bucket, _, name = path.partition("/")
        if not name:
            raise StorageError(errno.EACCES, "a bucket is not removed with its folder")
        if any(True for _ in self._storage.children(bucket, f"{name}/")):
            raise StorageError(errno.ENOTEMPTY, path)
        self._storage.delete(bucket, f"{name}/")
        self._forget(path)
        return b""

    def _rename(self, node: int, data: bytes, header: int) -> bytes:
        (parent,) = struct.unpack_from("<Q", data)
        old, new = data[header:].split(b"\0")[:2]
        source, target = self._child(node, old), self._child(parent, new)
        if "/" not in source or "/" not in target:
            raise StorageError(errno.EACCES, "a bucket is not renamed")
        self._publish(self._nodes.get(source, 0))
        (bucket, _, name), (new_bucket, _, new_name) = source.partition("/"), target.partition("/")
        if self._stat(source)[0]:
            for path in list(self._below(bucket, f"{name}/")):
                moved = f"{new_name}/{path[len(name) + 1 :]}"
                self._storage.copy(bucket, path, new_bucket, moved)
                self._storage.delete(bucket, path)
        else:
            self._storage.copy(bucket, name, new_bucket, new_name)
            self._storage.delete(bucket, name)
        self._forget(target)
        for path in [path for path in self._nodes if path == source or path.startswith(f"{source}/")]:
            moved_node = self._nodes.pop(path)
            self._paths[moved_node] = target + path[len(source) :]
            self._nodes[self._paths[moved_node]] = moved_node
        return b""

    def _below(self, bucket: str, prefix: str) -> Iterator[str]:
        """Yield the names of all objects of a folder, its own mark included."""
        if self._storage.stat(bucket, prefix) is not None:
            yield prefix
        for name, is_folder in list(self._storage.children(bucket, prefix)):
            if is_folder:
                yield from self._below(bucket, f"{prefix}{name}/")
            else:
                yield f"{prefix}{name}"

    def _forget(self, path: str) -> None:
        # A file that is open without a name lives on under its number.
        node = self._nodes.pop(path, None)
        if node is not None and node not in self._open:
            self._paths.pop(node, None)

    def _opened(self, node: int, *, truncate: bool) -> _Open:
        """Return the open file of a node, fetched if it is not yet."""
        opened = self._open.get(node)
        if opened is None:
            opened = _Open()
            bucket, _, name = self._paths[node].partition("/")
            if not truncate and not self._storage.download(bucket, name, opened.content):
                raise StorageError(errno.ENOENT, name)
            self._open[node] = opened
        if truncate:
            os.ftruncate(opened.content.fileno(), 0)
            opened.changed = True
        return opened

    def _open_file(self, node: int, data: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", data)
        opened = self._opened(node, truncate=bool(flags & os.O_TRUNC))
        opened.users += 1
        return struct.pack("<QII", node, 0, 0)

    def _create(self, node: int, data: bytes) -> bytes:
        path = self._child(node, data[16:])
        if "/" not in path:
            raise StorageError(errno.EACCES, "there are no files at the level of the buckets")
        created = self._node(path)
        opened = self._opened(created, truncate=True)
        opened.users += 1
        return self._entry(path) + struct.pack("<QII", created, 0, 0)

    def _read(self, node: int, data: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<2QI", data)
        return os.pread(self._open[node].content.fileno(), size, offset)

    def _write(self, node: int, data: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<2QI", data)
        opened = self._open[node]
        written = 0
        while written < size:
            written += os.pwrite(opened.content.fileno(), data[40 + written : 40 + size], offset + written)
        opened.changed = True
        return struct.pack("<II", size, 0)

    def _flush(self, node: int, _: bytes) -> bytes:
        self._publish(node)
        return b""

    def _publish(self, node: int) -> None:
        opened = self._open.get(node)
        if opened is None or not opened.changed or self._nodes.get(self._paths[node]) != node:
            return
        bucket, _, name = self._paths[node].partition("/")
        self._storage.upload(bucket, name, opened.content)
        opened.changed = False

    def _release(self, node: int, _: bytes) -> bytes:
        opened = self._open.get(node)
        if opened is not None:
            opened.users -= 1
            self._put_back(node)
        return b""

    def _put_back(self, node: int) -> None:
        """Let go of a file that nobody has open any more."""
        opened = self._open[node]
        if opened.users <= 0:
            try:
                self._publish(node)
            finally:
                del self._open[node]
                opened.content.close()

    def _open_folder(self, node: int, __: bytes) -> bytes:
        path = self._paths[node]
        if path == "":
            # As with Cloud Storage FUSE, which does not know the buckets either.
            raise StorageError(errno.ENOTSUP, "the buckets are not listed")
        bucket, _, name = path.partition("/")
        prefix = f"{name}/" if name else ""
        found = dict(self._storage.children(bucket, prefix))
        for opened in self._open:
            # One that was just created is in no bucket yet.
            parent, _, word = self._paths[opened].rpartition("/")
            if parent == path and self._nodes.get(self._paths[opened]) == opened:
                found.setdefault(word, False)
        self._handle += 1
        self._listed[self._handle] = [(".", True), ("..", True), *sorted(found.items())]
        return struct.pack("<QII", self._handle, 0, 0)

    def _read_folder(self, _: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<2QI", data)
        answer = bytearray()
        for number, (word, is_folder) in enumerate(self._listed[handle][offset:], offset + 1):
            name = os.fsencode(word)
            kind = stat.S_IFDIR >> 12 if is_folder else stat.S_IFREG >> 12
            record = struct.pack("<2Q2I", 2**32 + number, number, len(name), kind) + name
            record += b"\0" * (-len(record) % 8)
            if len(answer) + len(record) > size:
                break
            answer += record
        return bytes(answer)

    def _release_folder(self, _: int, data: bytes) -> bytes:
        self._listed.pop(struct.unpack_from("<Q", data)[0], None)
        return b""


@contextlib.contextmanager
def _as_file_errors() -> Iterator[None]:
    """Let an error of the storage be the subclass of OSError that its number stands for."""
    try:
        yield
    except StorageError as error:
        if error.errno == errno.ENOENT:
            raise FileNotFoundError from error
        raise


def _nanoseconds(text: str) -> int:
    seconds, _, rest = text.rstrip("Z").partition(".")
    whole = int(time.mktime(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S"))) - time.timezone
    return whole * 10**9 + int((rest + "0" * 9)[:9])


LIBC = ctypes.CDLL(None, use_errno=True)


def _call(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind)]
    result = LIBC.mount(*words, ctypes.c_ulong(flags), options.encode() if options else None)
    _call(result, f"mount of {target}")


def enter(folder: str) -> int:
    """Give this process its own /gcs, and return the device by which it is served; OSError where that may not be.

    `folder` is an empty one, which becomes the place of the new root.
    """
    if not hasattr(LIBC, "unshare"):
        raise OSError(errno.ENOSYS, "this needs Linux")
    user, group, here = os.getuid(), os.getgid(), Path.cwd()
    if user != 0 or LIBC.unshare(NEW_MOUNTS) != 0:
        _call(LIBC.unshare(NEW_USER | NEW_MOUNTS), "a user namespace")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _mount("none", "/", None, RECURSIVE | PRIVATE)
    device = os.open("/dev/fuse", os.O_RDWR)
    target = Path(MOUNT)
    is_new = not target.is_dir()
    if is_new:
        target = _new_root(folder) / "gcs"
        target.mkdir()
    options = f"fd={device},rootmode=40000,user_id={user},group_id={group}"
    _mount("gcs", str(target), "fuse", NO_SUID | NO_DEVICES, options)
    if is_new:
        os.chroot(folder)
    os.chdir(here)
    return device


def _new_root(folder: str) -> Path:
    """Make a root that holds all that the machine's root holds."""
    _mount("none", folder, "tmpfs", NO_SUID | NO_DEVICES, "mode=755")
    root = Path(folder)
    for path in Path("/").iterdir():
        place = root / path.name
        if path.is_symlink():
            place.symlink_to(path.readlink())
        elif path.is_dir():
            place.mkdir()
            _mount(str(path), str(place), None, BIND | RECURSIVE)
        elif path.is_file():
            place.touch()
            _mount(str(path), str(place), None, BIND)
    return root


def _serve(device: int, url: str) -> None:
    """Answer in a process that is not a child of the program's, and ends with its group."""
    if os.fork():
        os.wait()
        return
    if os.fork():
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A program that is asked to end may still write.
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    try:
        os.chdir("/")
        FileSystem(device, Bucket(url)).serve()
    finally:
        os._exit(0)


def give(url: str, folder: str) -> None:
    """Give this process, and all that it starts, its own /gcs; OSError where that may not be."""
    device = enter(folder)
    _serve(device, url)
    os.close(device)


def main(url: str, folder: str, *program: str) -> int:
    """Become the program, with /gcs; without one, only try."""
    try:
        if not program:
            enter(folder)
            return 0
        give(url, folder)
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        return 1
    try:
        os.execvp(program[0], program)  # noqa: S606  (a shell would read the words once more)
    except OSError as error:
        # As a shell says it.
        sys.stderr.write(f"{program[0]}: {error.strerror}\n")
        return 127 if error.errno == errno.ENOENT else 126


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
