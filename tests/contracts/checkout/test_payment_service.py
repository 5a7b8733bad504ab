"""A payment service that says yes, says no, or says nothing: never two charges, and always an end (sections 4 and 5)."""

from __future__ import annotations

import gzip
from typing import Final
from urllib.parse import quote

import pytest

from .journeys import (
    buy,
    id_of,
    line,
    order_form,
    refusal,
    somebody,
    steps,
    the_end,
    visitor,
)
from .neighbours import DECLINED, HONEST, Reaction, cuts, does_but_says, says
from .town import Town

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
    story = town.play(process=says(422, raw), within=10)
    refusal(story.answer, "Payment processing failed")
    assert story.outcome == ("failed", 0, 0)
    assert story.answer.headers["Content-Type"].startswith("application/json")


def test_an_odd_transaction_id_does_not_lead_the_refund_astray(town: Town) -> None:
    story = town.play(process=does_but_says(200, {**YES, "transactionId": "T/1 ?x=1#%2Fé"}), deduct=says(422))
    (refund,) = story.calls("refund")
    assert refund.raw_path == f"/payments/{quote('T/1 ?x=1#%2Fé', safe='')}/refund"
    assert story.outcome == ("failed", 1, 1)
    assert not story.calls("stray")


@pytest.mark.parametrize("length", [255, 20_000])
def test_long_ids_of_neighbours_come_to_an_end_too(town: Town, length: int) -> None:
    """`ids of neighbours are kept as they come`; one that is no id may be called unreadable, but nothing may hang."""
    story = town.play(
        process=does_but_says(200, {**YES, "transactionId": "T" * length}),
        create=[does_but_says(200, {"orderId": "o" * length}), HONEST],
        within=10,
    )
    assert story.outcome == ("completed", 1, 0)
    if length <= 255:
        assert (story.end["payment_id"], story.end["order_id"]) == ("T" * length, "o" * length)


def test_a_long_error_word_is_a_refusal_all_the_same(town: Town) -> None:
    story = town.play(process=says(422, {"status": "failed", "error": "e" * 20_000, "message": "no"}), within=10)
    refusal(story.answer, "Payment processing failed")
    assert story.outcome == ("failed", 0, 0)


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
    "lists in lists": does_but_says(200, b"[" * 30_000 + b"]" * 30_000),
    "a number of 5000 digits": does_but_says(200, b'{"status": "success", "transactionId": ' + b"9" * 5000 + b"}"),
    "gzip that is none": does_but_says(200, b"this is plain", Content_Encoding="gzip"),
    "gzip of 50 megabytes": does_but_says(200, gzip.compress(b" " * 50_000_000), Content_Encoding="gzip"),
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


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b'{"status": "success"}',
        b'{"status": "success", "transactionId": "T\\u0000"}',
        b'{"status": "failed", "error": "\\u0000", "message": "\\ud800"',
    ],
    ids=repr,
)
def test_a_question_whose_answer_cannot_be_read_is_asked_again(town: Town, answer: bytes) -> None:
    story = town.play(process=does_but_says(500), by_key=[says(200, answer), HONEST], within=15)
    assert story.outcome == ("completed", 1, 0)
    assert len(story.calls("by_key")) == 2


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
