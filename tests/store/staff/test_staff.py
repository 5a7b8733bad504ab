"""Accounts, sessions and tries, and approvals: one row, one effect, and nothing of another merchant."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.factories import Shop

from kassa import approvals, audit, staff
from kassa.approvals.model import ApprovalOver, OwnApproval
from kassa.audit import By, Hand
from kassa.kit.money import Money
from kassa.staff import store
from kassa.staff.model import Account, AccountExists, LastAdmin, TooManyTries, WrongSignIn

PASSWORD = "correct horse battery"


def hand(shop: Shop, name: str = "ana", why: str = "a reason") -> Hand:
    return Hand(shop.ctx.keys, By("admin", name), why)


@pytest.fixture(scope="module")
def kept() -> str:
    return asyncio.run(staff.hashed(PASSWORD))


async def account(shop: Shop, name: str, kept: str, role: str = "staff") -> Account:
    async with shop.db.transaction("staff.change") as tx:
        return await staff.add_account(tx, hand(shop), shop.merchant_id, name, f"{name}@example.com", role, kept)


def wish(asked_by: str = "ana", once_key: str | None = None, minor: int = 1000) -> approvals.Wish:
    amount = Money(minor, "INR")
    return approvals.Wish(
        "refund", f"payment:{uuid.uuid4()}", {"amount": "10.00"}, amount, "a reason", once_key or uuid.uuid4().hex, asked_by
    )


async def test_a_name_and_an_address_are_one_persons(shop: Shop, kept: str) -> None:
    await account(shop, "ana", kept)
    for name, email in (("ana", "other@example.com"), ("other", "ANA@example.com")):
        with pytest.raises(AccountExists):
            async with shop.db.transaction("staff.change") as tx:
                await staff.add_account(tx, hand(shop), shop.merchant_id, name, email, "staff", kept)


async def test_a_session_is_its_merchants_own_and_ends_with_its_account(shop: Shop, kept: str) -> None:
    made = await account(shop, "ana", kept)
    _, token = await staff.sign_in(shop.ctx, shop.merchant_id, "ANA@example.com", PASSWORD, "192.0.2.1")
    found = await staff.find_session(shop.db, shop.merchant_id, token)
    assert found is not None
    assert (found.account_id, found.name, found.role) == (made.account_id, "ana", "staff")
    assert await staff.find_session(shop.db, "1", token) is None
    assert await staff.find_session(shop.db, shop.merchant_id, token + "x") is None
    rows = await shop.db.rows("SELECT token_hash FROM staff_sessions WHERE merchant_id = $1", shop.merchant_id)
    assert [token.encode() in bytes(row["token_hash"]) for row in rows] == [False]
    async with shop.db.transaction("staff.change") as tx:
        assert await staff.switch_account(tx, hand(shop), shop.merchant_id, made.account_id, disabled=True)
    assert await staff.find_session(shop.db, shop.merchant_id, token) is None
    with pytest.raises(WrongSignIn):
        await staff.sign_in(shop.ctx, shop.merchant_id, "ana", PASSWORD, "192.0.2.1")


async def test_a_sign_of_life_is_written_once_a_minute(shop: Shop, kept: str) -> None:
    await account(shop, "ana", kept)
    _, token = await staff.sign_in(shop.ctx, shop.merchant_id, "ana", PASSWORD, "192.0.2.1")
    ask = "SELECT xmin::text FROM staff_sessions WHERE merchant_id = $1"
    first = await shop.db.value(ask, shop.merchant_id)
    await staff.find_session(shop.db, shop.merchant_id, token)
    assert await shop.db.value(ask, shop.merchant_id) == first
    await shop.db.execute(
        "UPDATE staff_sessions SET seen_at = seen_at - interval '5 minutes' WHERE merchant_id = $1", shop.merchant_id
    )
    later = await shop.db.value(ask, shop.merchant_id)
    assert await staff.find_session(shop.db, shop.merchant_id, token) is not None
    assert await shop.db.value(ask, shop.merchant_id) != later


@pytest.mark.parametrize(("column", "age"), [("seen_at", timedelta(minutes=30)), ("created_at", timedelta(hours=12))])
async def test_a_session_ends_by_itself(shop: Shop, kept: str, column: str, age: timedelta) -> None:
    await account(shop, "ana", kept)
    _, token = await staff.sign_in(shop.ctx, shop.merchant_id, "ana", PASSWORD, "192.0.2.1")
    move = f"UPDATE staff_sessions SET {column} = kassa_now() - $2::interval WHERE merchant_id = $1"
    await shop.db.execute(move, shop.merchant_id, age - timedelta(seconds=30))
    assert await staff.find_session(shop.db, shop.merchant_id, token) is not None
    await shop.db.execute(move, shop.merchant_id, age)
    assert await staff.find_session(shop.db, shop.merchant_id, token) is None


async def test_tries_that_come_at_once_are_all_counted(shop: Shop) -> None:
    found = await asyncio.gather(*(store.count_try(shop.db, shop.merchant_id, "account", b"k") for _ in range(20)))
    assert sorted(tries for tries, _ in found) == list(range(1, 21))
    assert all(890 <= wait_s <= 900 for _, wait_s in found)


async def test_guessing_from_many_addresses_is_still_guessing_at_one_account(shop: Shop, kept: str) -> None:
    """By the name and by the e-mail address: both are the same account."""
    await account(shop, "ana", kept)
    for number in range(10):
        with pytest.raises(WrongSignIn):
            typed = "ana" if number % 2 else "ana@example.com"
            await staff.sign_in(shop.ctx, shop.merchant_id, typed, "a wrong one", f"192.0.2.{number}")
    with pytest.raises(TooManyTries):
        await staff.sign_in(shop.ctx, shop.merchant_id, "ana", PASSWORD, "192.0.2.99")


async def test_two_admins_who_close_each_other_at_once_leave_one(shop: Shop, kept: str) -> None:
    ana, bea = await account(shop, "ana", kept, "admin"), await account(shop, "bea", kept, "admin")

    async def close(who: str, other: Account) -> str:
        try:
            async with shop.db.transaction("staff.change") as tx:
                await staff.switch_account(tx, hand(shop, who), shop.merchant_id, other.account_id, disabled=True)
        except LastAdmin:
            return "refused"
        return "closed"

    assert sorted(await asyncio.gather(close("ana", bea), close("bea", ana))) == ["closed", "refused"]
    assert sum(each.disabled_at is None for each in await staff.accounts_of(shop.db, shop.merchant_id)) == 1


async def test_old_tries_and_sessions_are_forgotten(shop: Shop, kept: str) -> None:
    await account(shop, "ana", kept)
    await staff.sign_in(shop.ctx, shop.merchant_id, "ana", PASSWORD, "192.0.2.1")
    await store.count_try(shop.db, shop.merchant_id, "account", b"k")
    assert await counts(shop) == (1, 1)
    await shop.db.execute("UPDATE staff_tries SET since = since - interval '16 minutes' WHERE merchant_id = $1", shop.merchant_id)
    await shop.db.execute(
        "UPDATE staff_sessions SET created_at = created_at - interval '91 days' WHERE merchant_id = $1", shop.merchant_id
    )
    assert await staff.sweep(shop.db) >= 2
    assert await counts(shop) == (0, 0)


async def counts(shop: Shop) -> tuple[int, int]:
    row = await shop.db.row(
        """
        SELECT (SELECT count(*) FROM staff_tries WHERE merchant_id = $1) AS tries,
               (SELECT count(*) FROM staff_sessions WHERE merchant_id = $1) AS sessions
        """,
        shop.merchant_id,
    )
    assert row is not None
    return row["tries"], row["sessions"]


async def test_an_approval_is_decided_once_by_somebody_else(shop: Shop) -> None:
    made = await approvals.ask(shop.ctx, hand(shop), shop.merchant_id, wish())
    with pytest.raises(OwnApproval):
        await approvals.decide(shop.ctx, hand(shop, "ana"), made, "approve")

    async def decide(name: str, word: str) -> str:
        try:
            return (await approvals.decide(shop.ctx, hand(shop, name), made, word)).status
        except ApprovalOver:
            return "over"

    words = await asyncio.gather(*(decide(f"admin{number}", "approve" if number % 2 else "reject") for number in range(8)))
    assert words.count("over") == 7
    found = await approvals.find(shop.db, shop.merchant_id, made.approval_id)
    assert found is not None
    assert [word for word in words if word != "over"] == [found.status]
    lines = await audit.find_lines(shop.db, audit.Page(shop.merchant_id, act="approval"))
    assert len(lines) == 2
    assert {line.subject for line in lines} == {made.subject}


async def test_the_database_itself_refuses_ones_own_yes(shop: Shop) -> None:
    made = await approvals.ask(shop.ctx, hand(shop), shop.merchant_id, wish())
    with pytest.raises(Exception, match="approvals_check"):
        await shop.db.execute(
            "UPDATE approvals SET status = 'approved', decided_by = asked_by WHERE merchant_id = $1 AND approval_id = $2",
            shop.merchant_id, made.approval_id,
        )  # fmt: skip


async def test_the_same_form_is_one_approval_and_another_persons_is_another(shop: Shop) -> None:
    first = wish(once_key="the-same-form")
    made = [
        await approvals.ask(shop.ctx, hand(shop), shop.merchant_id, each) for each in (first, first, wish("bea", "the-same-form"))
    ]
    assert [each.approval_id == made[0].approval_id for each in made] == [True, True, False]
    assert len(await approvals.open_ones(shop.db, shop.merchant_id, 10)) == 2


async def test_what_waited_for_seven_days_is_expired(shop: Shop) -> None:
    made = await approvals.ask(shop.ctx, hand(shop), shop.merchant_id, wish())
    assert made.expires_at - made.asked_at == timedelta(days=7)
    await shop.db.execute("UPDATE approvals SET expires_at = kassa_now() WHERE merchant_id = $1", shop.merchant_id)
    with pytest.raises(ApprovalOver):
        await approvals.decide(shop.ctx, hand(shop, "bea"), made, "approve")
    found = await approvals.find(shop.db, shop.merchant_id, made.approval_id)
    assert found is not None
    assert found.status == "expired"
    assert await approvals.open_ones(shop.db, shop.merchant_id, 10) == []


async def test_an_outcome_is_noted_once(shop: Shop) -> None:
    made = await approvals.ask(shop.ctx, hand(shop), shop.merchant_id, wish())
    said = await approvals.decide(shop.ctx, hand(shop, "bea"), made, "approve")
    assert (await approvals.note_outcome(shop.ctx, said, "done", "succeeded")).status == "done"
    assert (await approvals.note_outcome(shop.ctx, said, "failed", "too_late")).outcome == "succeeded"


async def test_approvals_are_listed_for_their_merchant_and_for_admins_of_all(shop: Shop) -> None:
    made = await approvals.ask(shop.ctx, hand(shop), shop.merchant_id, wish())
    assert await approvals.find(shop.db, "1", made.approval_id) is None
    assert await approvals.find(shop.db, None, made.approval_id) is not None
    assert [each.approval_id for each in await approvals.newest(shop.db, shop.merchant_id, None, 10)] == [made.approval_id]
    assert await approvals.newest(shop.db, shop.merchant_id, made.approval_id, 10) == []
    assert made.approval_id in {each.approval_id for each in await approvals.newest(shop.db, None, None, 1000)}


async def test_a_note_to_a_buyer_who_is_forgotten_goes_with_the_buyer(shop: Shop) -> None:
    asked = replace(wish(), act="cancel", subject=f"order:{uuid.uuid4()}", asked={"note": "Sorry, Mrs Rao"})
    made = await approvals.ask(shop.ctx, hand(shop), shop.merchant_id, asked)
    async with shop.db.transaction("checkout.forget") as tx:
        assert [await approvals.forget(tx, shop.merchant_id, [made.subject]) for _ in range(2)] == [1, 0]
    found = await approvals.find(shop.db, shop.merchant_id, made.approval_id)
    assert found is not None
    assert found.asked == {}
