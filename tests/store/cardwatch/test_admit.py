"""Measures of tried cards on a real database: who is let through, who is not, and that nothing is counted twice or forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from tests.factories import SECRET, Shop

from kassa import cardwatch
from kassa.audit import Hand
from kassa.cardwatch import Attempt, CardLimits, TooManyTries, Tried
from kassa.cardwatch.model import SPANS
from kassa.checkout.forget import Person, forget_buyer
from kassa.kit.context import Background, Context
from kassa.kit.ids import new_id
from kassa.kit.secrets import Keys


class Watched:
    """A shop whose cards are watched; what is noted is noted when `note` has been awaited."""

    def __init__(self, ctx: Context, merchant_id: str) -> None:
        self.ctx = ctx
        self.merchant_id = merchant_id

    async def tries(self, card: str = "", buyer: str = "", address: str = "", *, guest: bool = True) -> Tried:
        named = [text or str(new_id()) for text in (card, buyer, address)]
        attempt = Attempt(self.merchant_id, self.ctx.keys.fingerprint(named[0].encode()), named[1], guest, named[2])
        found = await cardwatch.admit(self.ctx, attempt)
        assert found is not None
        return found

    async def is_refused(self, by: str, card: str = "", buyer: str = "", address: str = "", *, guest: bool = True) -> TooManyTries:
        with pytest.raises(TooManyTries) as refused:
            await self.tries(card, buyer, address, guest=guest)
        await self.note()
        assert refused.value.by == by
        return refused.value

    async def fails(self, card: str = "", buyer: str = "", address: str = "", *, guest: bool = True) -> None:
        (await self.tries(card, buyer, address, guest=guest)).declined()
        await self.note()

    async def pays(self, card: str = "", buyer: str = "", address: str = "") -> None:
        (await self.tries(card, buyer, address)).paid()
        await self.note()

    async def note(self) -> None:
        await self.ctx.background.drain(5)

    async def let_pass(self, share: float, kind: str) -> None:
        """As if so much of the measure's time had passed."""
        await self.ctx.db.execute(
            "UPDATE card_watch SET at = at - $2::interval, ends_at = ends_at - $2 WHERE merchant_id = $1",
            self.merchant_id, SPANS[kind] * share,
        )  # fmt: skip


@pytest_asyncio.fixture(loop_scope="session")
async def watched(ctx: Context, shop: Shop) -> AsyncIterator[Watched]:
    yield (watched := with_limits(ctx, shop, CardLimits(shop=20, looks_again_s=(0.01,))))
    await watched.note()


def with_limits(ctx: Context, shop: Shop, limits: CardLimits) -> Watched:
    return Watched(replace(ctx, background=Background(), ports={**ctx.ports, CardLimits: limits}), shop.merchant_id)


async def test_a_buyer_who_mistypes_three_times_still_buys(watched: Watched) -> None:
    for slip in range(3):
        await watched.fails(f"slip {slip}", "a buyer", "home")
    await watched.pays("the card", "a buyer", "home")


async def test_the_sixth_card_of_a_buyer_is_not_tried_from_wherever_it_comes(watched: Watched) -> None:
    for number in range(5):
        await watched.pays(f"card {number}", "a thief")
    refused = await watched.is_refused("buyer", buyer="a thief")
    assert 100 < refused.retry_after <= 120  # a fifth of ten minutes
    await watched.pays(buyer="somebody else")


async def test_a_card_that_a_buyer_used_before_is_no_other_card(watched: Watched) -> None:
    for _ in range(20):
        await watched.pays("one card", "a faithful buyer")
    for number in range(4):
        await watched.pays(f"card {number}", "a faithful buyer")
    await watched.is_refused("buyer", buyer="a faithful buyer")
    await watched.pays("one card", "a faithful buyer")


async def test_a_guest_is_the_same_however_the_address_is_written(watched: Watched) -> None:
    for number in range(5):
        await watched.pays(f"card {number}", "Thief@Example.com")
    await watched.is_refused("buyer", buyer=" thief@example.com")


async def test_one_card_is_not_guessed_at_by_many(watched: Watched) -> None:
    """Expiry and code of one number, tried by ever other buyers at ever other addresses."""
    for _ in range(5):
        await watched.fails("a found number")
    refused = await watched.is_refused("card", "a found number")
    assert 700 < refused.retry_after <= 720  # a fifth of an hour


async def test_an_attacker_who_changes_names_is_known_by_the_address(watched: Watched) -> None:
    for _ in range(CardLimits().address):
        await watched.fails(address="198.51.100.7")
    await watched.is_refused("address", address="198.51.100.7")
    await watched.pays(address="198.51.100.8")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:198.51.100.7", "198.51.100.7", True),
    ],
)
async def test_a_network_of_one_customer_is_one_address(watched: Watched, one: str, other: str, *, same: bool) -> None:
    for _ in range(CardLimits().address):
        await watched.fails(address=one)
    if same:
        await watched.is_refused("address", address=other)
    else:
        await watched.pays(address=other)


async def test_many_real_buyers_behind_one_address_all_buy(watched: Watched) -> None:
    """One in ten is refused by a bank, far more than six in all."""
    for number in range(200):
        await (watched.fails if number % 10 == 0 else watched.pays)(address="an office")


