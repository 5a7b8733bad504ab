"""The browser of these tests: the system's own Chromium, which playwright drives. None is downloaded.

It is looked for at `CHROMIUM`, then in the path; where tests may install things (`CI=true` or `KASSA_TEST_INSTALL=1`), the run
installs it first, as it does Redis and RabbitMQ.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.services import CHROMIUM

_MAC = ("/Applications/Chromium.app/Contents/MacOS/Chromium", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
_ARGS = (
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",  # there is no network but loopback
    "--disable-dev-shm-usage",  # /dev/shm of a container is small
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
)


def program() -> str:
    """Where the browser is. Skips the test with one line when there is none."""
    for place in (os.environ.get("CHROMIUM", ""), *CHROMIUM.programs, *_MAC):
        if place and (path := shutil.which(place)):
            return path
    pytest.skip("Chromium is not installed: install it, set CHROMIUM to its path, or KASSA_TEST_INSTALL=1 to have it installed")


@contextmanager
def launched() -> Iterator[Browser]:
    """A headless browser with nothing of its own on the disk. Root may not have its sandbox; nothing foreign is opened in it."""
    path = program()
    args = [*_ARGS, *(["--no-sandbox"] if sys.platform == "linux" and os.geteuid() == 0 else [])]
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=args, timeout=60_000)
        yield browser
        browser.close()
