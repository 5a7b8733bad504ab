"""Routing as it is kept: whose rules count, where a payment went and why, and where it went next."""

from __future__ import annotations

import pytest
from tests.factories import Till, open_till

from kassa.collect import ProviderLinkFailed, ProviderMissing, ProviderUnreachable, Requested
from kassa.payments import Payment
from kassa.payments.requests import Rule, add_route, routes


async def went(till: Till, payment: Payment) -> list[tuple[str, str, str | None]]:
    """Provider, reason and outcome of each place where a payment was sent."""
    found = (await till.details(payment)).routing or []
    return [(each["provider"], each["why"], each.get("outcome")) for each in found]


async def test_a_payment_says_where_it_went_and_why(till: Till) -> None:
    await till.route("cards", Rule(1, "small", max_minor=9_999), Rule(2, "rupees", "INR"), Rule(3, "rest"))
    payment = await till.requested(alias="cards", price=10_000)
    assert (payment.alias, payment.account, payment.routed_to) == ("cards", "rupees", "rupees")
    assert await went(till, payment) == [("rupees", "rule 2, currency INR", None)]
    assert till.links.asked == [(payment.payment_id, "rupees")]
    small = await till.requested("A-2", alias="cards", price=9_999)
    assert await went(till, small) == [("small", "rule 1, up to 99.99", None)]


async def test_the_books_name_the_provider_that_has_the_money(till: Till) -> None:
    await till.route("cards", Rule(1, "first"), Rule(2, "second"))
    till.links.by = {"first": ["busy"]}
    payment = await till.paid(alias="cards")
    rows = await till.db.rows(
        "SELECT debit, credit FROM ledger_postings JOIN ledger_entries USING (merchant_id, entry_id) WHERE payment_id = $1",
        payment.payment_id,
    )
    assert [(row["debit"], row["credit"]) for row in rows] == [("provider:second", f"merchant:{till.merchant_id}")]
    await till.given_back(payment)


@pytest.mark.parametrize(("word", "outcome"), [("away", "provider_unreachable"), ("busy", "provider_link_failed")])
async def test_after_a_definite_no_another_provider_is_asked_once(till: Till, word: str, outcome: str) -> None:
    await till.route("cards", Rule(1, "first"), Rule(2, "second"), Rule(3, "third"))
    till.links.by = {"first": [word]}
    made = await till.request(alias="cards")
    assert isinstance(made, Requested)
    assert till.links.asked == [(made.payment.payment_id, "first"), (made.payment.payment_id, "second")]
    assert await went(till, made.payment) == [("first", "rule 1", outcome), ("second", "rule 2, after first had refused", None)]
    assert (made.payment.account, made.payment.sends, made.url) == (
        "second",
        2,
        f"https://pay.example/second/{made.payment.payment_id}",
    )
    assert await till.used() == 1


@pytest.mark.parametrize("word", ["silent", "refused"])
async def test_across_silence_and_after_a_no_to_the_request_nobody_else_is_asked(till: Till, word: str) -> None:
    await till.route("cards", Rule(1, "first"), Rule(2, "second"))
    till.links.by = {"first": [word]}
    with pytest.raises(ProviderUnreachable if word == "silent" else ProviderLinkFailed):
        await till.request(alias="cards")
    assert [provider for _, provider in till.links.asked] == ["first"]
    (payment,) = await till.payments()
    assert (payment.status, payment.account) == ("declined", "first")


@pytest.mark.parametrize("second", ["away", "busy", "silent", "refused"])
async def test_two_providers_are_asked_and_no_third(till: Till, second: str) -> None:
    await till.route("cards", Rule(1, "first"), Rule(2, "second"), Rule(3, "third"))
    till.links.by = {"first": ["away"], "second": [second]}
    with pytest.raises(ProviderUnreachable if second in {"away", "silent"} else ProviderLinkFailed):
        await till.request(alias="cards")
    assert [provider for _, provider in till.links.asked] == ["first", "second"]
    assert (await till.used(), await till.statuses()) == (0, ["declined"])


async def test_another_provider_is_asked_only_if_it_may_serve_this_payment(till: Till) -> None:
    await till.route("cards", Rule(1, "first"), Rule(2, "dollars", "USD"), Rule(3, "large", min_minor=1_000_000))
    till.links.by = {"first": ["away"]}
    with pytest.raises(ProviderUnreachable):
        await till.request(alias="cards")
    assert [provider for _, provider in till.links.asked] == ["first"]


async def test_one_that_was_paid_while_its_first_provider_said_no_is_not_lost_on_its_way_to_another(till: Till) -> None:
    """The provider answers 503, and its report that the buyer has paid is quicker: the payment is paid, and nobody is told 404."""
    await till.route("cards", Rule(1, "first"), Rule(2, "second"))

    async def pays(payment: Payment) -> None:
        if payment.account == "first":
            await till.report(payment)

    till.links.by, till.links.meanwhile = {"first": ["busy"]}, pays
    made = await till.request(alias="cards")
    assert isinstance(made, Requested)
    assert (await till.statuses(), await till.used()) == (["paid"], 1)


async def test_own_rules_count_instead_of_those_for_all(till: Till) -> None:
    async with till.db.transaction("routes") as tx:
        await add_route(tx, "*", f"shared-{till.merchant_id}", Rule(1, "everybody's"))
        await add_route(tx, "*", f"shared-{till.merchant_id}", Rule(2, "everybody's second"))
    alias = f"shared-{till.merchant_id}"
    assert [rule.provider for rule in await routes(till.db, till.merchant_id, alias)] == ["everybody's", "everybody's second"]
    await till.route(alias, Rule(5, "mine"))
    other = await open_till(till.ctx, aliases=())
    assert [rule.provider for rule in await routes(till.db, till.merchant_id, alias)] == ["mine"]
    assert [rule.provider for rule in await routes(till.db, other.merchant_id, alias)] == ["everybody's", "everybody's second"]


async def test_aliases_are_compared_exactly(till: Till) -> None:
    await till.route("cards", Rule(1, "first"))
    for alias in ("Cards", "cards ", "card", "cards%", "*"):
        with pytest.raises(ProviderMissing):
            await till.request(alias=alias)


async def test_a_rule_stands_as_it_was_first_written_and_in_its_place(till: Till) -> None:
    async with till.db.transaction("routes") as tx:
        assert await add_route(tx, till.merchant_id, "cards", Rule(2, "second", "EUR", 1, 2, 3))
        assert await add_route(tx, till.merchant_id, "cards", Rule(1, "first"))
        assert not await add_route(tx, till.merchant_id, "cards", Rule(1, "another"))
    assert await routes(till.db, till.merchant_id, "cards") == [Rule(1, "first"), Rule(2, "second", "EUR", 1, 2, 3)]
