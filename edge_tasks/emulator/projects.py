"""Projects: an id that people choose, and the number by which Google's services name them in what they answer.

https://cloud.google.com/resource-manager/docs/creating-managing-projects: every project has both, requests take
either, and resource names come back with the number. Here the number follows from the id, so that it is the same in
every emulator, after a restart, and with no list of projects to keep.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_tasks.emulator.schema.surface import Message

# Who acts in an emulator, where nobody says who they are.
ACCOUNT = "local@vertex-ai-emulator.iam.gserviceaccount.com"
# The forms of https://cloud.google.com/resource-manager/reference/rest/v3/projects, and shorter ones, which tests like.
PROJECT_ID = r"[a-z0-9][a-z0-9:.-]{0,62}"
SMALLEST, COUNT = 100_000_000_000, 900_000_000_000
REMEMBERED = 1024
NAME = re.compile(rf"projects/({PROJECT_ID})(/locations/[^\s/]+(?:/[^\s/]+)*)")
NAME_INSIDE = re.compile(rf"(?<![\w/])projects/({PROJECT_ID})(?=/locations/)")
# Texts of the user's own: a name in them is not a reference to a resource.
OWN_TEXTS = frozenset({"args", "command", "value", "description", "display_name", "version_description"})

_ids: dict[int, str] = {}


def project_number(project: str) -> int:
    """Return the number of a project, 12 digits; a number is that of its project already."""
    if project.isdecimal():
        return int(project)
    digest = hashlib.sha256(project.encode()).digest()
    number = SMALLEST + int.from_bytes(digest[:8], "big") % COUNT
    _ids[number] = project
    return number


def project_id(project: str | int) -> str:
    """Return the id of a project whose id or number is given; the number as text when this process has not met its id.

    A number does not tell the id: `store.database` keeps the ids of the projects that have resources.
    """
    return _ids.get(int(project), str(project)) if str(project).isdecimal() else str(project)


@functools.lru_cache(REMEMBERED)
def numbered(name: str) -> str:
    """Return a resource's name with its project's number; any other text as it is."""
    match = NAME.fullmatch(name)
    return f"projects/{project_number(match.group(1))}{match.group(2)}" if match else name


def numbered_filter(text: str) -> str:
    """Return a filter in which every resource name carries its project's number."""
    return NAME_INSIDE.sub(lambda match: f"projects/{project_number(match.group(1))}", text)


def use_numbers(message: Message) -> None:
    """Put the project's number into every resource name that a message refers to; the user's own texts stay."""
    for field, value in message.ListFields():
        if field.message_type is None:
            if field.type == field.TYPE_STRING and field.name not in OWN_TEXTS:
                _use_numbers_in(message, field, value)
        elif field.message_type.GetOptions().map_entry or field.message_type.full_name.startswith("google.protobuf."):
            continue
        elif field.is_repeated:
            for part in value:
                use_numbers(part)
        else:
            use_numbers(value)


def _use_numbers_in(message: Message, field: Message, value: Message) -> None:
    if field.is_repeated:
        value[:] = [numbered(text) for text in value]
    else:
        setattr(message, field.name, (numbered_filter if field.name == "filter" else numbered)(value))
