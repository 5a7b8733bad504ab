"""The merchant's list of events: complete, in order, and followed without a gap (section 1; ruling 21)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.contracts.payments.till import BASE, NOWHERE, Json, a_key, refusal
from tests.contracts.webhooks.desk import EVENTS, PAYMENT, Office, bad, is_envelope, last_id, page_of, since, subject_of

if TYPE_CHECKING:
    from tests.contracts.webhooks.conftest import OpenOffice

THREE = ["payment.created", "payment.waiting", "payment.paid"]


@pytest.fixture(scope="module")
def quiet(open_office: OpenOffice) -> Office:
    """An office of this file's own."""
    return open_office()


def test_a_merchant_to_whom_nothing_happened_has_an_empty_feed(quiet: Office) -> None:
    assert page_of(quiet.merchant(7)) == {"items": [], "next_after": None, "has_next": False}


def test_an_event_reads_as_the_contract_says(office: Office) -> None:
    who = office.merchant(2)
    before = last_id(who)
    payment_id = office.paid(2, order_id="feed-1-" + a_key()[:20], amount="2", price="349.7")
    found = since(who, before, subject=subject_of(payment_id))
    assert [each["type"] for each in found] == THREE
    paid = found[-1]
    is_envelope(paid)
    assert (paid["subject"], paid["sequence"], paid["merchant_id"]) == (subject_of(payment_id), 3, 2)
    data = paid["data"]
    assert set(data) >= PAYMENT
    assert (data["amount"], data["price"], data["currency"], data["captured"], data["refunded"]) == (
        "2",
        "349.70",
        "EUR",
        "349.70",
        "0.00",
    )
    assert (data["status"], data["status_name"], data["state"], data["provider"], data["reason"]) == (
        2,
        "PAYMENT_FINISHED",
        "paid",
        "stripe",
        None,
    )


def test_the_newest_event_is_the_last(office: Office) -> None:
    who = office.merchant(2)
    before = last_id(who)
    payments = [office.paid(2) for _ in range(3)]
    found = since(who, before)
    assert [each["subject"] for each in found if each["type"] == "payment.paid"] == [subject_of(each) for each in payments]
    for payment_id in payments:
        assert [each["sequence"] for each in found if each["subject"] == subject_of(payment_id)] == [1, 2, 3]


def test_own_writes_are_seen_at_once(office: Office) -> None:
    """Ground rule: reads see the caller's own earlier writes."""
    who = office.merchant(2)
    before = last_id(who)
    for _ in range(5):
        payment_id = office.paid(2)
        found = since(who, before)
        assert [each["type"] for each in found if each["subject"] == subject_of(payment_id)] == THREE
        before = found[-1]["id"]


def test_pages_follow_each_other(office: Office) -> None:
    who = office.merchant(2)
    before = last_id(who)
    for _ in range(3):
        office.paid(2)
    found = since(who, before)
    assert len(found) == 9
    start = {} if before is None else {"after": before}
    first = page_of(who, limit=4, **start)
    assert (first["items"], first["has_next"]) == (found[:4], True)
    second = page_of(who, limit=4, after=first["next_after"])
    assert (second["items"], second["has_next"]) == (found[4:8], True)
    third = page_of(who, limit=4, after=second["next_after"])
    assert (third["items"], third["has_next"]) == (found[8:], False)
    last = page_of(who, limit=4, after=third["next_after"])
    assert last == {"items": [], "next_after": third["next_after"], "has_next": False}


def test_a_page_that_is_just_full_has_no_next(office: Office) -> None:
    who = office.merchant(2)
    before = last_id(who) or (office.paid(2) and last_id(who))
    office.paid(2)
    page = page_of(who, limit=3, after=before)
    assert (len(page["items"]), page["has_next"]) == (3, False)


def test_the_limit_is_a_hundred_unless_said_otherwise(quiet: Office) -> None:
    for _ in range(35):
        quiet.paid(5)
    who = quiet.merchant(5)
    page = page_of(who)
    assert (len(page["items"]), page["has_next"]) == (100, True)
    assert len(page_of(who, limit=500)["items"]) == 105
    assert len(page_of(who, limit=1)["items"]) == 1


def test_types_and_subjects_choose(office: Office) -> None:
    who = office.merchant(2)
    before = last_id(who)
    first, second = office.paid(2), office.paid(2)
    office.pay(2)
    assert [each["subject"] for each in since(who, before, type="payment.paid")] == [subject_of(first), subject_of(second)]
    assert {each["type"] for each in since(who, before, type=["payment.paid", "payment.created"])} == {
        "payment.paid",
        "payment.created",
    }
    assert [each["type"] for each in since(who, before, subject=subject_of(first))] == THREE
    both = since(who, before, subject=[subject_of(first), subject_of(second)], type="payment.paid")
    assert [each["subject"] for each in both] == [subject_of(first), subject_of(second)]
    assert since(who, before, subject=f"payment:{NOWHERE}") == []


def test_a_page_of_chosen_events_can_be_followed(office: Office) -> None:
    who = office.merchant(2)
    before = last_id(who)
    payments = [office.paid(2) for _ in range(5)]
    found = since(who, before, type="payment.paid", limit=2)
    assert [each["subject"] for each in found] == [subject_of(each) for each in payments]


