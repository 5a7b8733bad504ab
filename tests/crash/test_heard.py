"""The judge of what merchants and buyers heard: it finds nothing where all is well, and everything that is not."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from tests import rig

from . import heard
from .hooks import Heard, Hooks

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
ENDPOINT, ORDER = uuid.UUID(int=1), uuid.UUID(int=2)
EVENTS = [uuid.UUID(int=10 + number) for number in range(3)]
Rows = dict[str, list[dict[str, Any]]]


class Tables:
    """A server as the judge sees it: questions and their answers."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def sql(self, question: str) -> list[dict[str, Any]]:
        return self._rows[question]


def tables() -> Rows:
    payment = {"merchant_id": "7", "subject": "payment:1"}
    later = {"occurred_at": BEGAN + timedelta(seconds=1)}
    delivery = {"merchant_id": "7", "endpoint_id": ENDPOINT, "status": "success", "attempts": 2}
    endpoint = {"merchant_id": "7", "endpoint_id": ENDPOINT, "url": "http://127.0.0.1:1/ok/7", "events": ["payment.*"]}
    return {
        heard.ENDPOINTS: [endpoint | {"hidden": False, "deleted_at": None, "created_at": BEGAN, "status": "enabled"}],
        heard.EVENTS: [
            payment | later | {"event_id": EVENTS[0], "type": "payment.created", "sequence": 1},
            payment | later | {"event_id": EVENTS[1], "type": "payment.paid", "sequence": 2},
            payment | later | {"event_id": EVENTS[2], "type": "refund.created", "sequence": 3},
        ],
        heard.DELIVERIES: [delivery | {"event_id": event_id} for event_id in EVENTS[:2]],
        heard.NOTICES: [{"order_id": ORDER, "event_id": EVENTS[0], "status": "sent", "last_answer": None}],
    }


def said(number: int, attempt: int = 1, status: int = 200, body: bytes = b"{}") -> Heard:
    return Heard("/ok/7", str(EVENTS[number - 1]), "payment:1", number, attempt, body, status, 0.0)


def judged(rows: Rows, *requests: Heard) -> str:
    return "\n".join(heard.judge(cast("rig.Server", Tables(rows)), Hooks(heard=list(requests))))


def test_whoever_heard_everything_in_order_is_content() -> None:
    assert judged(tables(), said(1, status=500), said(1, attempt=2), said(2)) == ""


@pytest.mark.parametrize(
    ("requests", "wrong"),
    [
        ((said(1),), "payment.paid payment:1 #2 did not arrive"),
        ((said(1), said(2, status=500)), "payment.paid payment:1 #2 did not arrive"),
        ((said(2), said(1)), "came in the order [2, 1]"),
        ((said(1), said(1, attempt=2, body=b"[]"), said(2)), "different bodies"),
        ((said(1), said(1), said(2)), "attempts [1, 1] of 2"),
        ((said(1, attempt=3), said(2)), "attempts [3] of 2"),
        ((said(1), said(2), said(3)), "heard and not wanted"),
        ((said(1), replace(said(2), subject="payment:2")), "came as another"),
        ((said(1), said(2), replace(said(1), webhook_id="nobody's")), "nobody recorded"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_a_merchant_heard_otherwise_is_found(requests: tuple[Heard, ...], wrong: str) -> None:
    assert wrong in judged(tables(), *requests)


def test_a_delivery_that_is_still_open_is_found() -> None:
    rows = tables()
    rows[heard.DELIVERIES][1]["status"] = "retrying"
    assert "1 deliveries are open" in judged(rows, said(1), said(2))


def letter(number: int = 0, **more: str) -> dict[str, str]:
    return {"h:Message-Id": f"<{ORDER}.{EVENTS[number]}@example.com>", "to": "a@example.com", **more}


@pytest.mark.parametrize(
    ("came", "change", "wrong"),
    [
        ([letter(), letter()], {}, ""),
        ([], {}, "and 0 letters"),
        ([letter()], {"status": "dead"}, "and 1 letters"),
        ([letter()], {"status": "pending"}, "still to be sent"),
        ([letter(), letter(text="more")], {}, "not the same letter"),
        ([letter(), letter(1)], {}, "a letter about nothing"),
        ([], {"last_answer": "no address"}, ""),
    ],
)
def test_letters_are_judged(came: list[dict[str, str]], change: dict[str, str], wrong: str) -> None:
    rows = tables()
    rows[heard.NOTICES][0] |= change
    found = "\n".join(heard.letters(cast("rig.Server", Tables(rows)), Hooks(letters=came)))
    assert wrong in found
    assert bool(found) is bool(wrong)
