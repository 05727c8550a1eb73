"""A request as the rest of the package sees it, and the reply to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from edge_tasks.emulator.errors import ApiError, invalid

if TYPE_CHECKING:
    from edge_tasks.emulator.serving.loan import Given

# What every Google API takes besides its own parameters: https://cloud.google.com/apis/docs/system-parameters
SYSTEM_PARAMETERS = frozenset(
    {"alt", "callback", "fields", "key", "access_token", "oauth_token", "prettyPrint", "quotaUser", "userIp"}
    | {"uploadType", "upload_protocol", ".xgafv", "unique"}
)

# Whether the request that is being answered is one of v1beta1.
IS_BETA: ContextVar[bool] = ContextVar("IS_BETA", default=False)


@dataclass(slots=True)
class Request:
    """One HTTP request, its body read; `given` is what the model has answered already, on a connection lent to it."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    variables: Mapping[str, str] = field(default_factory=dict)
    given: Given | None = None

    def parameters(self) -> list[tuple[str, str]]:
        """Return the query parameters that are not system parameters, in order."""
        return [
            (name, value)
            for name, value in parse_qsl(self.query, keep_blank_values=True)
            if name.removeprefix("$") not in SYSTEM_PARAMETERS
        ]

    @property
    def wants_enum_numbers(self) -> bool:
        """Whether the client asked for enums as numbers, as the SDK does: `$alt=json;enum-encoding=int`."""
        return any(
            name in {"alt", "$alt"} and "enum-encoding=int" in value.split(";") for name, value in parse_qsl(self.query)
        )

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; no body is an empty one."""
        if not self.body.strip():
            return {}
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise invalid(f"Invalid JSON payload received. {error}") from None
        if not isinstance(value, dict):
            raise invalid("Invalid JSON payload received. The body must be a JSON object.")
        return value


@dataclass(slots=True, eq=False)
class Connection:
    """A connection whose next requests somebody else may answer, if they are like the last one."""

    descriptor: int
    # Of a request's head: all to the digits of its length, and all from there on.
    before: bytes
    after: bytes
    # Of an answer's head: all to the digits of its length.
    answer_head: bytes
    # To be called when the requests are to be read here again: with an answer to the next one, if that is there,
    # whether any was answered elsewhere, and whether an answer has broken off.
    come_back: Callable[[Given | None, bool, bool], None]
    # Called when the client has gone, and when this server ends.
    when_closed: Callable[[], None] = lambda: None


@dataclass(slots=True)
class Reply:
    """One HTTP reply; it is written in one piece.

    `lend` takes a connection to where requests like this one are answered as well, if there it is wanted.
    """

    body: bytes
    status: int = 200
    content_type: str = "application/json; charset=UTF-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    lend: Callable[[Connection], bool] | None = None


@dataclass(slots=True)
class StreamedReply:
    """A reply that is written as it comes; one that breaks off ends the connection, so that the client sees it."""

    chunks: AsyncGenerator[bytes, None]
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


def json_reply(value: Any, status: int = 200) -> Reply:
    """Return a reply with a JSON body."""
    return Reply(orjson.dumps(value), status)


def error_reply(error: ApiError) -> Reply:
    """Return the reply for an error in Google's form: https://cloud.google.com/apis/design/errors."""
    code = error.code
    body = {"code": code.http_status, "message": error.message, "status": code.name}
    return Reply(orjson.dumps({"error": body}), code.http_status)
