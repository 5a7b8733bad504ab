"""What the tests of the shell share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_home() -> Iterator[Path]:
    """A folder name that is not taken yet, short enough for a Unix socket's path below it."""
    base = Path(tempfile.mkdtemp(prefix="kassa-"))
    base.chmod(0o755)
    yield base / "home"
    shutil.rmtree(base, ignore_errors=True)
