"""What a person decides about money has one line in the audit log; a word that changes nothing has none."""

from __future__ import annotations

from tests.factories import Till, at_once, open_payment, settle

from kassa import audit
from kassa.audit import By, Page
from kassa.checkout import saga
from kassa.collect import decide, mark_refund_done

ROOT = By("operator", "root")


async def told(till: Till) -> list[tuple[By, str, str | None]]:
    """Oldest first: who, what, why."""
    found = await audit.find_lines(till.db, Page(till.merchant_id))
    return [(line.by, line.act, line.why) for line in reversed(found)]


async def test_a_word_about_a_payment_is_written_once_however_often_it_is_said(till: Till) -> None:
    payment = await open_payment(till.shop)
    answers = await at_once(*(decide(till.ctx, payment.payment_id, "paid", "seen", by=ROOT) for _ in range(10)))
    assert [each for each in answers if isinstance(each, BaseException)] == []
    await decide(till.ctx, payment.payment_id, "declined", "never", by=ROOT)  # no move from paid
    assert await told(till) == [(ROOT, "payment.decide", "seen")]


async def test_a_word_about_the_payment_of_an_order_is_written_with_its_move(till: Till) -> None:
    till.cards.begins, till.cards.asks = ["silent_paid"], ["silent"]
    held = await till.shop.begin({"mouse": 1})
    await saga.drive(till.ctx, held)
    for word in ("paid", "paid", "declined"):
        await decide(till.ctx, held.payment.payment_id, word, "in their list", by=ROOT)
    await till.ctx.background.drain(5)
    assert await told(till) == [(ROOT, "payment.decide", "in their list")]
    (line,) = await audit.find_lines(till.db, Page(till.merchant_id))
    assert (line.subject, line.what) == (f"payment:{held.payment.payment_id}", {"before": "unknown", "word": "paid"})


async def test_a_refund_that_was_given_back_by_hand_is_written_once(till: Till) -> None:
    payment = (await settle(till.shop, await open_payment(till.shop, provider="cash_on_delivery"), "paid")).payment
    refund = await till.given_back(payment, 4_000)
    await at_once(*(mark_refund_done(till.ctx, refund, "in cash", by=ROOT) for _ in range(10)))
    await mark_refund_done(till.ctx, refund, "in cash", by=ROOT)
    found = await audit.find_lines(till.db, Page(till.merchant_id))
    assert [(line.act, line.why) for line in reversed(found)] == [("payment.refund", None), ("refund.done", "in cash")]
    assert found[0].what == {"payment_id": str(payment.payment_id), "amount_minor": 4_000, "currency": payment.currency}
    assert found[1].what == {"refund_id": str(refund.refund_id), "amount_minor": 4_000, "currency": payment.currency}


async def test_a_refund_asked_for_twice_under_one_key_is_written_once_and_its_reason_stays_with_it(till: Till) -> None:
    payment = await till.paid()
    for _ in range(3):
        await till.give_back(payment, 1_000, "a-key-of-mine", reason="Ana moved to another town")
    (line,) = await audit.find_lines(till.db, Page(till.merchant_id))
    assert (line.act, line.subject, line.why) == ("payment.refund", f"payment:{payment.payment_id}", None)
    assert "Ana" not in str(line)
