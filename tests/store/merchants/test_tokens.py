"""Tokens (invariant 11, F32): one for each accepted payment, never below zero, and their end is told once per filling."""

from __future__ import annotations

import asyncio
from collections import Counter

import asyncpg
import pytest
from tests.factories import Shop, at_once, open_shop, subscribe

from kassa import merchants
from kassa.merchants.model import MerchantMissing, PlanMissing, QuotaExceeded, SubscriptionMissing

LOW, NONE = "subscription.tokens_low", "subscription.exhausted"


async def spend(shop: Shop, plan_id: str | None = None) -> str:
    async with shop.db.transaction("spend") as tx:
        return await merchants.spend(tx, shop.merchant_id, plan_id)


async def give_back(shop: Shop, plan_id: str) -> None:
    async with shop.db.transaction("give back") as tx:
        await merchants.give_back(tx, shop.merchant_id, plan_id)


async def sell(shop: Shop, tokens: int, plan_id: str | None = None, *, active: bool = True) -> str:
    return (await subscribe(shop.ctx, shop.merchant_id, tokens, plan_id, active=active)).plan_id


async def used(shop: Shop) -> dict[str, tuple[int, int]]:
    """Used and bought tokens by plan, oldest first."""
    found = await merchants.subscriptions_of(shop.db, shop.merchant_id)
    return {each.plan_id: (each.tokens_used, each.tokens_total) for each in found}


async def told(shop: Shop, plan_id: str) -> list[str]:
    return [type_ for _, type_ in await shop.events(f"subscription:{shop.merchant_id}:{plan_id}")]


async def test_five_hundred_at_once_on_a_hundred_tokens_get_exactly_a_hundred(shop: Shop) -> None:
    plan = await sell(shop, 100)
    answers = await at_once(*(spend(shop) for _ in range(500)))
    assert Counter(type(each).__name__ for each in answers) == {"str": 100, "QuotaExceeded": 400}
    assert await used(shop) == {plan: (100, 100)}
    assert await told(shop, plan) == [LOW, NONE]


async def test_five_hundred_at_once_on_three_subscriptions_get_all_that_there_is(shop: Shop) -> None:
    """Whoever waits for a row and finds it empty goes on to the next one, and is not sent away."""
    plans = [await sell(shop, tokens) for tokens in (7, 1, 30)]
    answers = await at_once(*(spend(shop) for _ in range(120)))
    assert Counter(each if isinstance(each, str) else type(each).__name__ for each in answers) == {
        plans[0]: 7, plans[1]: 1, plans[2]: 30, "QuotaExceeded": 82,
    }  # fmt: skip


async def test_without_a_subscription_nothing_can_be_spent(shop: Shop) -> None:
    with pytest.raises(SubscriptionMissing):
        await spend(shop)
    await sell(shop, 10, active=False)
    with pytest.raises(SubscriptionMissing):
        await spend(shop)


async def test_the_oldest_with_tokens_left_is_spent_first(shop: Shop) -> None:
    first, second = await sell(shop, 2), await sell(shop, 2)
    assert [await spend(shop) for _ in range(4)] == [first, first, second, second]
    with pytest.raises(QuotaExceeded):
        await spend(shop)


async def test_a_named_one_is_spent_and_no_other(shop: Shop) -> None:
    first, second = await sell(shop, 5), await sell(shop, 1)
    assert await spend(shop, second) == second
    with pytest.raises(QuotaExceeded):
        await spend(shop, second)
    assert await used(shop) == {first: (0, 5), second: (1, 1)}


async def test_a_named_one_must_be_active_and_ones_own(shop: Shop) -> None:
    mine = await sell(shop, 5)
    sleeping = await sell(shop, 5, active=False)
    stranger = await open_shop(shop.ctx)
    theirs = await sell(stranger, 5)
    for wrong in (sleeping, theirs, "no such plan"):
        with pytest.raises(SubscriptionMissing):
            await spend(shop, wrong)
    assert await used(shop) == {mine: (0, 5), sleeping: (0, 5)}
    assert await used(stranger) == {theirs: (0, 5)}


async def test_an_exhausted_one_is_still_active(shop: Shop) -> None:
    plan = await sell(shop, 1)
    await spend(shop)
    for name in (None, plan):
        with pytest.raises(QuotaExceeded):
            await spend(shop, name)


async def test_switched_off_it_is_missing_and_switched_on_it_is_there_again(shop: Shop) -> None:
    plan = await sell(shop, 5)
    for active in (False, True):
        async with shop.db.transaction("suspend") as tx:
            assert await merchants.suspend(tx, shop.merchant_id, plan, active=active)
            assert not await merchants.suspend(tx, shop.merchant_id, "no such plan", active=active)
        if not active:
            with pytest.raises(SubscriptionMissing):
                await spend(shop)
    assert await spend(shop) == plan


