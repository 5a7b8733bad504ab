"""The rehearsal of Payme's certification: a right merchant passes it all, and every known defect is caught by a step that names it."""

from __future__ import annotations

import pytest
from tests.unit.sandbox import merchant_of_payme as merchants
from tests.unit.sandbox.merchant_of_payme import KEY, Merchant, served

from kassa.sandbox.payme import Endpoint, Order, Outcome, Rehearsal, Wish, rehearse
from kassa.sandbox.payme.robot import write_script
from kassa.sandbox.payme.script import ORDERS

LATE_MS = 150


def wish(merchant: Merchant, **change: object) -> Wish:
    settings: dict[str, object] = {"orders": merchant.orders, "late_ms": LATE_MS}
    return Wish(**(settings | change))  # type: ignore[arg-type]


async def play(merchant: Merchant, **change: object) -> Rehearsal:
    async with served(merchant):
        return await rehearse(merchant.endpoint, wish(merchant, **change))


def wrong(played: Rehearsal) -> dict[str, str]:
    """The steps that went wrong, with what was said about them."""
    return {one.step.name: one.why for one in played.outcomes if one.verdict == "fail"}


def left_out(played: Rehearsal) -> dict[str, str]:
    return {one.step.name: one.why for one in played.outcomes if one.verdict == "skip"}


async def test_a_right_merchant_passes_everything_and_is_left_tidy() -> None:
    merchant, told = Merchant(orders=ORDERS), list[Outcome]()
    async with served(merchant):
        played = await rehearse(merchant.endpoint, wish(merchant), told.append)
    assert (wrong(played), left_out(played), played.left_open) == ({}, {}, ())
    assert played.count("pass") == len(played.outcomes) == len(told)
    assert all(one.took_ms is not None and one.took_ms > 0 for one in told)
    states = [one.state for one in merchant.attempts.values()]
    assert set(states) <= {-1, -2}
    assert list(merchant.status.values())[:3] == ["open", "closed", "closed"]


async def test_the_clock_of_the_merchant_may_be_another() -> None:
    merchant = Merchant(orders=1, ahead_ms=-300_000)
    played = await play(merchant)
    assert wrong(played) == {}
    assert "late: second Create" not in left_out(played)


async def test_a_script_names_each_step_once_and_stands_on_earlier_steps() -> None:
    script = write_script(Endpoint("http://localhost/payme/webhook", "key"), Wish(orders=(Order("a", 1),)))
    known: set[str] = set()
    for step in script.steps:
        assert step.name not in known
        assert set(step.needs) <= known
        known.add(step.name)
    assert {step.scenario for step in script.steps if step.missing} == {"perform", "at once", "one id", "race"}


async def test_what_cannot_be_played_is_left_out_and_says_why() -> None:
    merchant = Merchant()
    played = await play(merchant)
    assert wrong(played) == {}
    assert left_out(played)["cancel: Create"] == "needs a first fresh order"
    assert left_out(played)["race: Create"] == "needs a fourth fresh order"
    assert merchant.attempts == {}
    quick = left_out(await play(Merchant(orders=ORDERS), quick=True))
    assert set(quick.values()) == {"needs waiting, and it was to be quick"}
    assert {name.partition(":")[0] for name in quick} == {"late"}


async def test_what_stands_on_a_step_that_went_wrong_is_left_out() -> None:
    merchant = Merchant(orders=ORDERS)
    merchant.status[merchant.orders[1].order_id] = "paid"
    played = await play(merchant, quick=True)
    assert set(wrong(played)) == {"perform: CheckPerform", "perform: Create"}
    assert left_out(played)["perform: Perform"] == "needs “perform: Create”"


async def test_the_address_of_one_merchant_has_no_neighbours() -> None:
    async with served(Merchant()) as merchant:
        endpoint = Endpoint(f"{merchant.url}/1/", KEY)
        played = await rehearse(endpoint, Wish())
    assert wrong(played) == {}
    assert left_out(played)["address: /nobody"] == "needs the address without a merchant"
    assert "address: a slash" not in left_out(played)


