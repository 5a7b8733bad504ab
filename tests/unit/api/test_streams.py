"""A stream goes on until there is a reason to end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from kassa.api import streams
from kassa.api.streams import HEARTBEAT, Closing, Stream
from kassa.kit.database import DatabaseAway

from .asking import Heard


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "POLL_S", 0.01)


class Teller:
    """News, one piece at a time; quiet at the end, or away."""

    def __init__(self, *parts: bytes, away: bool = False) -> None:
        self.parts = list(parts)
        self.away = away

    async def news(self) -> bytes:
        if self.parts:
            return self.parts.pop(0)
        if self.away:
            raise DatabaseAway
        return b""


async def listen(stream: Stream, leave_after: float = 60) -> Heard:
    heard = Heard()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(leave_after)
        return {"type": "http.disconnect"}

    await stream({}, receive, heard.hear)
    return heard


async def test_the_first_part_comes_at_once_then_the_news() -> None:
    heard = await listen(Stream(b"one", Teller(b"two", b"", b"three").news, 0.15, Closing()))
    assert [part for part in heard.parts if part] == [b"one", b"two", b"three"]
    assert heard.ended
    assert heard.header("content-type") == "text/event-stream; charset=utf-8"
    assert (heard.header("cache-control"), heard.header("x-accel-buffering")) == ("no-store", "no")


async def test_who_waits_hears_a_heartbeat_first() -> None:
    heard = await listen(Stream(b"", Teller().news, 0.05, Closing()))
    assert heard.parts[0] == HEARTBEAT


async def test_silence_is_broken_by_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.05)
    heard = await listen(Stream(b"one", Teller().news, 0.3, Closing()))
    assert 3 <= heard.parts.count(HEARTBEAT) <= 6


async def test_a_stream_ends_with_its_time() -> None:
    began = time.monotonic()
    assert (await listen(Stream(b"one", Teller().news, 0.1, Closing()))).ended
    assert 0.09 < time.monotonic() - began < 1


async def test_a_stream_of_no_time_ends_at_once() -> None:
    assert (await listen(Stream(b"one", Teller().news, -5, Closing()))).ended


async def test_a_stream_ends_when_the_caller_leaves() -> None:
    began = time.monotonic()
    await listen(Stream(b"one", Teller().news, 60, Closing()), leave_after=0.05)
    assert time.monotonic() - began < 1


async def test_a_stream_ends_when_the_database_is_away() -> None:
    heard = await listen(Stream(b"one", Teller(b"two", away=True).news, 60, Closing()))
    assert (heard.body, heard.ended) == (b"onetwo", True)


async def test_all_streams_end_when_the_process_closes_and_new_ones_too() -> None:
    closing = Closing()
    open_ones = [asyncio.create_task(listen(Stream(b"one", Teller().news, 60, closing))) for _ in range(3)]
    await asyncio.sleep(0.05)
    closing.close()
    closing.close()
    assert all(heard.ended for heard in await asyncio.wait_for(asyncio.gather(*open_ones), 1))
    assert (await asyncio.wait_for(listen(Stream(b"one", Teller().news, 60, closing)), 1)).ended


async def test_nothing_is_left_running() -> None:
    await listen(Stream(b"one", Teller().news, 0.03, Closing()))
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == {asyncio.current_task()}
