"""What the payment service's answers mean, line by line (checkout contract, sections 4 and 5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.factories import CARD, payment_as_read, refund_as_read

from kassa.kit.neighbour import Answer, BreakerOpen, NoAnswer, NotSent
from kassa.payments import Refund
from kassa.payments.model import Card
from kassa.payments.providers import CardService

YES = {"status": "success", "transactionId": "12345ABC", "message": "Payment processed successfully"}
NO = {"status": "failed", "error": "insufficient_funds", "message": "Insufficient funds in account"}
PAYMENT = payment_as_read(amount_minor=34970)


@dataclass
class Wire:
    """A neighbour that answers one thing, and remembers what it was sent."""

    answer: Answer | Exception
    sent: list[dict[str, Any]] = field(default_factory=list)

    async def call(self, method: str, path: str, **sent: Any) -> Answer:
        self.sent.append({"method": method, "path": path, **sent})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def wire(status: int | Exception, body: dict[str, Any] | None = None) -> Wire:
    return Wire(status if isinstance(status, Exception) else Answer(status, body, {}))


async def begun(wired: Wire, card: Card | None = CARD, **payment: Any) -> str:
    verdict = await CardService(wired).begin(payment_as_read(amount_minor=34970, **payment), card, "a@b")  # type: ignore[arg-type]
    return verdict.kind if verdict.kind != "declined" else f"declined {verdict.code}"


async def test_a_charge_carries_its_amount_exactly_and_its_key() -> None:
    wired = wire(200, YES)
    assert await begun(wired) == "paid"
    (sent,) = wired.sent
    assert (sent["method"], sent["path"], sent["key"]) == ("POST", "/payments/process", PAYMENT.provider_key)
    assert bytes(sent["body"]["amount"].contents if hasattr(sent["body"]["amount"], "contents") else b"349.7") == b"349.7"
    assert sent["body"]["payment_method"]["card_number"] == CARD.number


async def test_a_yes_has_a_transaction_of_the_neighbours() -> None:
    verdict = await CardService(wire(201, YES)).begin(PAYMENT, CARD, None)  # type: ignore[arg-type]
    assert (verdict.kind, verdict.ref) == ("paid", "12345ABC")


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (200, NO, "declined insufficient_funds"),
        (422, NO, "declined insufficient_funds"),
        (402, None, "declined payment_declined"),
        (400, {"detail": "?"}, "declined payment_declined"),
        (404, None, "declined payment_declined"),
        (429, None, "declined payment_declined"),
        # Not a no: it may have been charged.
        (408, None, "unknown"),
        (409, NO, "unknown"),
        (425, None, "unknown"),
        (500, YES, "unknown"),
        (502, None, "unknown"),
        (503, NO, "unknown"),
        # Answers that cannot be read.
        (200, None, "unknown"),
        (200, {"status": "success"}, "unknown"),
        (200, {"status": "success", "transactionId": 7}, "unknown"),
        (200, {"status": "succeeded", "transactionId": "1"}, "unknown"),
        (200, {"transactionId": "1"}, "unknown"),
        (302, None, "unknown"),
        (202, {"status": "processing"}, "unknown"),
    ],
)
async def test_what_an_answer_to_a_charge_means(status: int, body: dict[str, Any] | None, meaning: str) -> None:
    assert await begun(wire(status, body)) == meaning


async def test_silence_is_unknown_and_never_a_no() -> None:
    assert await begun(wire(NoAnswer())) == "unknown"


@pytest.mark.parametrize("error", [NotSent(), BreakerOpen()])
async def test_a_connection_that_could_not_be_made_is_a_no(error: Exception) -> None:
    assert await begun(wire(error)) == "declined payment_unavailable"


@pytest.mark.parametrize("error", [NotSent(), BreakerOpen()])
async def test_but_not_the_second_time_because_the_first_may_have_arrived(error: Exception) -> None:
    assert await begun(wire(error), sends=2) == "unknown"


async def test_without_the_card_nothing_is_sent() -> None:
    wired = wire(200, YES)
    assert await begun(wired, card=None) == "unknown"
    assert wired.sent == []


KEY = PAYMENT.provider_key


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (200, YES, ("paid", False, False)),
        (200, NO, ("declined", False, False)),
        (202, {"status": "processing"}, ("unknown", False, False)),
        (404, {"status": "never_seen", "key": KEY}, ("unknown", True, False)),
        # Any other 404 is a neighbour without the route.
        (404, {"status": "never_seen", "key": "another"}, ("unknown", False, True)),
        (404, {"status": "never_seen"}, ("unknown", False, True)),
        (404, {"detail": "Not Found"}, ("unknown", False, True)),
        (404, None, ("unknown", False, True)),
        (405, None, ("unknown", False, True)),
        (501, None, ("unknown", False, True)),
        (500, YES, ("unknown", False, False)),
        (503, None, ("unknown", False, False)),
        (401, NO, ("unknown", False, False)),
        (422, NO, ("unknown", False, False)),
        (200, None, ("unknown", False, False)),
    ],
)
async def test_what_an_answer_to_the_question_means(status: int, body: Any, meaning: tuple[str, bool, bool]) -> None:
    wired = wire(status, body)
    verdict = await CardService(wired).ask(PAYMENT)  # type: ignore[arg-type]
    assert (verdict.kind, verdict.never_seen, verdict.unanswerable) == meaning
    assert wired.sent[0]["method"] == "GET"
    assert wired.sent[0]["path"] == "/payments/by-key/key%3Apayment"


@pytest.mark.parametrize("error", [NotSent(), BreakerOpen(), NoAnswer()])
async def test_silence_to_the_question_is_asked_again(error: Exception) -> None:
    verdict = await CardService(wire(error)).ask(PAYMENT)  # type: ignore[arg-type]
    assert (verdict.kind, verdict.unanswerable, verdict.never_seen) == ("unknown", False, False)


def refund_of(amount: int) -> Refund:
    return refund_as_read(payment_id=PAYMENT.payment_id, amount_minor=amount, provider_key="c:refund")


@pytest.mark.parametrize(
    ("status", "amount", "meaning"),
    [
        (200, 100, "succeeded"),
        (201, 34970, "succeeded"),
        (409, 34970, "succeeded"),  # refunded already, as was wanted
        (409, 100, "pending"),  # of a part that proves nothing
        (404, 34970, "impossible"),
        (405, 34970, "impossible"),
        (501, 34970, "impossible"),
        (500, 34970, "pending"),
        (503, 34970, "pending"),
        (429, 34970, "pending"),
        (408, 34970, "pending"),
        (400, 34970, "failed"),
        (422, 34970, "failed"),
    ],
)
async def test_what_an_answer_to_a_refund_means(status: int, amount: int, meaning: str) -> None:
    wired = wire(status, {"refundId": "r-1"})
    paid = payment_as_read(status="refunding", amount_minor=34970, captured_minor=34970, provider_ref="12345ABC")
    verdict = await CardService(wired).refund(paid, refund_of(amount))  # type: ignore[arg-type]
    assert verdict.kind == meaning
    assert (wired.sent[0]["path"], wired.sent[0]["key"]) == ("/payments/12345ABC/refund", "c:refund")


@pytest.mark.parametrize("error", [NotSent(), BreakerOpen(), NoAnswer()])
async def test_a_refund_that_was_not_answered_is_sent_again(error: Exception) -> None:
    paid = payment_as_read(captured_minor=34970)
    assert (await CardService(wire(error)).refund(paid, refund_of(34970))).kind == "pending"  # type: ignore[arg-type]


async def test_what_the_service_says_is_kept_without_long_numbers() -> None:
    body = {"status": "failed", "error": "bad 4111111111111111", "message": "card 4111 1111 1111 1111 is bad"}
    verdict = await CardService(wire(422, body)).begin(PAYMENT, CARD, None)  # type: ignore[arg-type]
    assert "4111" not in f"{verdict.code} {verdict.message}"
