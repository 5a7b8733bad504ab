"""Only an event of the contract takes anything out of carts; whatever else is said on the channel is dropped."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from kassa.workers import deleted
from kassa.workers.deleted import Deleted, Inbox, read

LARGEST = 2**63 - 1
EVENT = {"event_id": "e-1", "type": "ambassador.deleted", "ambassador_id": 3, "occurred_at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (json.dumps(EVENT).encode(), Deleted(3, "e-1")),
        (b"3", Deleted(3)),
        (b" 3\r\n", Deleted(3)),
        (b"%d" % LARGEST, Deleted(LARGEST)),
        (b'{"id": 3}', Deleted(3)),
        (b'{"ambassador_id": 3}', Deleted(3)),
        (b'{"ambassador_id": 3, "id": "another"}', Deleted(3)),
        (b'{"id": 3, "type": "ambassador.deleted", "event_id": null, "more": {"a": [1.5]}}', Deleted(3)),
        (b'{"ambassador_id": %d, "event_id": 77}' % LARGEST, Deleted(LARGEST, 77)),
    ],
)
def test_an_event_is_understood_in_all_its_shapes(raw: bytes, said: Deleted) -> None:
    assert read(raw) == said


@pytest.mark.parametrize(
    "raw",
    [
        b"", b" ", b"x", b"\xff\xfe", b"null", b"true", b'"3"', b"[3]", b"{}", b"3.0", b"3e0", b"+3", b"0", b"-3", b"03", b"3 4",
        b"%d" % (LARGEST + 1), b"9" * 5000, "٣".encode(), b'{"id": "3"}', b'{"id": 3.0}', b'{"id": true}', b'{"id": null}',
        b'{"id": [3]}', b'{"id": 0}', b'{"id": -1}', b'{"id": %d}' % (LARGEST + 1), b'{"ambassador_id": "3", "id": 3}',
        b'{"ambassador_id": null, "id": 3}', b'{"id": 3, "type": "ambassador.created"}', b'{"id": 3, "type": null}',
        b'{"id": 3, "type": ["ambassador.deleted"]}', b'{"id": 3, "event_id": ""}', b'{"id": 3, "event_id": []}',
        b'{"id": 3, "event_id": true}', b'{"id": 3, "id": 4}', b'{"id": 3, "x": NaN}', b'{"id": 3}}', b'{"id": 3',
        b'{"id": 3, "event_id": "%s"}' % (b"e" * 256), b'{"id": 3, "x": "%s"}' % (b"x" * 70_000), b"[" * 60_000,
    ],
)  # fmt: skip
def test_anything_else_is_no_event(raw: bytes) -> None:
    assert read(raw) is None


def waiting(inbox: Inbox) -> list[int]:
    return list(inbox.waiting)


def hear(inbox: Inbox, *messages: Any) -> list[int]:
    for each in messages:
        inbox.hear(each if isinstance(each, bytes) else json.dumps(each).encode())
    return waiting(inbox)


def taken(inbox: Inbox) -> list[int]:
    return [ambassador_id for ambassador_id, _ in inbox.take()]


def test_the_events_that_told_an_ambassador_go_along_with_it() -> None:
    inbox = Inbox()
    hear(inbox, {"id": 3, "event_id": "e-1"}, {"id": 3, "event_id": 2}, {"id": 4, "event_id": "e-3"}, {"id": 4})
    assert inbox.take() == [(3, {"e-1", "2"}), (4, set())], "told once without an id, it is withdrawn whatever was heard before"


def test_what_is_dropped_is_noted_without_repeating_it(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox()
    with caplog.at_level(logging.DEBUG):
        assert hear(inbox, b'{"id": "asha@example.com"}', 3) == [3]
    assert len(caplog.records) == 1
    assert "asha" not in caplog.text


def test_an_event_that_was_heard_before_is_skipped() -> None:
    inbox = Inbox()
    assert hear(inbox, EVENT) == [3]
    assert taken(inbox) == [3]
    assert hear(inbox, EVENT, {**EVENT, "ambassador_id": 4}) == []
    assert hear(inbox, {**EVENT, "event_id": "e-2"}) == [3], "another event of the same ambassador counts"
    assert taken(inbox) == [3]
    assert hear(inbox, {"id": 3}, {"id": 3}) == [3], "without an id nothing can be skipped"


def test_what_could_not_be_done_comes_first_again_and_what_came_meanwhile_stays() -> None:
    inbox = Inbox()
    hear(inbox, 1, 2)
    first = inbox.take()
    assert hear(inbox, 3, 1) == [3, 1]
    inbox.put_back(first)
    assert waiting(inbox) == [1, 2, 3]
    assert taken(inbox) == [1, 2, 3]
    assert taken(inbox) == []


async def test_of_more_than_can_be_kept_all_carts_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deleted, "_MOST", 3)
    inbox = Inbox()
    assert hear(inbox, 1, 2, 3) == [1, 2, 3]
    assert not await inbox.lost.wait(0)
    assert hear(inbox, {"id": 4, "event_id": "late"}) == [1, 2, 3]
    assert await inbox.lost.wait(0)
    inbox.take()
    assert hear(inbox, {"id": 4, "event_id": "late"}) == [4], "it was not heard then"


def test_only_so_many_event_ids_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deleted, "_MOST", 3)
    inbox = Inbox()
    for number in range(1, 5):
        hear(inbox, {"id": number, "event_id": f"e-{number}"})
        inbox.take()
    assert hear(inbox, {"id": 2, "event_id": "e-2"}) == []
    assert hear(inbox, {"id": 1, "event_id": "e-1"}) == [1]
