"""The system's Chromium, driven by Playwright, and what a test does with a page of ours in it."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, sync_playwright
from playwright.sync_api import Page as PlaywrightPage

from edge_tasks.dashboard.server import DashboardServer
from tests.needs import AXE, CHROMIUM

# What a run may be called, and must not do.
HOSTILE = """<script>document.title="owned"</script><img src=x onerror='document.title="owned"'>"""

# Milliseconds. Several test processes share a small machine.
LIMIT = 60_000.0
_START_LIMIT = 120_000.0

_SHARED_MEMORY = Path("/dev/shm")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium without a window; it ends with the block."""
    with sync_playwright() as playwright:
        # No sandbox: CI runs as root in a container, and the pages are our own. No GPU: there is none, and Debian's
        # Chromium would emulate it.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu"],
            ignore_default_args=["--disable-dev-shm-usage"] if _has_shared_memory() else [],
            timeout=_START_LIMIT,
        )
        try:
            yield browser
        finally:
            browser.close()


def _has_shared_memory() -> bool:
    """Say whether /dev/shm has room: with files in /tmp, as Playwright wants it, Chromium needs a sixth more time."""
    return _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > 2**30


class Page:
    """A page, as a new user has it. What goes wrong in it (exceptions, console errors, CSP) is kept in `problems`."""

    def __init__(self, browser: Browser):
        self._context = browser.new_context(viewport={"width": 1280, "height": 900})
        self.page: PlaywrightPage = self._context.new_page()
        self.page.set_default_timeout(LIMIT)
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(f"{message.text} {message.location['url']}")

    def close(self) -> None:
        """End the page, with all that it has stored."""
        self._context.close()

    @contextlib.contextmanager
    def visiting(self, server: DashboardServer) -> Iterator[str]:
        """Serve while the block runs; the page leaves before the server does, so that no answer is cut off."""
        with server.running():
            yield server.url
            self._leave()

    def open(self, url: str) -> None:
        """Go to `url`, again if the page is there already, and wait until the document is there."""
        if self.page.url.partition("#")[0] == url.partition("#")[0]:
            # By way of an empty page it would be another process.
            self.evaluate(f"history.replaceState(null, '', {json.dumps(url)})")
            self.page.reload()
        else:
            self.page.goto(url)

    def _leave(self) -> None:
        """Go to an empty page; as the page's own step it needs no other process."""
        self.evaluate("location.replace('about:blank')")
        self.page.wait_for_url("about:blank")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited when it is a promise."""
        return self.page.evaluate(expression)

    def wait(self, expression: str) -> None:
        """Wait until a JavaScript expression is truthy."""
        # Playwright's own way evaluates in the page, which the page's Content-Security-Policy forbids.
        deadline = time.monotonic() + LIMIT / 1000
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"not within {LIMIT / 1000:.0f} s: {expression}; {self.problems}"
            self.page.wait_for_timeout(50)

    def text(self, selector: str) -> str:
        """Wait for an element and return its text as it is shown."""
        self.page.locator(selector).first.wait_for(state="attached")
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements that there are now."""
        return self.page.locator(selector).all_inner_texts()

    def click(self, selector: str) -> None:
        """Click the first element with the mouse."""
        self.page.locator(selector).first.click()

    def press(self, *keys: str, shift: bool = False) -> None:
        """Press keys one after the other: named ones such as Enter, or characters."""
        for key in keys:
            self.page.keyboard.press(f"Shift+{key}" if shift else key)

    def type(self, text: str) -> None:
        """Type text into what has the focus."""
        self.page.keyboard.insert_text(text)

    def audit(self, *rules: str) -> list[str]:
        """Return what axe-core finds wrong for people with disabilities, by all of its rules or by these.

        https://github.com/dequelabs/axe-core
        """
        if not self.evaluate("typeof axe === 'object'"):
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
        found = self.page.evaluate("(options) => axe.run(document, options).then((found) => found.violations)", options)
        return [f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}" for one in found]

    def look(self, *, dark: bool = False, width: int = 1280, height: int = 900) -> None:
        """Choose the colour scheme and the window's size."""
        self.page.emulate_media(color_scheme="dark" if dark else "light")
        self.page.set_viewport_size({"width": width, "height": height})

    def screenshot(self, path: Path) -> None:
        """Save what is to be seen as a PNG."""
        self.page.screenshot(path=path)
