"""The books of what was published: what a broker may confirm, refuse and return, in any order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
from pamqp import frame as library
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from kassa.events import frames, publisher
from kassa.events.frames import Message
from kassa.events.publisher import Publisher

CHANNEL = 3


class Desk:
    """A publisher whose bytes are kept, and what a broker says to it."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.given_up = 0
        self.publisher = Publisher(CHANNEL, "payments", 131_072, self._write, self._give_up)

    def ack(self, tag: int, many: bool = False) -> None:
        self._hear(Basic.Ack(delivery_tag=tag, multiple=many))

    def nack(self, tag: int, many: bool = False) -> None:
        self._hear(Basic.Nack(delivery_tag=tag, multiple=many))

    def give_back(self, message_id: str) -> None:
        assert self._hear(Basic.Return(reply_code=312, reply_text="NO_ROUTE", exchange="payments", routing_key="k")) is True
        self.publisher.whole(frames.Properties(2, message_id, {}))

    def _hear(self, what: Basic.Ack | Basic.Nack | Basic.Return) -> bool | None:
        data = library.marshal(what, CHANNEL)
        return self.publisher.begin(frames.method(data, 7)[0], data, 7)

    def _write(self, data: bytes) -> None:
        while data:
            size, channel, frame = library.unmarshal(data)
            assert channel == CHANNEL
            if isinstance(frame, ContentHeader):
                self.sent.append(str(frame.properties.message_id))
            data = data[size:]

    def _give_up(self) -> None:
        self.given_up += 1


@pytest.fixture
def desk() -> Desk:
    return Desk()


def letters(*names: str) -> list[Message]:
    return [Message("order.paid", name, "order.paid", b"{}") for name in names]


def many(name: str, count: int) -> list[Message]:
    return letters(*(f"{name}{n}" for n in range(1, count + 1)))


async def after(desk: Desk, batch: list[Message], *says: Callable[[], None]) -> int:
    """What becomes of a batch when the broker says this, once all of it was sent."""
    before = len(desk.sent)
    task = asyncio.ensure_future(desk.publisher.publish(batch))
    while len(desk.sent) < before + len(batch):
        await asyncio.sleep(0)
    for say in says:
        assert not task.done()
        say()
    return await task


async def test_each_confirmation_counts_once(desk: Desk) -> None:
    batch = letters("a", "b", "c")
    assert await after(desk, batch, lambda: desk.ack(2), lambda: desk.ack(2), lambda: desk.ack(3), lambda: desk.ack(1)) == 3
    assert desk.sent == ["a", "b", "c"]
    assert desk.given_up == 0


async def test_one_confirmation_may_be_of_many_and_of_several_batches(desk: Desk) -> None:
    first, second = (asyncio.ensure_future(desk.publisher.publish(many(name, 30))) for name in "ab")
    while len(desk.sent) < 60:
        await asyncio.sleep(0)
    desk.ack(5)
    desk.ack(40, many=True)
    desk.ack(40, many=True)
    await asyncio.sleep(0)
    assert not first.done()
    assert not second.done()
    desk.ack(60, many=True)
    assert await asyncio.gather(first, second) == [30, 30]
    assert await after(desk, letters("late"), lambda: desk.ack(61, many=True)) == 1


async def test_batches_take_turns(desk: Desk) -> None:
    both = asyncio.gather(desk.publisher.publish(many("a", 20)), desk.publisher.publish(many("b", 20)))
    while len(desk.sent) < 40:
        await asyncio.sleep(0)
    assert [name[0] for name in desk.sent] == [*"a" * 8, *"b" * 8, *"a" * 8, *"b" * 8, *"a" * 4, *"b" * 4]
    assert [name for name in desk.sent if name[0] == "a"] == [f"a{n}" for n in range(1, 21)]
    desk.ack(40, many=True)
    assert await both == [20, 20]


async def test_what_follows_a_refusal_is_not_published(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert await after(desk, many("a", 4), lambda: desk.nack(3), lambda: desk.ack(4, many=True)) == 2
    assert desk.given_up == 0, "a refusal says nothing about the connection"
    assert "not confirmed: refused" in caplog.text
    assert await after(desk, letters("b", "c"), lambda: desk.ack(5), lambda: desk.nack(6, many=True)) == 1


async def test_a_refusal_of_many_spares_what_was_confirmed(desk: Desk) -> None:
    assert await after(desk, many("a", 4), lambda: desk.ack(2, many=True), lambda: desk.nack(4, many=True)) == 2


async def test_a_return_counts_though_a_confirmation_follows(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert await after(desk, many("a", 3), lambda: desk.give_back("a2"), lambda: desk.ack(3, many=True)) == 1
    assert desk.given_up == 1, "the queue has gone and is declared with a new connection"
    assert "not confirmed: returned" in caplog.text


async def test_a_return_counts_for_all_that_have_its_id(desk: Desk) -> None:
    """A relay and a retry may publish the same event at the same time."""
    both = asyncio.gather(desk.publisher.publish(letters("a", "b")), desk.publisher.publish(letters("c", "a")))
    while len(desk.sent) < 4:
        await asyncio.sleep(0)
    desk.give_back("a")
    desk.ack(4, many=True)
    assert await both == [0, 1]


async def test_silence_ends_at_the_deadline(desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(publisher, "DEADLINE_S", 0.05)
    with caplog.at_level(logging.WARNING):
        assert await after(desk, letters("a", "b", "c"), lambda: desk.ack(1), lambda: desk.ack(3)) == 1
    assert desk.given_up == 1
    assert "not confirmed: no answer" in caplog.text
    desk.ack(3, many=True)  # too late, and no harm


async def test_a_lost_connection_ends_all_at_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert await after(desk, many("a", 3), lambda: desk.ack(1), desk.publisher.lost) == 1
    assert "not confirmed: connection lost" in caplog.text
    assert await asyncio.wait_for(desk.publisher.publish(letters("b")), 1) == 0
    assert desk.sent == ["a1", "a2", "a3"], "nothing is sent over a line that is no more"


async def test_a_connection_that_ends_within_a_batch_leaves_the_rest_unsent(desk: Desk) -> None:
    task = asyncio.ensure_future(desk.publisher.publish(many("a", 20)))
    await asyncio.sleep(0)
    assert len(desk.sent) == 8
    desk.ack(8, many=True)
    desk.publisher.lost()
    assert await asyncio.wait_for(task, 1) == 8
    assert len(desk.sent) == 8


async def test_somebody_who_waits_no_longer_leaves_the_books_in_order(desk: Desk) -> None:
    task = asyncio.ensure_future(desk.publisher.publish(letters("a", "b")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert await after(desk, letters("c"), lambda: desk.ack(3, many=True)) == 1
    assert not desk.publisher._books


async def test_what_is_not_about_messages_is_the_librarys(desk: Desk) -> None:
    data = library.marshal(Basic.CancelOk(consumer_tag="x"), CHANNEL)
    assert desk.publisher.begin(frames.method(data, 7)[0], data, 7) is None


async def test_books_of_thousands_are_kept_in_time(desk: Desk) -> None:
    tasks = [asyncio.ensure_future(desk.publisher.publish(many(f"{n}-", 50))) for n in range(40)]
    while len(desk.sent) < 2000:
        await asyncio.sleep(0)
    for tag in range(2000, 0, -7):
        desk.ack(tag)
    desk.ack(2000, many=True)
    assert await asyncio.gather(*tasks) == [50] * 40
    assert not desk.publisher._books
