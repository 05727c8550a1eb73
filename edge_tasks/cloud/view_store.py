"""The views of the team in the repository's bucket: EXPERIMENTS/views/HASH.json, one small object each.

A name may hold anything, so the object is called by a hash of it. Nobody writes over a change that he has not seen: a
view is written over the generation that was read. https://cloud.google.com/storage/docs/request-preconditions
"""

from __future__ import annotations

import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor

from edge_tasks.cloud.bucket import CONNECTIONS
from edge_tasks.cloud.client import Cloud, sdk_errors
from edge_tasks.domain.config import EdgeConfig
from edge_tasks.domain.saved_views import SavedView, dump_view, parse_view
from edge_tasks.errors import ConflictError, NotFoundError
from edge_tasks.repo import layout

# Views that a page lists, and bytes that one has at most.
_MOST, _LARGEST = 500, 50_000


class ViewStore:
    """The views of one repository."""

    def __init__(self, cloud: Cloud, config: EdgeConfig):
        self._cloud = cloud
        self._folder = layout.saved_views(config)

    def list(self) -> list[SavedView]:
        """Return all views by name; what holds none, or was removed meanwhile, is left out."""
        with sdk_errors("list the saved views"):
            found = self._cloud.objects.list(f"{self._folder}/", most=_MOST)
            names = [one.name for one in found if one.name.endswith(".json") and one.size <= _LARGEST]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            views = [view for view in pool.map(self._read, names) if view]
        return sorted(views, key=lambda view: view.name.casefold())

    def save(self, view: SavedView, *, replace: bool = False) -> None:
        """Save a view. Raises ConflictError when there is one of that name, and it is not to be replaced."""
        name = self._object(view.name)
        with sdk_errors(f"save the view `{view.name}`"):
            there = self._cloud.objects.look(name)
        if there and not replace:
            raise ConflictError(f"there is a view `{view.name}` already", "choose another name, or replace it")
        generation = there.generation if there else 0
        try:
            with sdk_errors(f"save the view `{view.name}`"):
                self._cloud.objects.write(name, dump_view(view), content_type="application/json", generation=generation)
        except ConflictError:
            # The client repeats an upload whose answer was lost, and then meets its own.
            if self._read(name) != view:
                raise ConflictError(
                    f"somebody else has just saved `{view.name}`", "look at it, then try again"
                ) from None

    def remove(self, name: str) -> None:
        """Remove a view. Raises NotFoundError when there is none of that name."""
        try:
            with sdk_errors(f"remove the view `{name}`"):
                self._cloud.objects.delete(self._object(name))
        except NotFoundError:
            raise NotFoundError(f"there is no view `{name}`") from None

    def _read(self, name: str) -> SavedView | None:
        with contextlib.suppress(NotFoundError), sdk_errors("read a saved view"):
            view = parse_view(self._cloud.objects.read(name))
            # One that somebody put there by hand under another name could neither be replaced nor removed.
            return view if view and self._object(view.name) == name else None
        return None

    def _object(self, name: str) -> str:
        return f"{self._folder}/{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"
