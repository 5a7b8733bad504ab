"""A town per file of tests: a Kassa whose three neighbours can be told what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .neighbours import Neighbours
from .town import Town

if TYPE_CHECKING:
    from tests.conftest import StartKassa


@pytest.fixture(scope="module")
def town(start_kassa: StartKassa) -> Iterator[Town]:
    """A Kassa with payment, inventory and order services."""
    neighbours = Neighbours()
    yield Town(start_kassa(**neighbours.settings()), neighbours)
    neighbours.stop()
