"""The books: an entry balances or cannot be written, and is written once."""

from __future__ import annotations

import asyncpg
import pytest
from tests.factories import Shop, at_once, open_shop

from kassa.kit.ids import new_id
from kassa.kit.money import Money
from kassa.ledger import Entry, Posting, lines_of_payment, payment_balance, post
from kassa.ledger.model import capture, refund


async def book(shop: Shop, entry: Entry) -> bool:
    async with shop.db.transaction("post") as tx:
        return await post(tx, entry)


async def test_a_capture_and_a_refund_leave_what_the_provider_still_holds(shop: Shop) -> None:
    payment = new_id()
    assert await book(shop, capture(shop.merchant_id, payment, "card", Money(1000, "INR")))
    assert await book(shop, refund(shop.merchant_id, payment, new_id(), "card", Money(300, "INR")))
    assert await payment_balance(shop.db, shop.merchant_id, payment) == 700
    lines = await lines_of_payment(shop.db, shop.merchant_id, payment)
    assert [(line.kind, line.account, line.amount_minor) for line in lines] == [
        ("capture", "provider:card", 1000), ("capture", f"merchant:{shop.merchant_id}", -1000),
        ("refund", f"merchant:{shop.merchant_id}", 300), ("refund", "provider:card", -300),
    ]  # fmt: skip


async def test_the_lines_of_every_entry_sum_to_zero(shop: Shop) -> None:
    payment = new_id()
    many = tuple(Posting(f"provider:{n}", f"merchant:{n}", Money(n, ["INR", "UZS", "KWD"][n % 3])) for n in range(1, 20))
    await book(shop, Entry(shop.merchant_id, "capture", payment, "many", many))
    wrong = await shop.db.rows(
        """
        SELECT currency FROM ledger_lines l JOIN ledger_entries e USING (merchant_id, entry_id)
         WHERE payment_id = $1 GROUP BY entry_id, currency HAVING sum(amount_minor) <> 0
        """,
        payment,
    )
    assert wrong == []


async def test_the_second_capture_of_a_payment_is_left_out(shop: Shop) -> None:
    payment = new_id()
    assert await book(shop, capture(shop.merchant_id, payment, "card", Money(1000, "INR")))
    assert not await book(shop, capture(shop.merchant_id, payment, "card", Money(1000, "INR")))
    assert not await book(shop, capture(shop.merchant_id, payment, "card", Money(2000, "INR")))
    assert await payment_balance(shop.db, shop.merchant_id, payment) == 1000


async def test_fifty_captures_at_once_are_one(shop: Shop) -> None:
    payment = new_id()
    booked = await at_once(*(book(shop, capture(shop.merchant_id, payment, "card", Money(1000, "INR"))) for _ in range(50)))
    assert booked.count(True) == 1
    assert booked.count(False) == 49
    assert await payment_balance(shop.db, shop.merchant_id, payment) == 1000


async def test_a_refund_is_booked_once_and_two_refunds_are_two(shop: Shop) -> None:
    payment, first = new_id(), new_id()
    await book(shop, capture(shop.merchant_id, payment, "card", Money(1000, "INR")))
    assert await book(shop, refund(shop.merchant_id, payment, first, "card", Money(100, "INR")))
    assert not await book(shop, refund(shop.merchant_id, payment, first, "card", Money(100, "INR")))
    assert await book(shop, refund(shop.merchant_id, payment, new_id(), "card", Money(100, "INR")))
    assert await payment_balance(shop.db, shop.merchant_id, payment) == 800


async def test_each_merchant_has_books_of_its_own(shop: Shop) -> None:
    payment, stranger = new_id(), await open_shop(shop.ctx)
    await book(shop, capture(shop.merchant_id, payment, "card", Money(1000, "INR")))
    assert await payment_balance(shop.db, stranger.merchant_id, payment) == 0
    assert await book(stranger, capture(stranger.merchant_id, payment, "card", Money(5, "INR")))
    assert await payment_balance(shop.db, shop.merchant_id, payment) == 1000


@pytest.mark.parametrize("wrong", ["amount_minor = 0", "amount_minor = -1", "credit = debit", "currency = 'inr'"])
async def test_the_database_itself_forbids_a_posting_that_does_not_balance(shop: Shop, wrong: str) -> None:
    payment = new_id()
    await book(shop, capture(shop.merchant_id, payment, "card", Money(1000, "INR")))
    with pytest.raises(asyncpg.CheckViolationError):
        await shop.db.execute(f"UPDATE ledger_postings SET {wrong} WHERE merchant_id = $1", shop.merchant_id)


async def test_a_posting_without_its_entry_cannot_be_written(shop: Shop) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await shop.db.execute(
            "INSERT INTO ledger_postings VALUES ($1, $2, 1, 'provider:card', 'merchant:1', 'INR', 5)", shop.merchant_id, new_id()
        )


async def test_what_rolls_back_is_in_no_book(shop: Shop) -> None:
    payment = new_id()
    with pytest.raises(ZeroDivisionError):
        async with shop.db.transaction("post") as tx:
            await post(tx, capture(shop.merchant_id, payment, "card", Money(1000, "INR")))
            raise ZeroDivisionError
    assert await lines_of_payment(shop.db, shop.merchant_id, payment) == []
