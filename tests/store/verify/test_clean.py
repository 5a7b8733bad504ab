"""A shop in which everything has happened, and nothing is wrong."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from decimal import Decimal

import asyncpg
import pytest
from tests.factories import CARD, ScriptedCards, open_shop, open_world, world
from tests.rig import DatabaseServer
from tests.store.verify.street import Street

from kassa import verify
from kassa.kit.context import Context
from kassa.kit.ids import new_id
from kassa.verify import Booked, Question
from kassa.verify.cards import find as find_cards
from kassa.verify.model import SHOWN, ask


async def test_everything_that_can_happen_breaks_no_invariant(street: Street) -> None:
    assert await verify.run(Context(street.db, None)) == []  # type: ignore[arg-type]


async def test_the_stories_ended_as_they_should(street: Street) -> None:
    """So that the clean street is no empty one."""
    rows = await street.db.rows(
        'SELECT c.checkout_id::text AS id, c.status, p.status AS payment, o.status AS "order" FROM checkouts c'
        " LEFT JOIN payments p USING (merchant_id, payment_id) LEFT JOIN orders o USING (merchant_id, order_id)"
    )
    ends = {row["id"]: (row["status"], row["payment"], row["order"]) for row in rows}
    told = {name: ends[story.checkout] for name, story in street.stories.items() if story.checkout}
    assert told == {
        "bought": ("completed", "paid", "paid"),
        "repeated": ("completed", "paid", "paid"),
        "declined": ("undone", "declined", "cancelled"),
        "too many": ("undone", None, None),
        "unknown product": ("undone", None, None),
        "paid": ("completed", "paid", "paid"),
        "delivered": ("completed", "paid", "delivered"),
        "cancelled": ("completed", "refunded", "cancelled"),
        "order declined": ("undone", "declined", "cancelled"),
        "free": ("completed", "paid", "paid"),
        "free cancelled": ("completed", "paid", "cancelled"),
        "cash": ("completed", "opened", "processing"),
        "cash shipped": ("completed", "opened", "shipped"),
        "cash delivered": ("completed", "paid", "delivered"),
        "cash cancelled": ("completed", "cancelled", "cancelled"),
        "charged": ("completed", "paid", "paid"),
        "refused": ("undone", "declined", "cancelled"),
        "asked and paid": ("completed", "paid", "paid"),
        "asked and refused": ("undone", "declined", "cancelled"),
        "cannot be asked": ("parked", "parked", "pending"),
        "not known": ("undone", "refunded", "cancelled"),  # the yes came after the stock was let go
        "given up": ("undone", "declined", "cancelled"),
        "three services": ("completed", "paid", "paid"),
        "no inventory": ("undone", "refunded", "cancelled"),
        "no order": ("undone", "refunded", "cancelled"),
        "stuck refund": ("parked", "refunding", "cancelled"),
        "stuck restock": ("parked", "refunded", "cancelled"),
        "cash stuck": ("parked", "cancelled", "cancelled"),
        "services cancelled": ("completed", "refunded", "cancelled"),
        "waiting": ("undone", "expired", "cancelled"),
        "link paid": ("completed", "paid", "paid"),
        "link cancelled": ("undone", "cancelled", "cancelled"),
        "paid too late": ("undone", "refunded", "cancelled"),
        "expires": ("undone", "expired", "cancelled"),
        "no link yet": ("undone", "expired", "cancelled"),
        "waits": ("paying", "waiting", "pending"),
        "silent": ("paying", "unknown", "pending"),
        "lines given back": ("completed", "paid", "paid"),
        "payme waits": ("paying", "waiting", "pending"),
        "payme held": ("paying", "waiting", "pending"),
        "payme paid": ("completed", "paid", "paid"),
        "payme returned": ("completed", "refunded", "cancelled"),
        "payme cancelled": ("completed", "refunding", "cancelled"),  # until Payme's Cancel comes
        "payme let go": ("undone", "cancelled", "cancelled"),  # by "gone": both hold that ambassador
        "payme older": ("undone", "cancelled", "cancelled"),
        "payme newer": ("completed", "paid", "paid"),
        "payme gone": ("undone", "cancelled", "cancelled"),
        "payme goods": ("completed", "paid", "paid"),
    }
    assert street.stories["bought"] == street.stories["repeated"]


async def test_the_stories_of_merchants_ended_as_they_should(street: Street) -> None:
    rows = await street.db.rows(
        "SELECT payment_id::text AS id, status, reason, token_plan IS NOT NULL AS spent FROM payments WHERE ref_kind <> 'order'"
    )
    ends = {row["id"]: (row["status"], row["reason"], row["spent"]) for row in rows}
    told = {name: ends[story.payment] for name, story in street.stories.items() if story.payment in ends}
    assert told == {
        "outside paid": ("paid", None, False),
        "outside declined": ("declined", None, False),
        "outside refunded": ("paid", None, False),
        "asked": ("waiting", None, True),
        "asked and paid by link": ("paid", None, True),
        "no link": ("declined", "provider_unreachable", False),
        "asked anew": ("waiting", None, True),
        "superseded, the older": ("paid", None, True),
        "superseded, the newer": ("refunded", None, True),
        "late, the older": ("refunded", None, True),
        "late, the newer": ("paid", None, True),
        "given back, pending": ("paid", None, True),
        "given back, impossible": ("paid", None, True),
        "by key": ("paid", None, False),
        "payme outside": ("paid", None, True),
    }


async def test_a_busy_shop_is_clean_while_it_is_busy_and_afterwards(database_server: DatabaseServer) -> None:
    chance = random.Random(11)
    async with open_world(database_server.fresh()) as ctx:
        shop = await open_shop(ctx, mouse=60, lamp=30, gift=None)

        async def guest(n: int) -> None:
            card = replace(CARD, number="4000000000000002") if n % 5 == 0 else CARD
            items = {name: chance.randint(1, 3) for name in chance.sample(["mouse", "lamp", "gift"], 2)}
            await shop.buy(items, card=card, key=f"guest-number-{n // 2}")

        async def buyer(n: int) -> None:
            try:
                order = await shop.order(f"buyer-{n}", {"mouse": 1}, method="cash_on_delivery" if n % 3 == 0 else "credit_card")
            except Exception as error:
                assert getattr(error, "code", "") == "stock_insufficient"
                return
            if n % 2:
                await shop.move(order, "cancelled")

        buying = asyncio.gather(*(guest(n) for n in range(60)), *(buyer(n) for n in range(30)), return_exceptions=True)
        seen = [await verify.run(ctx) for _ in range(3)]
        answers = await buying
        assert {getattr(each, "code", None) for each in answers if each is not None} <= {"in_progress", "idempotency_key_reused"}
        await ctx.background.drain(5)
        assert seen == [[], [], []]
        assert await verify.run(ctx) == []
        assert await shop.db.value("SELECT count(*) FROM checkouts WHERE status = 'completed'") > 10


async def test_nothing_can_be_written_while_it_looks(street: Street) -> None:
    async with street.db.snapshot("look") as tx:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await tx.execute("UPDATE orders SET version = version")


def test_the_list_names_the_invariants_of_the_product_that_tables_can_tell() -> None:
    assert [number for number, _ in verify.INVARIANTS] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12]


async def test_of_many_breaches_fifty_are_listed_and_the_others_counted(street: Street) -> None:
    many = Question(4, "Something is wrong", "SELECT 'm', 'thing:' || n, 'so' FROM generate_series(1, 1234) AS n")
    found = verify.Found()
    found.note(many, *await ask(street.db, many))
    assert len(found.breaches()) == SHOWN + 1
    assert found.breaches()[-1] == verify.Breach(4, "*", "1184 more", "Something is wrong")
    few = Question(4, "Something is wrong", f"SELECT 'm', 'thing:' || n, 'so' FROM generate_series(1, {SHOWN}) AS n")
    shown, number = await ask(street.db, few)
    assert (len(shown), number) == (SHOWN, SHOWN)


# ── 9: the provider's book ───────────────────────────────────────────────────────────────────────────────────────────


async def test_the_book_of_the_street_equals_ours(street: Street) -> None:
    async def book() -> list[Booked]:
        return [Booked(*row) for row in street.cards.summary()]

    assert len(await book()) > 5
    assert await verify.run(Context(street.db, None), book=book) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows, key: [row for row in rows if row[0] != key], "The payment is paid with 199.8 INR, the provider has 0"),
        (lambda rows, key: [(k, n, Decimal("199.79") if k == key else net) for k, n, net in rows], "provider has 199.79"),
        (lambda rows, key: [(k, 2 if k == key else n, net) for k, n, net in rows], "The provider charged 2 times under one key"),
        (lambda rows, key: [*rows, ("somebody-else", 1, Decimal(5))], "The provider has 5 under a key that no payment of ours has"),
        (lambda rows, key: [(k, n, Decimal("0.001") if k == key else net) for k, n, net in rows], "provider has 0.001"),
    ],
    ids=["charge missing", "another sum", "charged twice", "charge unknown to us", "more decimals than there are"],
)
async def test_every_difference_from_the_providers_book_is_found(street: Street, change: object, said: str) -> None:
    story = street.stories["charged"]
    key = await street.db.value("SELECT provider_key FROM payments WHERE payment_id::text = $1", story.payment)

    async def book() -> list[Booked]:
        return [Booked(*row) for row in change(street.cards.summary(), key)]  # type: ignore[operator]

    found = await verify.run(Context(street.db, None), book=book)  # type: ignore[arg-type]
    assert [(breach.invariant, said in breach.text) for breach in found] == [(9, True)]


async def test_a_charge_of_a_payment_that_we_call_declined_is_a_difference(street: Street) -> None:
    key = await street.db.value("SELECT provider_key FROM payments WHERE payment_id::text = $1", street.stories["refused"].payment)

    async def book() -> list[Booked]:
        return [*(Booked(*row) for row in street.cards.summary()), Booked(key, 1, Decimal("199.80"))]

    found = await verify.run(Context(street.db, None), book=book)  # type: ignore[arg-type]
    assert [breach.text for breach in found] == ["The payment is declined with 0 INR, the provider has 199.80"]


async def test_what_is_not_at_rest_is_not_compared(database_server: DatabaseServer) -> None:
    """A payment that nobody knows the end of, a refund under way, and what happened after the book was read."""
    async with open_world(database_server.fresh()) as ctx:
        cards = ScriptedCards(begins=["silent_paid"], asks=["silent"] * 3)
        shop = await open_shop(world(ctx.db, providers=[cards]), mouse=5)
        held = await shop.begin({"mouse": 1})
        from kassa.checkout import saga

        await saga.drive(shop.ctx, held)

        async def before_the_purchase() -> list[Booked]:
            rows = [Booked(*row) for row in cards.summary()]
            await shop.buy({"mouse": 1})
            return rows

        assert await verify.run(shop.ctx, book=before_the_purchase) == []


async def test_a_book_that_cannot_be_read_is_an_error_and_no_clean_shop(street: Street) -> None:
    with pytest.raises(verify.book.BookUnreadable):
        await verify.run(Context(street.db, None), book=verify.summary_of("http://127.0.0.1:1/sandbox/control/summary"))  # type: ignore[arg-type]


# ── 12: what looks like a card number, and what does not ─────────────────────────────────────────────────────────────

CARDS = [
    "4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111", "card:4111111111111111.", "(4111111111111111)",
    "5555555555554444", "378282246310005", "3782 822463 10005", "6011111111111117", "30569309025904", "3530111333300000",
    "4222222222222", "6304000000000000", "2223003122003222", "8600069195406311", "4000000000000000006", '{"n":4111111111111111}',
]  # fmt: skip
NO_CARDS = [
    "4111111111111112",  # the check digit is wrong
    "1234567812345670",  # no card begins with 1
    "x4111111111111111", "4111111111111111x", "a_4111111111111111", "24111111111111111", "41111111111111110000",
    "019b76da-4111-7111-8111-111111111111", "41111111-1111-4111-8111-111111111111", "ORD-41111111-11111111", "https://x/4111111111111111",
    "2026-01-01T12:00:00.123456Z", "1767268800000", "+41 11 11 11 11 11 11 11", "0.4111111111111111", "4111111111111111.5",
    "411111111111", "4111 11", "", "no digits at all",
]  # fmt: skip


async def scanned(ctx_db: object, text: str) -> list[str]:
    found: list[str] = []
    try:
        async with ctx_db.transaction("scan") as tx:  # type: ignore[attr-defined]
            merchant = new_id().hex
            await tx.execute("INSERT INTO merchants (merchant_id, name) VALUES ($1, $2)", merchant, text)
            found = [breach.subject for breach in await find_cards(tx)]
            raise ZeroDivisionError
    except ZeroDivisionError:
        return found


async def test_card_numbers_are_found_however_they_are_written(street: Street) -> None:
    missed = [text for text in CARDS if len(await scanned(street.db, text)) != 1]
    assert missed == []


async def test_ids_dates_and_other_long_numbers_are_not_taken_for_cards(street: Street) -> None:
    taken = [text for text in NO_CARDS if await scanned(street.db, text)]
    assert taken == []


async def test_what_was_found_is_not_told_only_where(unguarded: Street) -> None:
    try:
        async with unguarded.db.transaction("scan") as tx:
            await tx.execute("UPDATE orders SET tracking_number = '4111111111111111'")
            await tx.execute("UPDATE order_lines SET product_name = 'A thing 4111111111111111' WHERE product_id = 'mouse'")
            found = await find_cards(tx)
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert found
    assert {breach.subject.split(":")[0] for breach in found if breach.merchant_id != "*"} == {"order_lines"}
    assert "4111" not in str(found)


@pytest.mark.parametrize("member", ["cvv", "CVV", "cvv2", "cvc", "card_cvv", "cardCvv", "security_code", "securityCode"])
async def test_a_security_code_is_found_by_its_name(unguarded: Street, member: str) -> None:
    found = []
    try:
        async with unguarded.db.transaction("scan") as tx:
            await tx.execute("UPDATE orders SET shipping_address = json_build_object($1::text, '123') WHERE order_id::text = $2", member,
                             unguarded.stories["paid"].order)  # fmt: skip
            found = await find_cards(tx)
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert [breach.text for breach in found] == ["A card's security code is at rest: column shipping_address"]