def test_a_merchant_sees_its_own_events_alone(office: Office) -> None:
    mine, theirs = office.paid(2), office.paid(3)
    subjects = {each["subject"] for each in office.feed(2)}
    assert subject_of(mine) in subjects
    assert subject_of(theirs) not in subjects
    assert {each["merchant_id"] for each in office.feed(2)} == {2}
    assert office.feed(2, subject=subject_of(theirs)) == []


def test_a_strangers_event_is_no_place_to_start(office: Office) -> None:
    office.paid(2)
    office.paid(3)
    foreign = last_id(office.merchant(3))
    answer = office.merchant(2).get(EVENTS, params={"after": foreign})
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("after", [NOWHERE, "canary", "", "7", "%00", NOWHERE[:-1]])
def test_an_unknown_or_malformed_after_is_refused(office: Office, after: str) -> None:
    answer = office.merchant(2).get(EVENTS, params={"after": after})
    assert answer.status_code == 422, answer.text
    assert "canary" not in answer.text


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "0"), ("limit", "501"), ("limit", "-1"), ("limit", "x"), ("limit", "1.5"), ("limit", "99999999999999999999")],
)
def test_a_bad_limit_is_malformed(office: Office, name: str, value: str) -> None:
    bad(office.merchant(2).get(EVENTS, params={name: value}))


def test_the_feed_needs_no_endpoint(quiet: Office) -> None:
    payment_id = quiet.paid(6)
    assert [each["type"] for each in quiet.feed(6) if each["subject"] == subject_of(payment_id)] == THREE


def test_an_event_reads_the_same_for_ever(quiet: Office) -> None:
    payment_id = quiet.paid(6)
    before = quiet.feed(6, subject=subject_of(payment_id))
    answer = quiet.merchant(6).post(f"{BASE}/{payment_id}/refunds", json={}, headers={"Idempotency-Key": a_key()})
    assert answer.status_code == 201
    after = quiet.feed(6, subject=subject_of(payment_id))
    assert after[:3] == before[:3]
    assert len(after) > len(before)


def test_what_is_delivered_is_what_is_listed(office: Office) -> None:
    hook = office.hook(2, format="event")
    payment_id = office.paid(2)
    calls = hook.waits_for(3, subject_of(payment_id))
    assert [call.body for call in calls] == office.feed(2, subject=subject_of(payment_id))


# A reader who follows


def _write(office: Office, number: int, made: list[str], over: threading.Event) -> None:
    with office.server.client(headers={"X-Api-Key": f"sk_demo_{number}"}, timeout=30) as who:
        while not over.is_set():
            made.append(office.paid(who))


def _read(
    office: Office,
    number: int,
    limit: int,
    over: threading.Event,
    found: list[Json],
    trouble: list[BaseException],
    start: str | None,
) -> None:
    """Follow `next_after` alone until the writers are done and nothing more comes."""
    try:
        after = start
        with office.server.client(headers={"X-Api-Key": f"sk_demo_{number}"}, timeout=30) as who:
            while True:
                was_over = over.is_set()
                query: dict[str, Any] = {"limit": limit} if after is None else {"limit": limit, "after": after}
                page = page_of(who, **query)
                found += page["items"]
                after = page["next_after"]
                if was_over and not page["has_next"]:
                    return
    except BaseException as error:
        trouble.append(error)


@pytest.mark.parametrize("writers", [8])
def test_a_reader_who_follows_misses_nothing_while_eight_write(quiet: Office, writers: int) -> None:
    number = 2
    start = last_id(quiet.merchant(number))
    made: list[str] = []
    trouble: list[BaseException] = []
    books: list[list[Json]] = [[], [], []]
    writing, reading = threading.Event(), threading.Event()
    hands = [threading.Thread(target=_write, args=(quiet, number, made, writing)) for _ in range(writers)]
    eyes = [
        threading.Thread(target=_read, args=(quiet, number, limit, reading, book, trouble, start))
        for limit, book in zip((1, 7, 500), books, strict=True)
    ]
    for each in [*hands, *eyes]:
        each.start()
    time.sleep(3)
    writing.set()
    for each in hands:
        each.join()
    reading.set()
    for each in eyes:
        each.join()
    assert not trouble, trouble[0]
    whole = since(quiet.merchant(number), start)
    assert len(made) > writers
    assert {each["subject"] for each in whole} == {subject_of(each) for each in made}
    assert len(whole) == 3 * len(made)
    for book in books:
        assert [each["id"] for each in book] == [each["id"] for each in whole]
    for payment_id in made:
        assert [each["sequence"] for each in whole if each["subject"] == subject_of(payment_id)] == [1, 2, 3]


# At the end, because it moves the clock


def test_an_after_older_than_ninety_days_has_expired(quiet: Office) -> None:
    quiet.paid(1)
    who = quiet.merchant(1)
    old = page_of(who)["items"][0]["id"]
    quiet.later(89 * 86_400)
    assert page_of(who, after=old)["items"] != []
    quiet.later(2 * 86_400)
    refusal(who.get(EVENTS, params={"after": old}), 422, "cursor_expired")
    payment_id = quiet.paid(1)
    assert [each["type"] for each in quiet.feed(1, subject=subject_of(payment_id))] == THREE
