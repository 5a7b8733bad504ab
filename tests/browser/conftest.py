"""A browser for these tests, and windows in it. See `chromium.py` and `visit.py`.

The browser lives as long as a module: its driver runs an event loop of its own in this thread, which no other test may meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: `make install`")

from playwright.sync_api import Browser, expect
from tests.browser.chromium import launched
from tests.browser.visit import DESK, Visit
from tests.rig import Server

expect.set_options(timeout=15_000)


class Open(Protocol):
    """What the fixture `visit` gives."""

    def __call__(self, server: Server, **options: Any) -> Visit:
        """A new window on a server, as playwright's `new_context` takes it."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with launched() as found:
        yield found


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Open windows: `visit(server, viewport=PHONE, color_scheme="dark")`. What went wrong in one fails the test at its end."""
    opened: list[Visit] = []

    def make(server: Server, **options: Any) -> Visit:
        context = browser.new_context(**{"viewport": DESK, "locale": "en-GB", "timezone_id": "UTC", **options})
        context.set_default_timeout(15_000)
        found = Visit(server, context, context.new_page())
        opened.append(found)
        return found

    yield make
    for each in opened:
        each.context.close()
    assert [fault for each in opened for fault in each.faults] == []