async def test_a_crowd_behind_one_address_waits_a_moment_for_its_first_ones(ctx: Context, shop: Shop) -> None:
    watched = with_limits(ctx, shop, CardLimits())

    async def buy() -> None:
        tried = await watched.tries(address="an office")
        await asyncio.sleep(0.05)  # a payment service
        tried.paid()

    await asyncio.gather(*(buy() for _ in range(20)))


async def test_an_attack_on_the_whole_shop_stops_guests_and_nobody_who_is_signed_in(watched: Watched) -> None:
    for _ in range(21):
        await watched.fails()
    refused = await watched.is_refused("shop")
    assert 1 <= refused.retry_after <= 30
    await watched.fails(guest=False)
    await watched.let_pass(0.2, "shop")
    await watched.pays()


async def test_fifty_at_the_same_moment_are_counted_one_after_the_other(watched: Watched) -> None:
    async def attempt() -> bool:
        try:
            await watched.tries(buyer="a thief")
        except TooManyTries:
            return False
        return True

    assert sum(await asyncio.gather(*(attempt() for _ in range(50)))) == 5


async def test_knocking_while_refused_changes_nothing(watched: Watched) -> None:
    for _ in range(CardLimits().address):
        await watched.fails(address="home")
    for _ in range(30):
        await watched.is_refused("address", address="home")
    await watched.let_pass(1.01 / CardLimits().address, "address")
    await watched.fails(address="home")
    await watched.is_refused("address", address="home")


async def test_a_full_measure_runs_empty_evenly(watched: Watched) -> None:
    for _ in range(CardLimits().address):
        await watched.fails(address="home")
    await watched.let_pass(0.51, "address")
    for _ in range(CardLimits().address // 2):
        await watched.fails(address="home")
    await watched.is_refused("address", address="home")


async def test_a_card_that_went_nowhere_was_not_tried(watched: Watched) -> None:
    for number in range(30):
        (await watched.tries(f"card {number}", "a buyer", "home")).never_was()
        await watched.note()
    rows = await watched.ctx.db.rows("SELECT level, cards FROM card_watch WHERE merchant_id = $1", watched.merchant_id)
    assert max(row["level"] for row in rows) < 0.001
    assert not any(row["cards"] for row in rows)


async def test_one_of_no_known_end_counts_as_failed_and_an_end_is_noted_once(watched: Watched) -> None:
    for _ in range(5):
        await watched.tries("a card")
    await watched.is_refused("card", "a card")
    tried = await watched.tries("another")
    for _ in range(3):
        tried.paid()
        tried.never_was()
        tried.declined()
    await watched.note()
    level = await watched.ctx.db.value("SELECT min(level) FROM card_watch WHERE merchant_id = $1", watched.merchant_id)
    assert -0.05 < level < 0  # a quarter of a sixth, once


async def test_it_costs_one_statement_and_nothing_where_it_is_off(watched: Watched) -> None:
    await watched.pays("a card", "a buyer", "home")
    before = watched.ctx.db.statements
    tried = await watched.tries("a card", "a buyer", "home")
    assert watched.ctx.db.statements - before == 1
    tried.paid()
    await watched.note()
    assert watched.ctx.db.statements - before == 2
    off = replace(watched.ctx, ports={**watched.ctx.ports, CardLimits: CardLimits(on=False)})
    assert await cardwatch.admit(off, Attempt(watched.merchant_id, b"card", "buyer", False, "home")) is None
    assert watched.ctx.db.statements - before == 2


async def test_nothing_that_is_kept_tells_who_it_was(watched: Watched) -> None:
    await watched.fails("4111111111111111", "somebody@example.com", "198.51.100.7")
    rows = await watched.ctx.db.rows("SELECT w::text AS row FROM card_watch w WHERE merchant_id = $1", watched.merchant_id)
    kept = "".join(row["row"] for row in rows)
    for each in ("4111111111111111", "somebody@example.com", "198.51.100.7"):
        assert each not in kept
        assert each.encode().hex() not in kept


async def test_measures_that_ran_empty_long_ago_are_forgotten_a_batch_at_a_time(watched: Watched) -> None:
    db = watched.ctx.db
    while await cardwatch.sweep(db):
        pass
    for _ in range(4):
        await watched.pays()
    assert await cardwatch.sweep(db) == 0
    await watched.let_pass(3, "card")
    assert await cardwatch.sweep(db, 5) == 5
    assert await cardwatch.sweep(db, 100) == 7
    assert await db.value("SELECT count(*) FROM card_watch WHERE merchant_id = $1", watched.merchant_id) == 0


# Forgetting


@pytest.mark.parametrize("is_guest", [True, False])
async def test_a_buyer_who_is_forgotten_has_no_measure_any_more(watched: Watched, *, is_guest: bool) -> None:
    """Also under the secret before, and without regard to the case of an address; nobody else's is touched."""
    rotated = Watched(replace(watched.ctx, keys=Keys(bytes(32), SECRET)), watched.merchant_id)
    for each in (watched, rotated):
        await each.fails(buyer="Ann@example.com", guest=is_guest)
        await each.fails(buyer="Ann@example.com", guest=not is_guest)
    person = Person(email="ann@example.COM") if is_guest else Person(buyer_id="Ann@example.com")
    for left in (2, 2):
        await forget_buyer(rotated.ctx, watched.merchant_id, person, Hand(rotated.ctx.keys))
        sql = "SELECT count(*) FROM card_watch WHERE merchant_id = $1 AND kind = 'buyer'"
        assert await watched.ctx.db.value(sql, watched.merchant_id) == left
