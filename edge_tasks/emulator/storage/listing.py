"""Lists of objects: https://cloud.google.com/storage/docs/json_api/v1/objects/list.

What lies below a folder (a common prefix) is stepped over, not read.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from edge_tasks.emulator.storage import conditions, partial, resources
from edge_tasks.emulator.storage.buckets import find
from edge_tasks.emulator.storage.errors import invalid, wrong_parameter
from edge_tasks.emulator.storage.index import Index
from edge_tasks.emulator.storage.names import after_all_with
from edge_tasks.emulator.storage.request import Answer, Call, flag
from edge_tasks.emulator.storage.tables import Object, Tables

LARGEST_PAGE = 1000
# Rows that are read in one step, at first and at most: most folders have few members, a long list many.
FIRST_STEP = 64


class Wanted(NamedTuple):
    """What a request wants to see."""

    bucket: str
    prefix: str
    delimiter: str
    with_folders: bool
    start: str
    end: str | None
    glob: re.Pattern[str] | None
    versions: bool
    limit: int


class Place(NamedTuple):
    """Where a page ends: the next one begins at this name, behind this generation."""

    name: str
    generation: int = -1


class Page(NamedTuple):
    """A page of a list."""

    rows: list[Object]
    prefixes: list[str]
    following: Place | None


async def list_objects(index: Index, call: Call) -> Answer:
    """GET /b/BUCKET/o."""
    bucket = find(index.tables, call.names[0])
    wanted = _wanted(bucket.name, call.query)
    page = read_page(index.tables, wanted, _place(call.query.get("pageToken")))
    told: dict[str, Any] = {"kind": "storage#objects"}
    if page.following is not None:
        told["nextPageToken"] = base64.urlsafe_b64encode(json.dumps(page.following).encode()).decode()
    if page.prefixes:
        told["prefixes"] = page.prefixes
    full = resources.wants_all(call.query)
    wanted_fields = partial.names_at(call.query.get("fields"), "items")
    if page.rows and not full and wanted_fields is None:
        base = call.base
        items = ",".join([resources.object_text(row, bucket, base) for row in page.rows])
        body = f'{orjson.dumps(told).decode()[:-1]},"items":[{items}]}}'
        return Answer(body=body.encode(), headers={"content-type": "application/json; charset=UTF-8"})
    if page.rows:
        told["items"] = [
            resources.object_resource(row, bucket, call.base, full=full, wanted=wanted_fields) for row in page.rows
        ]
    return Answer(value=told)


def read_page(tables: Tables, wanted: Wanted, place: Place | None) -> Page:
    """Return the page of a list that begins at a place."""
    rows: list[Object] = []
    prefixes: list[str] = []
    at = place or Place(wanted.start)
    step = FIRST_STEP
    while True:
        found = tables.objects(wanted.bucket, at.name, wanted.end, step, versions=wanted.versions)
        jumped = False
        for row in found:
            if row.name == at.name and row.generation <= at.generation:
                continue
            if len(rows) + len(prefixes) >= wanted.limit:
                return Page(rows, prefixes, Place(row.name, row.generation - 1))
            folder = _folder(row.name, wanted)
            if folder is not None and (folder != row.name or not wanted.with_folders):
                prefixes.append(folder)
                behind = after_all_with(folder)
                if behind is None or (wanted.end is not None and behind >= wanted.end):
                    return Page(rows, prefixes, None)
                at, jumped, step = Place(behind), True, FIRST_STEP
                break
            if folder is not None and (not prefixes or prefixes[-1] != folder):
                # An object that is named like a folder comes in both lists; the rest of the folder is stepped over.
                prefixes.append(folder)
            if wanted.glob is None or wanted.glob.fullmatch(row.name):
                rows.append(row)
            if folder is not None:
                behind = after_all_with(folder)
                if behind is None or (wanted.end is not None and behind >= wanted.end):
                    return Page(rows, prefixes, None)
                at, jumped, step = Place(behind), True, FIRST_STEP
                break
            at = Place(row.name, row.generation)
        if not jumped:
            if len(found) < step:
                return Page(rows, prefixes, None)
            step = min(step * 4, wanted.limit + 2)


def _folder(name: str, wanted: Wanted) -> str | None:
    """Return the common prefix that a name belongs to; None when it stands for itself."""
    if not wanted.delimiter:
        return None
    end = name.find(wanted.delimiter, len(wanted.prefix))
    return None if end < 0 else name[: end + len(wanted.delimiter)]


def _wanted(bucket: str, query: Mapping[str, str]) -> Wanted:
    prefix = query.get("prefix", "")
    limit = conditions.number(query, "maxResults")
    if limit == 0:
        raise wrong_parameter("maxResults", 0)
    end = after_all_with(prefix) if prefix else None
    if query.get("endOffset"):
        end = min(query["endOffset"], end) if end is not None else query["endOffset"]
    glob = query.get("matchGlob")
    return Wanted(
        bucket,
        prefix,
        query.get("delimiter", ""),
        flag(query, "includeTrailingDelimiter"),
        max(prefix, query.get("startOffset", "")),
        end,
        None if glob is None else pattern(glob),
        flag(query, "versions"),
        min(limit or LARGEST_PAGE, LARGEST_PAGE),
    )


def _place(token: str | None) -> Place | None:
    if not token:
        return None
    try:
        name, generation = json.loads(base64.urlsafe_b64decode(token))
        return Place(str(name), int(generation))
    except (ValueError, TypeError):
        raise wrong_parameter("pageToken", token) from None


@lru_cache(maxsize=128)
def pattern(glob: str) -> re.Pattern[str]:
    """Return a glob as a regular expression: `*` and `?` stay within a folder, `**` does not; `[a-z]`, `{one,two}`.

    https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob
    """
    out, at, depth = "", 0, 0
    while at < len(glob):
        letter = glob[at]
        if glob.startswith("**/", at):
            # Any folders, or none.
            out, at = out + "(?:.*/)?", at + 2
        elif glob.startswith("**", at):
            out, at = out + ".*", at + 1
        elif letter == "*":
            out += "[^/]*"
        elif letter == "?":
            out += "[^/]"
        elif letter == "[":
            end = glob.find("]", at + 2)
            if end < 0:
                raise _bad_glob(glob)
            inner = glob[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            out += f"[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]"
            at = end
        elif letter == "{":
            out, depth = out + "(?:", depth + 1
        elif letter == "}" and depth:
            out, depth = out + ")", depth - 1
        elif letter == "," and depth:
            out += "|"
        elif letter == "\\" and at + 1 < len(glob):
            at += 1
            out += re.escape(glob[at])
        else:
            out += re.escape(letter)
        at += 1
    if depth:
        raise _bad_glob(glob)
    try:
        return re.compile(out, re.DOTALL)
    except re.error:
        raise _bad_glob(glob) from None


def _bad_glob(glob: str) -> Exception:
    return invalid(f"Invalid glob pattern: {glob[:200]!r}")