async def test_filled_up_it_goes_on(shop: Shop) -> None:
    plan = await sell(shop, 2)
    assert [await spend(shop), await spend(shop)] == [plan, plan]
    await sell(shop, 3, plan)
    assert await used(shop) == {plan: (2, 5)}
    assert [await spend(shop) for _ in range(3)] == [plan] * 3
    with pytest.raises(QuotaExceeded):
        await spend(shop)


async def test_a_filling_keeps_its_place_among_the_others(shop: Shop) -> None:
    first, _ = await sell(shop, 1), await sell(shop, 5)
    await spend(shop)
    await sell(shop, 1, first)
    assert await spend(shop) == first


async def test_it_is_told_once_per_filling_that_few_are_left_and_that_none_is(shop: Shop) -> None:
    plan = await sell(shop, 20)
    for n in range(20):
        await spend(shop)
        assert await told(shop, plan) == ([] if n < 17 else [LOW] if n < 19 else [LOW, NONE]), f"after {n + 1}"
    await sell(shop, 20, plan)
    for _ in range(20):
        await spend(shop)
    assert await told(shop, plan) == [LOW, NONE] * 2


async def test_what_comes_back_and_is_spent_again_is_not_told_again(shop: Shop) -> None:
    plan = await sell(shop, 10)
    for _ in range(10):
        await spend(shop)
    for _ in range(3):
        await give_back(shop, plan)
        await spend(shop)
    assert await told(shop, plan) == [LOW, NONE]


async def test_what_was_told_says_how_many_are_left(shop: Shop) -> None:
    plan = await sell(shop, 10)
    for _ in range(10):
        await spend(shop)
    rows = await shop.db.rows(
        "SELECT type, data FROM events WHERE subject = $1 ORDER BY sequence", f"subscription:{shop.merchant_id}:{plan}"
    )
    assert [(row["type"], row["data"]["tokens_used"], row["data"]["tokens_left"]) for row in rows] == [(LOW, 9, 1), (NONE, 10, 0)]
    assert {row["data"]["subscription_id"] for row in rows} == {plan}


async def test_given_back_a_token_can_be_spent_again(shop: Shop) -> None:
    plan = await sell(shop, 1)
    await spend(shop)
    await give_back(shop, plan)
    assert await spend(shop) == plan


async def test_no_more_can_be_given_back_than_was_spent(shop: Shop) -> None:
    plan = await sell(shop, 1)
    with pytest.raises(asyncpg.CheckViolationError):
        await give_back(shop, plan)
    assert await used(shop) == {plan: (0, 1)}


async def test_what_rolls_back_spent_nothing_and_told_nobody(shop: Shop) -> None:
    plan = await sell(shop, 1)
    with pytest.raises(ZeroDivisionError):
        async with shop.db.transaction("spend") as tx:
            await merchants.spend(tx, shop.merchant_id, None)
            raise ZeroDivisionError
    assert (await used(shop), await told(shop, plan)) == ({plan: (0, 1)}, [])


async def test_spending_giving_back_and_filling_at_once_lose_nothing(shop: Shop) -> None:
    plan = await sell(shop, 50)
    for _ in range(25):
        await spend(shop)
    works = (
        [spend(shop) for _ in range(100)] + [give_back(shop, plan) for _ in range(20)] + [_fill(shop, plan, 1) for _ in range(10)]
    )
    answers = await at_once(*works)
    spent = sum(isinstance(each, str) for each in answers)
    assert all(each is None or isinstance(each, str | QuotaExceeded) for each in answers), Counter(map(repr, answers))
    assert await used(shop) == {plan: (25 + spent - 20, 60)}


async def _fill(shop: Shop, plan: str, tokens: int) -> None:
    await sell(shop, tokens, plan)


async def test_the_database_itself_forbids_more_used_than_bought(shop: Shop) -> None:
    plan = await sell(shop, 1)
    for wrong in ("tokens_used = 2", "tokens_used = -1", "tokens_total = -1"):
        with pytest.raises(asyncpg.CheckViolationError):
            await shop.db.execute(
                f"UPDATE subscriptions SET {wrong} WHERE merchant_id = $1 AND plan_id = $2", shop.merchant_id, plan
            )


async def test_only_who_is_there_can_subscribe_to_what_is_there(shop: Shop) -> None:
    plan = await sell(shop, 1)
    async with shop.db.transaction("subscribe") as tx:
        with pytest.raises(MerchantMissing):
            await merchants.subscribe(tx, "nobody", plan)
        with pytest.raises(PlanMissing):
            await merchants.subscribe(tx, shop.merchant_id, "nothing")


async def test_one_merchants_tokens_are_not_anothers(shop: Shop) -> None:
    other = await open_shop(shop.ctx)
    plan = await sell(shop, 5)
    await sell(other, 5, plan)
    await asyncio.gather(*(spend(shop) for _ in range(5)))
    assert (await used(shop), await used(other)) == ({plan: (5, 5)}, {plan: (0, 5)})
