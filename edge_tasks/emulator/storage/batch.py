"""Many calls in one request: https://cloud.google.com/storage/docs/batch."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from edge_tasks.emulator.storage.errors import StorageError, invalid
from edge_tasks.emulator.storage.multipart import boundary_of
from edge_tasks.emulator.storage.request import Answer, Call

MOST_CALLS = 100
# One call of a batch: method, path with query, headers, body.
Dispatch = Callable[[str, str, dict[str, str], bytes], Awaitable[tuple[int, dict[str, str], bytes]]]


async def run(call: Call, dispatch: Dispatch) -> Answer:
    """Answer each of the calls, in their order."""
    kind = call.headers.get("content-type", "")
    boundary_of(kind)
    body = await call.body.read()
    message = email.message_from_bytes(
        b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + body, policy=email.policy.HTTP
    )
    parts = list(message.iter_parts()) if message.is_multipart() else []
    if not parts:
        raise invalid("The batch has no calls.")
    if len(parts) > MOST_CALLS:
        raise invalid(f"The batch has {len(parts)} calls, at most {MOST_CALLS} are possible.")
    boundary = "batch_vertex_edge"
    answers = []
    for part in parts:
        payload = part.get_payload(decode=True)
        status, headers, content = await _one(payload if isinstance(payload, bytes) else b"", call, dispatch)
        lines = [f"--{boundary}", "Content-Type: application/http"]
        content_id = part.get("content-id")
        if content_id is not None:
            lines.append(f"Content-ID: <response-{str(content_id).strip().removeprefix('<')}")
        lines += ["", f"HTTP/1.1 {status} {_phrase(status)}"]
        lines += [f"{name.title()}: {value}" for name, value in headers.items()]
        answers.append("\r\n".join([*lines, "", ""]).encode() + content + b"\r\n")
    body = b"".join(answers) + f"--{boundary}--\r\n".encode()
    return Answer(body=body, headers={"content-type": f"multipart/mixed; boundary={boundary}"})


async def _one(payload: bytes, call: Call, dispatch: Dispatch) -> tuple[int, dict[str, str], bytes]:
    head, _, body = payload.replace(b"\r\n", b"\n").partition(b"\n\n")
    line, *fields = head.decode("utf-8", "replace").strip().split("\n")
    method, _, target = line.partition(" ")
    parts = urlsplit(target.strip().rpartition(" HTTP/")[0] or target.strip())
    headers = {"host": call.headers.get("host", "")}
    for field in fields:
        name, _, value = field.partition(":")
        headers[name.strip().lower()] = value.strip()
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    if not path.startswith("/storage/v1/") or "alt=media" in parts.query.split("&"):
        error = StorageError(400, "invalid", "A batch takes no uploads and no downloads.")
        return await dispatch("ERROR", error.message, headers, b"")
    return await dispatch(method.upper(), path, headers, body)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
