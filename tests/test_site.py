"""The pages as a site: it is built without a network, searched, and every link in it leads somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.repositories import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning of mkdocs, such as a page that the menu leaves out, fails it."""
    folder = tmp_path_factory.mktemp("site")
    # No proxy and no network: what had to be fetched would fail the build.
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


class _Page(HTMLParser):
    """What a page of HTML names and links to."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in ("script", "img", "iframe") and "src" in values:
            self.loaded.append(values["src"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preconnect"):
            self.loaded.append(values["href"])


def read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_every_page_is_there_and_found_by_the_search(site: Path) -> None:
    names = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert names == {path.stem for path in site.glob("*.html")} - {"404"}
    found = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    assert {entry["location"].partition(".html")[0] for entry in found} == names
    assert any(entry["location"].startswith("troubleshooting.html#e101") for entry in found)


def test_every_link_leads_to_a_page_and_a_heading_that_are_there(site: Path) -> None:
    pages = {path.name: read(path) for path in site.glob("*.html")}
    for name, page in pages.items():
        if name == "404.html":  # its links begin at the root of where the site is published
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme == "https", f"{name}: {link}"
                continue
            target = unquote(parts.path) or name
            if target in (".", "./"):
                target = "index.html"
            assert (site / target).exists(), f"{name}: {link}"
            if parts.fragment and target.endswith(".html"):
                assert unquote(parts.fragment) in pages[target].ids, f"{name}: {link}"


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path in site.glob("*.html"):
        for address in read(path).loaded:
            assert not urlsplit(address).netloc, f"{path.name}: {address}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?https?:", style.read_text(encoding="utf-8")), style
