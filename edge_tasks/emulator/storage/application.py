"""The ASGI application of Cloud Storage: guard, routes, and errors in Google's form."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson

from edge_tasks.emulator.errors import ApiError
from edge_tasks.emulator.http import guard
from edge_tasks.emulator.storage import batch, conditions, listing, partial
from edge_tasks.emulator.storage.buckets import Buckets
from edge_tasks.emulator.storage.contents import PIECE, Contents
from edge_tasks.emulator.storage.downloads import download
from edge_tasks.emulator.storage.errors import StorageError, full_disk, invalid, is_full_disk, unimplemented
from edge_tasks.emulator.storage.index import Index
from edge_tasks.emulator.storage.names import unquoted
from edge_tasks.emulator.storage.objects import Objects
from edge_tasks.emulator.storage.request import Answer, Body, Call, GoneError, Streamed, flag
from edge_tasks.emulator.storage.uploads import Uploads
from edge_tasks.emulator.storage.xml_api import XmlApi

Method = Callable[[Call], Awaitable["Answer | Streamed"]]
JSON = "application/json; charset=UTF-8"
LOG = logging.getLogger(__name__)
# Clients ask for the same again and again: so many paths and queries are read once.
REMEMBERED = 1024
# What Cloud Storage has and this emulator has not; all other paths are not part of the API.
ABSENT = re.compile(
    r"b/[^/]+/(notificationConfigs|anywhereCaches|folders|managedFolders|o/watch|o/bulkRestore|operations|restore|relocate)"
    r"|b/[^/]+/o/[^/]+/(restore|iam)|projects/[^/]+/hmacKeys|channels/stop"
)


class Route(NamedTuple):
    """A method at a path; `None` in the path stands for a name."""

    path: tuple[str | None, ...]
    method: Method


class StorageApplication:
    """Answers every request to Cloud Storage."""

    def __init__(self, index: Index, contents: Contents) -> None:
        self._index = index
        self._contents = contents
        self._objects = Objects(index, contents)
        self._uploads = Uploads(index, contents)
        self._xml = XmlApi(index, contents, self._objects, self._uploads)
        self._routes: dict[tuple[str, int], list[Route]] = {}
        for methods, path, method in self._table():
            parts = tuple(None if part == "*" else part for part in path.split("/"))
            for name in methods.split():
                self._routes.setdefault((name, len(parts)), []).append(Route(parts, method))
        self._match = functools.lru_cache(REMEMBERED)(self._find)

    def _table(self) -> list[tuple[str, str, Method]]:
        """Return HTTP methods, path and method of all that there is below `/storage/v1/` and `/upload/storage/v1/`."""
        buckets, objects = Buckets(self._index), self._objects
        acl = [(f"{path}/acl", owner) for path, owner in (("b/*", buckets), ("b/*/o/*", objects))] + [
            ("b/*/defaultObjectAcl", buckets)
        ]
        table: list[tuple[str, str, Method]] = [
            ("GET", "b", buckets.list),
            ("POST", "b", buckets.insert),
            ("GET", "b/*", buckets.get),
            ("PATCH", "b/*", buckets.patch),
            ("PUT", "b/*", buckets.update),
            ("DELETE", "b/*", buckets.delete),
            ("GET", "b/*/storageLayout", buckets.storage_layout),
            ("GET", "b/*/folders", buckets.list_folders),
            ("GET", "b/*/managedFolders", buckets.list_folders),
            ("GET", "b/*/iam", buckets.get_policy),
            ("PUT", "b/*/iam", buckets.set_policy),
            ("GET", "b/*/iam/testPermissions", buckets.test_permissions),
            ("POST", "b/*/lockRetentionPolicy", buckets.lock_retention),
            ("GET", "projects/*/serviceAccount", buckets.service_account),
            ("GET", "b/*/o", self._list),
            ("GET HEAD", "b/*/o/*", self._get),
            ("PATCH", "b/*/o/*", objects.patch),
            ("PUT", "b/*/o/*", objects.update),
            ("DELETE", "b/*/o/*", objects.delete),
            ("POST", "b/*/o/*/compose", objects.compose),
            ("POST", "b/*/o/*/copyTo/b/*/o/*", objects.copy),
            ("POST", "b/*/o/*/rewriteTo/b/*/o/*", objects.rewrite),
            ("POST", "b/*/o/*/moveTo/o/*", objects.move),
            ("POST", "upload/b/*/o", self._uploads.insert),
            ("PUT", "upload/b/*/o", self._uploads.resume),
            ("DELETE", "upload/b/*/o", self._uploads.cancel),
        ]
        for path, owner in acl:
            table += [
                ("GET", path, owner.list_acl),
                ("POST", path, owner.put_acl),
                ("GET", f"{path}/*", owner.get_acl),
                ("PUT PATCH", f"{path}/*", owner.put_acl),
                ("DELETE", f"{path}/*", owner.delete_acl),
            ]
        return table

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Serve one ASGI connection; uvicorn is told to speak HTTP only."""
        if scope["type"] != "http":
            return
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1").partition("?")[0]
        query = scope["query_string"].decode("latin-1")
        body = Body(receive)
        answer = await self._answer(scope["method"], path, query, headers, body)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            await body.leave()
        head_only = scope["method"] == "HEAD"
        if isinstance(answer, Streamed):
            await self._stream(answer, receive, send, head_only=head_only)
        else:
            await _send(answer, send, head_only=head_only)

    async def _answer(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: Body
    ) -> Answer | Streamed:
        try:
            guard.check(headers)
            call = _call(method, path, query, headers, body)
            return await self._dispatch(call)
        except StorageError as error:
            return _refusal(error)
        except ApiError as error:
            return _refusal(StorageError(error.code.http_status, "forbidden", error.message))
        except GoneError:
            return _refusal(StorageError(409, "conflict", "The client has gone away, or has come back elsewhere."))
        except Exception as error:
            if is_full_disk(error):
                return _refusal(full_disk())
            # A fault of ours: the trace goes to our log, never to a client.
            LOG.exception("%s %s", method, path)
            return _refusal(StorageError(500, "internalError", "Internal error; see the emulator's log."))

    async def _dispatch(self, call: Call) -> Answer | Streamed:
        parts = call.parts
        if parts[:2] == ("storage", "v1"):
            rest = parts[2:]
        elif parts[:3] == ("upload", "storage", "v1"):
            rest = ("upload", *parts[3:])
        elif parts[:4] == ("resumable", "upload", "storage", "v1"):
            rest = ("upload", *parts[4:])
        elif parts[:3] == ("download", "storage", "v1"):
            rest = parts[3:]
            call.query = {**call.query, "alt": "media"}
        elif parts[:3] == ("batch", "storage", "v1") and call.method == "POST":
            return await batch.run(call, self._one_of_batch)
        elif parts == ("",):
            return Answer(value={"kind": "storage#emulator"})
        else:
            call.names = (parts[0], "/".join(parts[1:]))
            return await self._xml.answer(call)
        route, call.names = self._match(call.method, rest)
        if flag(call.query, "softDeleted"):
            raise unimplemented("Soft delete (softDeleted=true)")
        answer = await route.method(call)
        fields = call.query.get("fields")
        if fields and isinstance(answer, Answer) and answer.value is not None:
            answer.value = partial.select(answer.value, partial.parse(fields))
        return answer

    def _find(self, method: str, parts: tuple[str, ...]) -> tuple[Route, tuple[str, ...]]:
        for route in self._routes.get((method, len(parts)), ()):
            if all(fixed is None or fixed == part for fixed, part in zip(route.path, parts, strict=True)):
                names = tuple(part for fixed, part in zip(route.path, parts, strict=True) if fixed is None)
                if "" not in names:
                    return route, names
        path = "/".join(parts)
        if ABSENT.fullmatch(path) or ABSENT.match(f"{path}/"):
            raise unimplemented(f"{method} {path[:300]}")
        raise StorageError(404, "notFound", f"The path {method} {path[:300]} is not part of this API.")

    async def _list(self, call: Call) -> Answer:
        return await listing.list_objects(self._index, call)

    async def _get(self, call: Call) -> Answer | Streamed:
        if call.query.get("alt") != "media":
            return await self._objects.get(call)
        generation = conditions.number(call.query, "generation")
        return download(self._objects, call, conditions.of_object(call.query, call.headers), generation)

    async def _one_of_batch(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        path, _, query = target.partition("?")
        if method == "ERROR":
            answer: Answer | Streamed = _refusal(invalid(target))
        else:
            answer = await self._answer(method, path, query, headers, Body(receive))
        assert isinstance(answer, Answer)
        content = _content(answer)
        return answer.status, {**answer.headers, "content-length": str(len(content))}, content

    async def _stream(self, answer: Streamed, receive: Any, send: Any, *, head_only: bool) -> None:
        """Send a content piece by piece, until it ends or the client goes away."""
        source = answer.source
        try:
            start = {"type": "http.response.start", "status": answer.status, "headers": _pairs(answer.headers)}
            if head_only or (source.in_memory and not answer.unzipped):
                await send(start)
                body = b"" if head_only else source.read(answer.start, answer.end - answer.start)
                await send({"type": "http.response.body", "body": body})
                return
            await send(start)
            # The body has been read, so that what comes now is the end of the connection.
            gone = asyncio.ensure_future(_end_of(receive))
            try:
                await self._send_pieces(answer, send, gone)
            finally:
                gone.cancel()
        finally:
            source.close()

    async def _send_pieces(self, answer: Streamed, send: Any, gone: asyncio.Future[None]) -> None:
        unzip = zlib.decompressobj(wbits=31) if answer.unzipped else None
        at = answer.start
        while at < answer.end and not gone.done():
            length = min(PIECE, answer.end - at)
            piece = await self._contents.work(answer.source.read, at, length)
            at += length
            if unzip is not None:
                piece = await self._contents.work(unzip.decompress, piece)
            await send({"type": "http.response.body", "body": piece, "more_body": at < answer.end or unzip is not None})
        if unzip is not None:
            await send({"type": "http.response.body", "body": unzip.flush()})
        elif answer.start == answer.end:
            await send({"type": "http.response.body", "body": b""})

    async def tidy(self) -> None:
        """Remove what a killed process has left, and the uploads that have expired."""
        await self._uploads.tidy()
        swept = await self._contents.work(self._contents.sweep, self._index.unused_files)
        if swept:
            LOG.info("Cloud Storage: %s files of unfinished uploads were removed", swept)


def _call(method: str, path: str, query: str, headers: Mapping[str, str], body: Body) -> Call:
    single, repeated = _parameters(query)
    return Call(method, _parts(path), single, headers, body, repeated=repeated)


@functools.lru_cache(REMEMBERED)
def _parts(path: str) -> tuple[str, ...]:
    return tuple(unquoted(part) for part in path.lstrip("/").split("/"))


@functools.lru_cache(REMEMBERED)
def _parameters(query: str) -> tuple[Mapping[str, str], Mapping[str, list[str]]]:
    """Return the parameters, and all values of those that stand several times."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError:
        raise invalid("The query is not UTF-8.") from None
    repeated: dict[str, list[str]] = {}
    for name, value in pairs:
        repeated.setdefault(name, []).append(value)
    return dict(pairs), repeated


def _refusal(error: StorageError) -> Answer:
    if error.status == 304:
        return Answer(304)
    headers = {} if error.status != 416 else {"content-range": "bytes */*"}
    return Answer(error.status, value=error.body(), headers=headers)


def _content(answer: Answer) -> bytes:
    if answer.value is None:
        return answer.body
    answer.headers.setdefault("content-type", JSON)
    return orjson.dumps(answer.value)


async def _send(answer: Answer, send: Any, *, head_only: bool) -> None:
    content = _content(answer)
    if answer.status not in {204, 304}:
        answer.headers["content-length"] = str(len(content))
    await send({"type": "http.response.start", "status": answer.status, "headers": _pairs(answer.headers)})
    await send({"type": "http.response.body", "body": b"" if head_only else content})


def _pairs(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("utf-8", "replace")) for name, value in headers.items()]


async def _end_of(receive: Any) -> None:
    with contextlib.suppress(Exception):
        while (await receive())["type"] != "http.disconnect":
            pass
