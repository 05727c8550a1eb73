"""The files of the page, as they lie in this package."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@cache
def asset_names() -> frozenset[str]:
    """Return the names of all files of the page, such as `style.css` and `vendor/uPlot.min.css`."""
    folder = files("edge_tasks.dashboard") / "page"
    vendored = folder / "vendor"
    names = {item.name for item in folder.iterdir() if item.is_file()}
    return frozenset(names | {f"vendor/{item.name}" for item in vendored.iterdir() if item.is_file()})


def read_asset(name: str) -> bytes:
    """Return the content of one of them."""
    return (files("edge_tasks.dashboard") / "page" / name).read_bytes()


def content_type(name: str) -> str:
    """Return the media type that a browser is told."""
    return _TYPES.get(PurePosixPath(name).suffix, "text/plain")
