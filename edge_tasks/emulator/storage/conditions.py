"""Preconditions: https://cloud.google.com/storage/docs/request-preconditions.

A generation of 0 stands for an object that does not exist.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import NamedTuple

from edge_tasks.emulator.storage.errors import condition_not_met, not_modified, wrong_parameter
from edge_tasks.emulator.storage.tables import Bucket, Object

LARGEST = 2**63 - 1


class Conditions(NamedTuple):
    """What a request demands of the object, or the bucket, that it finds."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None
    etags: str | None = None
    not_etags: str | None = None

    def check(self, found: Object | Bucket | None, *, reading: bool = False) -> None:
        """Refuse the request if what was found is not what it demands: 412, or 304 to a reader who has it already."""
        if self is NONE:
            return
        generation = found.generation if isinstance(found, Object) else 0
        metageneration = found.metageneration if found is not None else 0
        tag = etag(found) if found is not None else ""
        if self.generation is not None and self.generation != generation:
            raise condition_not_met()
        if self.metageneration is not None and self.metageneration != metageneration:
            raise condition_not_met()
        if self.etags is not None and not _names(self.etags, tag):
            raise condition_not_met()
        unwanted = (
            self.not_generation == generation,
            self.not_metageneration is not None and self.not_metageneration == metageneration,
            self.not_etags is not None and _names(self.not_etags, tag),
        )
        if any(unwanted):
            raise not_modified() if reading else condition_not_met("If-None-Match")


NONE = Conditions()


def of_object(
    query: Mapping[str, str], headers: Mapping[str, str] | None = None, *, source: bool = False
) -> Conditions:
    """Read the preconditions of a request on its object, or on the source of a copy."""
    middle = "Source" if source else ""
    tags = headers or {}
    if not any(name.startswith("if") for name in query) and "if-match" not in tags and "if-none-match" not in tags:
        return NONE
    return Conditions(
        number(query, f"if{middle}GenerationMatch"),
        number(query, f"if{middle}GenerationNotMatch"),
        number(query, f"if{middle}MetagenerationMatch"),
        number(query, f"if{middle}MetagenerationNotMatch"),
        tags.get("if-match"),
        tags.get("if-none-match"),
    )


def of_bucket(query: Mapping[str, str], headers: Mapping[str, str]) -> Conditions:
    """Read the preconditions of a request on its bucket."""
    return Conditions(
        metageneration=number(query, "ifMetagenerationMatch"),
        not_metageneration=number(query, "ifMetagenerationNotMatch"),
        etags=headers.get("if-match"),
        not_etags=headers.get("if-none-match"),
    )


def number(query: Mapping[str, str], name: str) -> int | None:
    """Return a parameter that is a number of 64 bits; None when it is not there."""
    text = query.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) > LARGEST:
        raise wrong_parameter(name, text)
    return int(text)


def etag(found: Object | Bucket) -> str:
    """Return the tag of a version: Google's own is the two numbers as a protocol buffer."""
    if isinstance(found, Bucket):
        return base64.b64encode(b"\x08" + _varint(found.metageneration)).decode()
    return base64.b64encode(b"\x08" + _varint(found.generation) + b"\x10" + _varint(found.metageneration)).decode()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _names(header: str, tag: str) -> bool:
    wanted = {part.strip().removeprefix("W/").strip('"') for part in header.split(",")}
    return bool(tag) and ("*" in wanted or tag in wanted)
