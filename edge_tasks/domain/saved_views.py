"""A view that somebody saved for the team: a name, and the address in the dashboard that shows it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

from edge_tasks.errors import EdgeError

# Characters.
LONGEST_NAME, LONGEST_ADDRESS = 60, 4000

# The pages whose settings stand in their address; what follows is made of URLSearchParams' characters alone.
_ADDRESS = re.compile(r"#/(?:groups|compare)?(?:\?[A-Za-z0-9*._+%=&-]*)?")


@dataclass(frozen=True)
class SavedView:
    """A view, who saved it, and when (ISO 8601)."""

    name: str
    address: str
    by: str
    at: str


def checked_name(text: object) -> str:
    """Return a name as it is kept. Raises EdgeError for one that nobody could read or type."""
    name = " ".join(str(text).split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise EdgeError(f"a view's name has 1 to {LONGEST_NAME} characters that can be seen")
    return name


def checked_address(text: object) -> str:
    """Return an address within the page. Raises EdgeError for any other: it becomes a link for others."""
    address = str(text)
    if len(address) > LONGEST_ADDRESS:
        raise EdgeError(f"a view has at most {LONGEST_ADDRESS:,} characters: choose fewer runs, or a filter")
    if not _ADDRESS.fullmatch(address):
        raise EdgeError("a view is an address of the table, the groups or the comparison of runs")
    return address


def dump_view(view: SavedView) -> str:
    """Return a view as JSON."""
    return json.dumps(asdict(view), ensure_ascii=False, indent=1)


def parse_view(content: bytes) -> SavedView | None:
    """Return the view that `content` holds; None for anything that a page would not save."""
    try:
        found = json.loads(content)
        return SavedView(
            checked_name(found["name"]), checked_address(found["address"]), str(found["by"]), str(found["at"])
        )
    except (EdgeError, KeyError, TypeError, ValueError):
        return None
