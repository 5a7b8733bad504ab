"""The account of a call: whatever names no order of this cashbox is -31050, and what is kept is what was sent."""

from __future__ import annotations

from typing import Any

import pytest
from tests.store.payme.desk import UNKNOWN_ORDER, Desk, an_id, state_of, told

from kassa.collect import payme
from kassa.collect.payme import PaymeRefusal

AN_ID = "019b76da-a800-7c3e-9f51-2d8e6a4b7c10"
NOBODY: dict[str, Any] = {
    "nothing": None, "true": True, "one": 1, "a number with a point": 1.5, "a long number": 10**300, "minus": -1, "empty": "", "blank": " ",
    "long": "x" * 5000, "a list": [], "an object": {}, "a list of one": [AN_ID], "a zero byte": "\x00", "half a pair": "\ud800",
    "an id and a zero byte": AN_ID + "\x00", "in braces": "{" + AN_ID + "}", "without dashes": AN_ID.replace("-", ""),
    "other digits": "\u0966" + AN_ID[1:], "an id that nobody has": AN_ID, "a number of an id": int(AN_ID.replace("-", ""), 16),
}  # fmt: skip


@pytest.mark.parametrize("which", NOBODY)
async def test_what_is_no_order_is_not_found(desk: Desk, which: str) -> None:
    for account in ({"order_id": NOBODY[which]}, {"order": NOBODY[which]}, {}):
        for call in (payme.check_perform(desk.ctx, desk.box, 5, account), payme.create(desk.ctx, desk.box, an_id(), 1, 5, account)):
            with pytest.raises(PaymeRefusal) as caught:
                await call
            assert (caught.value.number, caught.value.data) == (UNKNOWN_ORDER, "order_id")


async def test_an_order_that_was_never_opened_for_payme_is_not_found(desk: Desk) -> None:
    order = await desk.ordered()
    assert await told(payme.check_perform(desk.ctx, desk.box, order.total_minor, desk.account(order.checkout_id))) == UNKNOWN_ORDER
    assert await told(payme.check_perform(desk.ctx, desk.box, order.total_minor, desk.account(order.payment_id))) == UNKNOWN_ORDER


async def test_blanks_and_the_case_of_letters_do_not_matter_and_all_of_it_is_kept(desk: Desk) -> None:
    order, payme_id = await desk.ordered(), an_id()
    account = {
        "order_id": f" \t{str(order.order_id).upper()}\n", "n": 10**30, "list": [1, None, {"a": True}], "z\x00": "\x00 ü", "": "",
    }  # fmt: skip
    at = await desk.now_ms()
    for _ in range(2):
        assert state_of(await told(payme.create(desk.ctx, desk.box, payme_id, at, order.total_minor, account))) == 1
    (row,) = await desk.statement(at, at)
    assert row["account"] == account
    assert list(row["account"]) == list(account)


@pytest.mark.parametrize("amount", [0, -1, 1, 4_999_999, 5_000_001, 10**30, -(10**30), 50_000])
async def test_another_sum_is_another_sum_however_large(desk: Desk, amount: int) -> None:
    order = await desk.ordered()
    assert await told(payme.check_perform(desk.ctx, desk.box, amount, desk.account(order))) == -31001
    assert await desk.create(order, an_id(), amount=amount) == -31001
