"""A payment service that takes its time, cannot be asked, or is not there: the buyer is told where to look, and it ends.

What takes long is told at the same time, in one fixture; the tests then read what happened.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import pytest

from .journeys import (
    Json,
    a_key,
    at_once,
    buy,
    id_of,
    line,
    look,
    order_form,
    problem,
    refusal,
    steps,
    the_end,
    until,
    visitor,
)
from .neighbours import DECLINED, DRIPS, HONEST, Reaction, cuts, does_but_says, says, thinks
from .town import Story, Town

# Stories that take longer than a buyer likes to wait, told at the same time


WITHOUT_THE_ROUTE: Final[dict[str, Reaction]] = {
    "404 of HTML": says(404, b"<html>Not Found</html>"),
    "404 of another word": says(404, {"status": "not_found"}),
    "404 of another key": says(404, {"status": "never_seen", "key": "somebody-else:payment"}),
    "404 without a key": says(404, {"status": "never_seen"}),
    "405": says(405, {"message": "Method Not Allowed"}),
    "501": says(501),
}
SLOW: Final[dict[str, dict[str, Any]]] = {  # the longest first
    **{f"no route: {name}": {"process": cuts(books=True), "by_key": answer} for name, answer in WITHOUT_THE_ROUTE.items()},
    "never seen": {"process": cuts(books=False), "key": a_key(), "form": order_form(line("prod_011"))},
    "still working": {"process": thinks(14), "by_key": [says(202, {"status": "processing"}), says(202), HONEST]},
    "a slow yes": {"process": thinks(12)},
    "a slow no": {"process": thinks(12, DECLINED)},
    "a byte a second": {"process": DRIPS},
    "silence thrice": {"process": cuts(books=True), "by_key": [says(503), says(500), says(200, b"<html>"), HONEST]},
    "a cut question": {"process": does_but_says(500), "by_key": [cuts(books=False), HONEST]},
}


@dataclass(frozen=True)
class Repeated:
    """One form sent twice while the service thinks for 14 s, and twice more after the end."""

    first: httpx2.Response
    second: httpx2.Response
    meanwhile: Json
    last: httpx2.Response
    again: httpx2.Response


def repeat_a_slow_form(town: Town) -> Repeated:
    form, key = order_form(), a_key()
    town.neighbours.for_buyer(form["customer_email"], process=thinks(14), by_key=[says(202), says(202), HONEST])
    with visitor(town.shop) as guest:
        first, second = buy(guest, form, key), buy(guest, form, key)
        meanwhile = look(guest, id_of(first))
        the_end(guest, id_of(first))
        return Repeated(first, second, meanwhile, buy(guest, form, key), buy(guest, form, key))


@dataclass(frozen=True)
class ClosedDoor:
    """What buyers were answered while nobody listened, while the breaker was open, and how long that took to end."""

    town: Town
    refused: list[httpx2.Response]
    kept_away: httpx2.Response
    open_for: float


def knock_at_a_closed_door(town: Town) -> ClosedDoor:
    town.neighbours.close("payment")
    with visitor(town.shop) as guest:
        refused = [buy(guest, order_form()) for _ in range(5)]
        opened = time.monotonic()
        town.neighbours.open("payment")
        kept_away = buy(guest, order_form())
        until(lambda: buy(guest, order_form()).status_code == 200, 14, "the probe finds the service again")
    return ClosedDoor(town, refused, kept_away, time.monotonic() - opened)


@pytest.fixture(scope="module")
def _waits(town: Town, another_town: Town) -> tuple[dict[str, Story], Repeated, ClosedDoor]:
    """Everything that takes its time, at the same time."""
    with town.kept_busy() as others:
        results: list[Any] = at_once(
            [
                lambda: town.play_all(SLOW),
                lambda: repeat_a_slow_form(town),
                lambda: knock_at_a_closed_door(another_town),
            ]
        )
    assert set(others) == {200}, "nobody else notices"
    return results[0], results[1], results[2]


@pytest.fixture(scope="module")
def slow(_waits: tuple[dict[str, Story], Repeated, ClosedDoor]) -> dict[str, Story]:
    return _waits[0]


@pytest.fixture(scope="module")
def repeated(_waits: tuple[dict[str, Story], Repeated, ClosedDoor]) -> Repeated:
    return _waits[1]


@pytest.fixture(scope="module")
def closed_door(_waits: tuple[dict[str, Story], Repeated, ClosedDoor]) -> ClosedDoor:
    return _waits[2]


def is_still_working(answer: httpx2.Response) -> None:
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"checkout_id": id_of(answer), "error": None, "status": "processing"}
    assert answer.headers["Location"] == f"/checkout/{id_of(answer)}"


@pytest.mark.parametrize("name", SLOW)
def test_no_story_has_two_charges_or_two_keys(slow: dict[str, Story], name: str) -> None:
    story = slow[name]
    assert story.done("process") <= 1
    assert {call.key for call in story.calls("process")} == {f"{story.checkout_id}:payment"}


@pytest.mark.parametrize("name", ["a slow yes", "still working", "a byte a second"])
def test_after_ten_seconds_the_buyer_is_told_where_to_look_and_it_becomes_an_order(slow: dict[str, Story], name: str) -> None:
    story = slow[name]
    is_still_working(story.answer)
    assert 9 <= story.took <= 12
    assert story.outcome == ("completed", 1, 0)
    assert len(story.calls("process")) == 1
    assert steps(story.end) == {"payment": "done", "inventory": "done", "order": "done"}


def test_a_slow_no_is_a_failed_checkout_and_nothing_else(slow: dict[str, Story]) -> None:
    story = slow["a slow no"]
    is_still_working(story.answer)
    assert story.outcome == ("failed", 0, 0)
    assert (story.end["error"], story.end["message"]) == (
        "Payment processing failed",
        "Insufficient funds in account",
    )
    assert not story.calls("deduct")


def test_a_service_that_is_still_working_is_asked_again(slow: dict[str, Story]) -> None:
    assert len(slow["still working"].calls("by_key")) == 3


def test_a_question_without_an_answer_is_asked_again_after_a_while(slow: dict[str, Story]) -> None:
    story = slow["silence thrice"]
    assert story.outcome == ("completed", 1, 0)
    asked = [call.at for call in story.calls("by_key")]
    assert len(asked) == 4
    assert 0.7 <= asked[1] - asked[0] <= 2.5, "after 1 s"
    assert 0.7 <= asked[2] - asked[1] <= 3.5, "after 2 s"


def test_a_question_that_is_cut_off_is_asked_again_after_a_while_too(slow: dict[str, Story]) -> None:
    story = slow["a cut question"]
    assert story.outcome == ("completed", 1, 0)
    first, second = (call.at for call in story.calls("by_key"))
    assert second - first >= 0.7, "after 1 s, and not at once"


@pytest.mark.parametrize("name", [f"no route: {name}" for name in WITHOUT_THE_ROUTE])
def test_a_service_that_cannot_be_asked_is_asked_five_times_then_a_person_is(slow: dict[str, Story], name: str) -> None:
    story = slow[name]
    is_still_working(story.answer)
    assert story.end["status"] == "parked"
    assert len(story.calls("by_key")) == 5
    assert len(story.calls("process")) == 1
    assert not story.calls("deduct", "create", "refund")


def test_a_payment_that_cannot_be_asked_for_stays_unknown(slow: dict[str, Story]) -> None:
    assert steps(slow["no route: 405"].end) == {"payment": "unknown"}


def test_what_is_never_seen_is_not_charged_and_ends(slow: dict[str, Story], town: Town) -> None:
    story = slow["never seen"]
    is_still_working(story.answer)
    assert story.outcome == ("failed", 0, 0)
    assert story.end["error"] == "Payment processing failed"
    sent = [call.at for call in story.calls("process")]
    assert 1 <= len(sent) <= 2
    assert max(call.at for call in story.calls("by_key")) - sent[-1] >= 14, "asked until 15 s after the last sending"
    with visitor(town.shop) as guest:
        again = buy(guest, SLOW["never seen"]["form"], SLOW["never seen"]["key"])
    refusal(again, "Payment processing failed", "payment_not_executed")
    assert id_of(again) == story.checkout_id


# While it runs


def test_a_repeat_while_the_first_still_runs_waits_a_second_and_is_told_so(town: Town) -> None:
    form, key = order_form(), a_key()
    town.neighbours.for_buyer(form["customer_email"], process=thinks(3))

    def first() -> httpx2.Response:
        with visitor(town.shop) as guest:
            return buy(guest, form, key)

    def impatient() -> tuple[httpx2.Response, float]:
        time.sleep(0.5)
        with visitor(town.shop) as guest:
            start = time.monotonic()
            return buy(guest, form, key), time.monotonic() - start

    def patient() -> httpx2.Response:
        time.sleep(2.6)
        with visitor(town.shop) as guest:
            return buy(guest, form, key)

    results: list[Any] = at_once([first, impatient, patient])
    answer, (told, took), waited = results
    assert answer.status_code == 200, answer.text
    problem(told, 409, "Checkout in progress")
    assert told.headers["Retry-After"] == "1"
    assert 0.8 <= took <= 2
    assert waited.headers["Idempotent-Replayed"] == "true"
    assert waited.content == answer.content
    assert len(town.neighbours.calls(id_of(answer), "process")) == 1


def test_after_a_202_a_repeat_is_202_until_there_is_an_end(repeated: Repeated, town: Town) -> None:
    is_still_working(repeated.first)
    is_still_working(repeated.second)
    assert repeated.meanwhile["status"] == "processing"
    assert repeated.last.status_code == 200, repeated.last.text
    assert {id_of(answer) for answer in (repeated.second, repeated.last)} == {id_of(repeated.first)}
    assert repeated.again.content == repeated.last.content
    assert repeated.again.headers["Idempotent-Replayed"] == "true"
    assert len(town.neighbours.calls(id_of(repeated.first), "process")) == 1


def test_a_buyer_who_hangs_up_has_bought_all_the_same(town: Town) -> None:
    form = order_form()
    town.neighbours.for_buyer(form["customer_email"], process=thinks(1))
    with visitor(town.shop) as guest:
        guest.timeout = 0.3
        with pytest.raises(httpx2.TimeoutException):
            buy(guest, form)
    (checkout_id,) = town.neighbours.checkouts_of(form["customer_email"])
    with visitor(town.shop) as guest:
        assert the_end(guest, checkout_id)["status"] == "completed"
    assert town.neighbours.net(checkout_id) == 1


# A service that is not there


def test_a_door_that_is_closed_is_a_no(closed_door: ClosedDoor) -> None:
    with visitor(closed_door.town.shop) as guest:
        for answer in (*closed_door.refused, closed_door.kept_away):
            refusal(answer, "Payment processing failed", "payment_unavailable")
            assert look(guest, id_of(answer))["status"] == "failed"


def test_after_five_closed_doors_nobody_knocks_for_ten_seconds(closed_door: ClosedDoor) -> None:
    assert not closed_door.town.neighbours.calls(id_of(closed_door.kept_away)), "the breaker is open"
    assert 9 <= closed_door.open_for <= 13
