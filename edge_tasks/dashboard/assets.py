"""The files of the page, as they lie in this package."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

# All of the page's own scripts but the one that chooses the colours before anything is drawn.
SCRIPTS = "scripts.js"

_NAMED = re.compile(r'(?:<script src="page/[a-z_]+\.js" defer></script>\n)+')
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


def read_page() -> bytes:
    """Return the page, which asks for its own scripts as one: each by itself, a browser takes twice the time."""
    one = f'<script src="page/{SCRIPTS}" defer></script>\n'
    return _NAMED.sub(one, read_asset("index.html").decode()).encode()


def read_scripts() -> bytes:
    """Return these as one, in the page's order. The first line of the first makes all of it strict."""
    named = _NAMED.findall(read_asset("index.html").decode())
    return b"".join(read_asset(name) for name in re.findall(r'"page/([^"]+)"', "".join(named)))


def content_type(name: str) -> str:
    """Return the media type that a browser is told."""
    return _TYPES.get(PurePosixPath(name).suffix, "text/plain")
