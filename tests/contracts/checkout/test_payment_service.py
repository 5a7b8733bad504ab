"""A payment service that says yes, says no, or says nothing: never two charges, and always an end (sections 4 and 5)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

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
    somebody,
    steps,
    the_end,
    until,
    visitor,
)
from .neighbours import DECLINED, DRIPS, HONEST, Reaction, cuts, does_but_says, says, thinks
from .town import Story, Town

YES: Final = {"status": "success", "transactionId": "12345ABC", "message": "Payment processed successfully"}


# What is asked


def test_the_payment_is_asked_for_exactly_as_documented(town: Town) -> None:
    form = order_form(card="4111 1111-1111 1111", cvv="0123", expiry="12/25", kind="debit_card")
    story = town.play(form)
    (call,) = story.calls("process")
    assert (call.method, call.raw_path) == ("POST", "/payments/process")
    assert call.body == {
        "amount": 349.7,
        "payment_method": {
            "type": "debit_card",
            "card_number": "4111111111111111",
            "card_expiry": "12/25",
            "card_cvv": "0123",
        },
        "customer_email": form["customer_email"],
    }
    assert b"349.7," in call.raw.replace(b" ", b"") or b"349.7}" in call.raw.replace(b" ", b"")
    assert call.key == f"{story.checkout_id}:payment"
    assert call.headers["Content-Type"].startswith("application/json")


def test_the_request_id_travels_with_every_call(town: Town) -> None:
    email = town.neighbours.for_buyer(somebody(), process=does_but_says(500), create=says(409, {"message": "no"}))
    with visitor(town.shop) as guest:
        answer = buy(guest, order_form(email=email), headers={"X-Request-Id": "trace-7731"})
        the_end(guest, id_of(answer))
    assert answer.headers["X-Request-Id"] == "trace-7731"
    sent = {call.act: call.request_id for call in town.neighbours.calls(id_of(answer))}
    wanted = ("process", "by_key", "deduct", "create", "restock", "refund")
    assert sent == dict.fromkeys(wanted, "trace-7731")


def test_a_request_id_that_was_made_travels_too(town: Town) -> None:
    story = town.play()
    assert {call.request_id for call in story.calls()} == {story.answer.headers["X-Request-Id"]}


def test_connections_to_a_neighbour_are_used_again(town: Town) -> None:
    stories = [town.play(order_form(line("prod_011"))) for _ in range(12)]
    for act in ("process", "deduct", "create"):
        doors = {call.connection for story in stories for call in story.calls(act)}
        assert len(doors) <= 3, (act, doors)


# A plain answer


@pytest.mark.parametrize(
    "answer",
    [
        does_but_says(200, YES),
        does_but_says(201, YES),
        does_but_says(200, {**YES, "extra": {"deep": [1, 2]}}),
        does_but_says(200, {"status": "success", "transactionId": "12345ABC"}),
    ],
)
def test_a_yes_is_an_order_and_keeps_the_services_own_id(town: Town, answer: Reaction) -> None:
    story = town.play(process=answer)
    assert story.answer.status_code == 200, story.answer.text
    assert story.end["payment_id"] == "12345ABC"
    assert story.acts == ["process", "deduct", "create"]


@pytest.mark.parametrize("status", [200, 201, 400, 401, 402, 403, 404, 405, 410, 413, 422, 429, 451])
def test_a_no_is_a_refusal_in_the_services_own_words(town: Town, status: int) -> None:
    story = town.play(process=says(status, dict(DECLINED)))
    detail = refusal(story.answer, "Payment processing failed", "insufficient_funds")
    assert detail["message"] == "Insufficient funds in account"
    assert (story.end["status"], story.end["message"]) == ("failed", "Insufficient funds in account")
    assert steps(story.end) == {"payment": "refused"}
    assert story.acts == ["process"]


@pytest.mark.parametrize(
    "answer",
    [
        says(400, b"<html>no</html>"),
        says(402),
        says(422, []),
        says(422, {"error": None, "message": None}),
        says(422, {"error": 7, "message": {"a": 1}}),
        says(200, {"status": "failed"}),
        says(200, {"status": "failed", "error": "", "message": ""}),
    ],
)
def test_a_no_without_words_gets_ours(town: Town, answer: Reaction) -> None:
    story = town.play(process=answer)
    refusal(story.answer, "Payment processing failed", "payment_declined")
    assert story.acts == ["process"]


@pytest.mark.parametrize("odd", ["\\u0000", "\\ud800", "\\u202e", "<script>", "\\r\\nSet-Cookie: a=b"])
def test_odd_characters_in_a_no_break_nothing(town: Town, odd: str) -> None:
    raw = f'{{"status": "failed", "error": "o{odd}dd", "message": "no {odd} no", "{odd}": 1}}'.encode()
    story = town.play(process=says(422, raw))
    refusal(story.answer, "Payment processing failed")
    assert story.outcome == ("failed", 0, 0)
    assert story.answer.headers["Content-Type"].startswith("application/json")


def test_an_odd_transaction_id_does_not_lead_the_refund_astray(town: Town) -> None:
    story = town.play(process=does_but_says(200, {**YES, "transactionId": "T/1 ?x=1#%2Fé"}), deduct=says(422))
    (refund,) = story.calls("refund")
    assert refund.raw_path == f"/payments/{quote('T/1 ?x=1#%2Fé', safe='')}/refund"
    assert story.outcome == ("failed", 1, 1)
    assert not story.calls("stray")


def test_a_services_message_is_cut_at_300_and_its_long_numbers_are_masked(town: Town) -> None:
    message = "Card 4111111111111111 of account 123456789012 refused, call 08001234567. " + "Sorry. " * 200
    story = town.play(process=says(422, {**DECLINED, "message": message}))
    detail = refusal(story.answer, "Payment processing failed", "insufficient_funds")
    for text in (detail["message"], story.end["message"]):
        assert len(text) <= 300
        assert "4111111111111111" not in text
        assert "123456789012" not in text
        assert "08001234567" in text  # eleven digits are a telephone


def test_a_service_that_puts_the_card_into_its_error_word_is_not_quoted(town: Town) -> None:
    story = town.play(process=says(422, {**DECLINED, "error": "card_4111111111111111"}))
    refusal(story.answer, "Payment processing failed")
    assert "4111111111111111" not in story.answer.text


# An answer that says nothing


HUGE: Final = {**YES, "padding": "x" * 2_000_000}
SILENT: Final[dict[str, Reaction]] = {
    **{f"status {status}": does_but_says(status, {"message": "?"}) for status in (408, 409, 425, 500, 502, 503, 504)},
    "409 that is a failed": does_but_says(409, dict(DECLINED)),
    "500 that is a success": does_but_says(500, YES),
    "a reset": cuts(books=True),
    "HTML": does_but_says(200, b"<html>thank you</html>"),
    "half an answer": does_but_says(200, b'{"status": "success", "transac'),
    "nothing": does_but_says(200),
    "no content": does_but_says(204),
    "an empty object": does_but_says(200, {}),
    "a list": does_but_says(200, [YES]),
    "a word": does_but_says(200, "success"),
    "success without an id": does_but_says(200, {"status": "success"}),
    "success with a number for an id": does_but_says(200, {**YES, "transactionId": 12345}),
    "success with a NUL in its id": does_but_says(200, {**YES, "transactionId": "T\u00001"}),
    "success with half a character in its id": does_but_says(200, b'{"status": "success", "transactionId": "T\\ud800"}'),
    "another status": does_but_says(200, {**YES, "status": "pending"}),
    "accepted": does_but_says(202, {"status": "accepted"}),
    "two megabytes": does_but_says(200, HUGE),
    "not UTF-8": does_but_says(200, b'{"status": "success", "transactionId": "\xff"}'),
}


@pytest.mark.parametrize("kind", SILENT)
def test_after_silence_the_service_is_asked_and_never_charged_again(town: Town, kind: str) -> None:
    story = town.play(process=SILENT[kind])
    assert story.answer.status_code == 200, story.answer.text
    assert story.acts == ["process", "by_key", "deduct", "create"]
    assert story.outcome == ("completed", 1, 0)
    assert story.took < 5, "it is asked at once"


def test_the_question_has_the_key_in_its_path_percent_encoded(town: Town) -> None:
    story = town.play(process=does_but_says(500))
    (question,) = story.calls("by_key")
    assert question.method == "GET"
    key = quote(f"{story.checkout_id}:payment", safe="")
    assert question.raw_path.lower() == f"/payments/by-key/{key}".lower()


def test_the_payment_id_is_the_one_that_the_question_was_answered_with(town: Town) -> None:
    story = town.play(process=does_but_says(500), by_key=says(200, {**YES, "transactionId": "LATER-1"}))
    assert story.end["payment_id"] == "LATER-1"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(town: Town, status: int) -> None:
    elsewhere = f"{town.neighbours.url('payment')}/payments/elsewhere"
    before = len([call for call in town.neighbours.all_calls() if call.act == "stray"])
    story = town.play(process=does_but_says(status, None, Location=elsewhere))
    assert story.outcome == ("completed", 1, 0)
    assert story.acts == ["process", "by_key", "deduct", "create"]
    assert len([call for call in town.neighbours.all_calls() if call.act == "stray"]) == before


def test_silence_that_turns_out_to_be_a_no_is_a_refusal(town: Town) -> None:
    story = town.play(process=Reaction(status=500, verdict=DECLINED))
    refusal(story.answer, "Payment processing failed", "insufficient_funds")
    assert story.acts == ["process", "by_key"]
    assert story.outcome == ("failed", 0, 0)


def test_a_charge_that_never_arrived_is_sent_once_more_with_the_same_key(town: Town) -> None:
    form = order_form()
    story = town.play(form, process=[cuts(books=False), HONEST])
    first, second = story.calls("process")
    assert (first.key, first.raw) == (second.key, second.raw)
    assert story.acts[:3] == ["process", "by_key", "process"], "the question comes first"
    assert story.outcome == ("completed", 1, 0)
    assert story.answer.status_code == 200, story.answer.text


def test_a_second_sending_that_is_lost_too_is_asked_for_too(town: Town) -> None:
    story = town.play(process=[cuts(books=False), cuts(books=True)])
    assert len(story.calls("process")) == 2
    assert {call.key for call in story.calls("process")} == {f"{story.checkout_id}:payment"}
    assert story.outcome == ("completed", 1, 0)


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
