"""A recorded session, asked of the emulator, to see where the answers differ.

The ids in them always do, so that an id of the recording stands for the one that the emulator gave in its place. Times,
etags and states of what is under way are not compared; names of fields, types, words in capitals and errors are.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from edge_tasks.emulator.projects import project_number
from edge_tasks.emulator.recording.exchange import Exchange
from edge_tasks.emulator.recording.redaction import NUMBER, PROJECT

SECONDS_TO_END = 120.0
SECONDS_TO_ANSWER = 300.0
# Shorter ones, such as a version's, would be found in places where they are something else.
ID = re.compile(r"[A-Za-z0-9_@-]{6,}")
GIVEN = re.compile(r"[0-9]{15,20}")
ENUM = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
# Their values say when, not what.
OF_THE_MOMENT = frozenset({"state", "done", "nextPageToken", "etag", "pageToken"})


class Replay:
    """Asks the emulator what was asked of Vertex AI."""

    def __init__(self, address: str, substitutes: Mapping[str, str]) -> None:
        self._address = address
        self._ids: dict[str, str] = {NUMBER: str(project_number(PROJECT)), **substitutes}
        self._session = requests.Session()
        self._session.trust_env = False

    def differences(self, exchange: Exchange) -> list[str]:
        """Return what differs, in words; nothing when the answers say the same."""
        status, response = self._ask(exchange)
        if status != exchange.status:
            return [f"status {exchange.status} of Vertex AI, {status} here: {_error(response) or 'no error'}"]
        self._learn(exchange.response, response)
        return list(self._compare(exchange.response, response, ""))

    def _ask(self, exchange: Exchange) -> tuple[int, Any]:
        path, query = self._here(exchange.path), self._here(exchange.query)
        body = None if exchange.request is None else self._here(json.dumps(exchange.request))
        deadline = time.monotonic() + SECONDS_TO_END
        while True:
            url = f"{self._address}{path}" + (f"?{query}" if query else "")
            reply = self._session.request(exchange.method, url, data=body, timeout=SECONDS_TO_ANSWER)
            try:
                response = reply.json()
            except ValueError:
                response = None
            # An operation that had ended then has to end here, too.
            waits = exchange.method == "GET" and isinstance(exchange.response, dict) and exchange.response.get("done")
            ended = not isinstance(response, dict) or response.get("done") or "/operations/" not in urlsplit(url).path
            if not waits or ended or time.monotonic() > deadline:
                return reply.status_code, response
            time.sleep(0.05)

    def _here(self, text: str) -> str:
        """Return a text with the emulator's ids in the place of those of the recording."""
        for there, here in self._ids.items():
            text = re.sub(rf"(?<![\w-]){re.escape(there)}(?![\w-])", lambda _, here=here: here, text)  # type: ignore[misc]
        return text

    def _learn(self, there: Any, here: Any) -> None:
        """Note which id of the emulator stands for which one of the recording: where both name a resource."""
        if isinstance(there, dict) and isinstance(here, dict):
            for name in there.keys() & here.keys():
                self._learn(there[name], here[name])
        elif isinstance(there, list) and isinstance(here, list):
            for one, other in zip(there, here, strict=False):
                self._learn(one, other)
        elif isinstance(there, str) and isinstance(here, str) and there.startswith("projects/"):
            ones, others = there.split("/"), here.split("/")
            if ones[::2] == others[::2]:
                for one, other in zip(ones[1::2], others[1::2], strict=False):
                    if one != other and ID.fullmatch(one) and ID.fullmatch(other):
                        self._ids.setdefault(one, other)
        elif isinstance(there, str) and isinstance(here, str) and GIVEN.fullmatch(there) and GIVEN.fullmatch(here):
            # Such as that of a deployed model, which no name holds.
            self._ids.setdefault(there, here)

    def _compare(self, there: Any, here: Any, place: str) -> Iterator[str]:
        shown = place or "the answer"
        if isinstance(there, dict) and isinstance(here, dict):
            for name in sorted(there.keys() - here.keys()):
                yield f"{place}.{name}: only Vertex AI has it, {json.dumps(there[name])[:100]}".lstrip(".")
            for name in sorted(here.keys() - there.keys()):
                yield f"{place}.{name}: only the emulator has it, {json.dumps(here[name])[:100]}".lstrip(".")
            for name in sorted(there.keys() & here.keys()):
                if name not in OF_THE_MOMENT:
                    yield from self._compare(there[name], here[name], f"{place}.{name}".lstrip("."))
        elif isinstance(there, list) and isinstance(here, list):
            if len(there) != len(here):
                yield f"{shown}: {len(there)} of Vertex AI, {len(here)} here"
            for number, (one, other) in enumerate(zip(there, here, strict=False)):
                yield from self._compare(one, other, f"{place}[{number}]")
        elif _kind(there) != _kind(here):
            yield f"{shown}: {_kind(there)} of Vertex AI, {_kind(here)} here"
        elif isinstance(there, str) and _is_compared(there, place) and self._here(there) != here:
            yield f"{shown}: {there!r} of Vertex AI, {here!r} here"


def _is_compared(text: str, place: str) -> bool:
    """Whether a text says what happened, not when or in whose words."""
    return bool(ENUM.fullmatch(text)) or place in {"error.message", "error.status"}


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return kinds.get(type(value), "a number")


def _error(response: Any) -> str:
    error = response.get("error") if isinstance(response, dict) else None
    return str(error.get("message", "")) if isinstance(error, dict) else ""