async def test_nobody_there_is_a_failure_of_every_step() -> None:
    merchant = Merchant(orders=ORDERS)
    async with served(merchant):
        endpoint = merchant.endpoint
    played = await rehearse(endpoint, wish(merchant, quick=True))
    assert played.count("pass") == 0
    assert wrong(played)["cancel: Create"].startswith("no answer (Client")


async def test_what_is_left_open_is_said() -> None:
    class Keeps(Merchant):
        async def CancelTransaction(self, params: dict[str, object]) -> object:
            raise merchants.Refusal(-31007)

    merchant = Keeps(orders=ORDERS)
    played = await play(merchant, quick=True)
    assert set(played.left_open) == {one.payme_id for one in merchant.attempts.values()}


async def test_another_field_and_another_code_for_busy_orders() -> None:
    class Other(Merchant):
        field, busy, login = "purchase_id", -31008, "Merchant"

        def error(self, error: merchants.Refusal) -> dict[str, object]:
            data = self.field if error.code == -31008 and error.data else error.data
            return super().error(merchants.Refusal(error.code, data))

    merchant = Other(orders=ORDERS)
    assert wrong(await play(merchant, quick=True, busy_code=-31008)) == {}
    assert wrong(await play(Other(orders=ORDERS), quick=True))["cancel: another Create"] == "the code must be -31051"


DEFECTS = {
    merchants.PaysACancelledOne: "cancel: Perform after Cancel",
    merchants.TellsAnotherTimeEachTime: "perform: same Perform",
    merchants.SellsAPaidOrderAgain: "perform: another Create after Perform",
    merchants.RemembersTheFirstCancelForEver: "cancel: the next Create",
    merchants.GoesByTheReason: "perform: Cancel",
    merchants.OverwritesTheReason: "cancel: Cancel: CheckTransaction",
    merchants.CancelsAnew: "perform: Cancel again",
    merchants.LeavesOutNulls: "cancel: CheckTransaction",
    merchants.NumbersItsTransactions: "cancel: Create",
    merchants.NeverTimesOut: "late: Perform",
    merchants.CountsFromItsOwnTime: "late: Perform",
    merchants.TakesAnyAge: "late: an old Create",
    merchants.LooksThenInserts: "at once: eight Creates",
    merchants.RefusesItsOwnWinner: "at once: same Create",
    merchants.BreaksOnADuplicate: "one id: two orders 1",
    merchants.ListsThePaidOnly: "cancel: statement while created",
    merchants.ListsByItsOwnTime: "cancel: statement of one moment",
    merchants.ListsTheNewestFirst: "cancel: statement",
    merchants.AnswersWith401: "authorisation: PerformTransaction",
    merchants.ForgetsTheNumberOfStrangers: "authorisation: CheckTransaction",
    merchants.IgnoresTheLogin: "authorisation: wrong login",
    merchants.SplitsAtTheLastColon: "authorisation: scheme in other letters",
    merchants.GuardsOneMethodLess: "authorisation: GetStatement",
    merchants.TakesTextForNumbers: "types: CheckPerformTransaction amount with a fraction",
    merchants.SaysItInOneLanguage: "unknown: CheckTransaction",
    merchants.NamesNoField: "unknown: CreateTransaction an order of nobody",
    merchants.KnowsNoTransactionByTheSum: "unknown: PerformTransaction",
    merchants.JudgesTheStateBeforeTheSum: "perform: wrong sum after Perform",
    merchants.KeepsARefusedCreate: "cancel: nothing is kept of it",
    merchants.TrimsNothing: "cancel: same Create, blanks and capitals",
    merchants.LivesInTashkent: "cancel: Create",
}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
async def test_a_defect_is_caught_by_its_step(defect: type[Merchant]) -> None:
    played = await play(defect(orders=ORDERS), quick=not DEFECTS[defect].startswith("late"))
    assert DEFECTS[defect] in wrong(played), wrong(played)
