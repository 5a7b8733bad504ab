"""A person at a browser: one window with cookies of its own, and a note of everything that should not happen in it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Response, ViewportSize
from tests.rig import ROOT, Server

PICTURES = ROOT / "docs" / "pictures"
PHONE: ViewportSize = {"width": 360, "height": 740}
DESK: ViewportSize = {"width": 1100, "height": 760}
HEAVIEST = 100_000
"""Bytes of a page with everything that it loads."""
_LARGEST_PICTURE = 150_000
_REFUSED = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")
_AT_STAKE = ("serious", "critical")


@dataclass
class Visit:
    """A window on a server. `faults` collects script errors, refusals of the content policy and requests to anywhere else."""

    server: Server
    context: BrowserContext
    page: Page
    faults: list[str] = field(default_factory=list)
    loaded: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._watch(self.page)
        self.context.on("page", self._watch)

    def _watch(self, page: Page) -> None:
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        page.on("request", self._asked)
        page.on("requestfinished", self._finished)
        page.on("response", self._answered)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not _REFUSED.match(message.text):
            self.faults.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != urlsplit(self.server.url).netloc:
            self.faults.append(f"foreign: {request.url}")

    def _finished(self, request: Request) -> None:
        self.loaded.append(request)

    def _answered(self, response: Response) -> None:
        if response.status >= 500:
            self.faults.append(f"status {response.status}: {response.request.method} {response.url}")

    def go(self, path: str) -> Page:
        """Open an address of the server, and wait until everything on it is there."""
        self.page.goto(f"{self.server.url}{path}", wait_until="load")
        return self.page

    def another_tab(self) -> Page:
        """A second tab with the same cookies."""
        return self.context.new_page()

    def weight(self, path: str) -> int:
        """Bytes that travel for a page that was never opened before: headers and bodies of all that it loads at once."""
        self.loaded.clear()
        self.go(path)
        self.page.wait_for_timeout(100)  # the last `requestfinished` comes behind `load`
        sizes = [request.sizes() for request in self.loaded]
        return sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes)

    def is_wider_than_its_window(self) -> bool:
        """Whether one must scroll sideways. Held against the window that was opened: a phone's own grows with what is in it."""
        wide: int = self.page.evaluate("document.documentElement.scrollWidth")
        assert self.page.viewport_size is not None
        return wide > self.page.viewport_size["width"]

    def fits_a_phone(self) -> bool:
        """Whether the page as it stands needs no sideways scroll in a window of a phone's width."""
        before = self.page.viewport_size
        self.page.set_viewport_size(PHONE)
        fits = not self.is_wider_than_its_window()
        self.page.set_viewport_size(before or DESK)
        return fits

    def barriers(self) -> list[str]:
        """What axe calls a serious or critical barrier on the page as it stands, and its colours in the dark, each with where it is."""
        self.page.evaluate(_axe())
        found = self._violations("{resultTypes: ['violations']}")
        self.page.emulate_media(color_scheme="dark")
        found += [f"in the dark: {each}" for each in self._violations("{runOnly: ['color-contrast']}")]
        self.page.emulate_media(color_scheme="light")
        return found

    def _violations(self, how: str) -> list[str]:
        result: dict[str, Any] = self.page.evaluate(f"axe.run(document, {how})")
        return [
            f"{each['impact']}: {each['id']}: {each['help']} at {json.dumps([node['target'] for node in each['nodes']][:3])}"
            for each in result["violations"]
            if each["impact"] in _AT_STAKE
        ]

    def picture(self, name: str, **options: Any) -> None:
        """Keep a picture of the window in the documents, when `SCREENSHOTS=1` asks for it; at most 150 kB."""
        if os.environ.get("SCREENSHOTS") != "1":
            return
        PICTURES.mkdir(exist_ok=True)
        target = PICTURES / f"{name}.png"
        self.page.screenshot(path=target, animations="disabled", **options)
        assert target.stat().st_size <= _LARGEST_PICTURE, f"{target.name} has {target.stat().st_size} bytes"


@cache
def _axe() -> str:
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


def tab_to(page: Page, what: str, *, most: int = 60) -> None:
    """Press Tab until the focus is on the element whose accessible name (label, text or value) has `what` in it."""
    seen = []
    for _ in range(most):
        page.keyboard.press("Tab")
        name = page.evaluate(_FOCUSED)
        seen.append(name)
        if what.lower() in name.lower():
            return
    raise AssertionError(f"Tab never came to {what!r}; it saw {seen}")


_FOCUSED = """() => {
  const at = document.activeElement;
  if (!at) return "";
  const label = at.labels && at.labels.length ? at.labels[0].textContent : "";
  return [at.getAttribute("aria-label"), label, at.textContent, at.name, at.value].filter(Boolean).join(" ").replace(/\\s+/g, " ").trim();
}"""
