"""A town per file of tests: a Kassa whose three neighbours can be told what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .neighbours import Neighbours
from .town import SHARED_SECRET, Town, the_books_are_in_order

if TYPE_CHECKING:
    from tests.conftest import StartKassa


@contextlib.contextmanager
def _settled(start_kassa: StartKassa) -> Iterator[Town]:
    neighbours = Neighbours()
    server = start_kassa(KASSA_SECRET=SHARED_SECRET, **neighbours.settings())
    yield Town(server, neighbours)
    neighbours.stop()
    assert server.alive(), server.log_text()[-4000:]
    the_books_are_in_order(server)


@pytest.fixture(scope="module")
def town(start_kassa: StartKassa) -> Iterator[Town]:
    """A Kassa with payment, inventory and order services."""
    with _settled(start_kassa) as one:
        yield one


@pytest.fixture(scope="module")
def another_town(start_kassa: StartKassa) -> Iterator[Town]:
    """A second one, for a story that its neighbours' other buyers would notice."""
    with _settled(start_kassa) as one:
        yield one
