"""The views that the team has saved: what a page is told of them, and what it sends to save one."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Protocol

from edge_tasks.domain.runs import utc_now
from edge_tasks.domain.saved_views import SavedView, checked_address, checked_name
from edge_tasks.errors import EdgeError


class Views(Protocol):
    """Where views are kept; in the bucket it is a `ViewStore`."""

    def list(self) -> list[SavedView]:
        """Return all, by name."""

    def save(self, view: SavedView, *, replace: bool = False) -> None:
        """Save one. Raises ConflictError when there is one of that name, and it is not to be replaced."""

    def remove(self, name: str) -> None:
        """Remove one. Raises NotFoundError when there is none of that name."""


def document(views: Views | None) -> dict[str, Any]:
    """Return the views as the page's JSON; none where none are kept."""
    return {"views": [asdict(view) for view in views.list()] if views else []}


def wanted(body: bytes, by: str) -> tuple[SavedView, bool]:
    """Read what is to be saved, and whether it may replace another. Raises EdgeError when it is something else."""
    try:
        values = json.loads(body)
        view = SavedView(checked_name(values["name"]), checked_address(values["address"]), by, _now())
        return view, values.get("replace") is True
    except (ValueError, TypeError, KeyError, AttributeError):
        raise EdgeError("the body holds name and address") from None


def _now() -> str:
    return utc_now().isoformat(timespec="seconds")
