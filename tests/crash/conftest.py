"""Fixtures of the crash tests."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import rig

from .nursery import Nursery
from .playing import Town


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """The process that forks; one per test process."""
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def open_town(nursery: Nursery, database_server: rig.DatabaseServer) -> Iterator[Callable[..., Town]]:
    """Open towns: `open_town("payment", "order")` has these neighbours. Everything in them ends with the test."""
    base = Path(tempfile.mkdtemp(prefix="kassa-"))
    towns: list[Town] = []
    numbers = itertools.count()

    def open_one(*neighbours: str) -> Town:
        town = Town(nursery, base / f"t{next(numbers)}", database_server.fresh(), neighbours)
        towns.append(town)
        town.open()
        return town

    yield open_one
    for town in towns:
        town.close()
    shutil.rmtree(base, ignore_errors=True)
