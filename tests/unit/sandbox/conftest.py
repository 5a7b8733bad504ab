"""A sandbox behind a real server on a free port, and a caller who talks to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio
from tests.unit.sandbox.callers import Caller, served

from kassa.sandbox import create_sandbox


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as one:
        yield one


@pytest_asyncio.fixture
async def open_sandbox(
    tmp_path: Path, session: aiohttp.ClientSession
) -> AsyncIterator[Callable[..., contextlib.AbstractAsyncContextManager[Caller]]]:
    """Opens a sandbox over always the same book, as often as a test wants."""

    @contextlib.asynccontextmanager
    async def opened(**settings: Any) -> AsyncIterator[Caller]:
        async with served(create_sandbox(tmp_path / "book.sqlite", **settings)) as base:
            yield Caller(base, session)

    yield opened


@pytest_asyncio.fixture
async def caller(open_sandbox: Callable[..., contextlib.AbstractAsyncContextManager[Caller]]) -> AsyncIterator[Caller]:
    async with open_sandbox() as one:
        yield one
