"""What two minutes, five minutes, a day and three days change: the long ends of sections 4 and 5.

Nobody waits for them: Kassa's time is the database's clock plus one stored offset (ruling 23), and here it is moved. One
timeline serves all stories, because a clock moves for everybody.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from .journeys import Json, a_key, at_once, buy, id_of, line, look, order_form, refusal, steps, until, visitor
from .neighbours import HONEST, Neighbours, cuts, says
from .town import Town

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2
    from tests.conftest import StartKassa
    from tests.rig import Server

MINUTE, HOUR = 60, 3600
LATE_YES = {"status": "success", "transactionId": "T-LATE", "message": "Payment processed successfully"}


@dataclass
class Ages:
    """A town whose clock can be moved, its buyers by name, and how each checkout read at each moment."""

    town: Town
    server: Server
    forms: dict[str, Json] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    seen: dict[tuple[str, str], Json] = field(default_factory=dict)

    def later(self, seconds: float) -> None:
        """That much time passes."""
        self.server.sql("SELECT kassa_move_clock(make_interval(secs => $1))", float(seconds))

    def press(self, name: str) -> httpx2.Response:
        with visitor(self.town.shop) as guest:
            return buy(guest, self.forms[name], self.keys[name])

    def wait_for(self, moment: str, *wanted: tuple[str, str], within: float = 25) -> None:
        """Wait until each of these buyers' checkouts has the status, then note how everybody's reads."""
        with visitor(self.town.shop) as guest:
            for name, status in wanted:
                with contextlib.suppress(AssertionError):  # the tests below say it better
                    until(lambda n=name, s=status: look(guest, self.ids[n])["status"] == s, within, "")  # type: ignore[misc]
            for name, checkout_id in self.ids.items():
                self.seen[name, moment] = look(guest, checkout_id)

    def at(self, moment: str, name: str) -> Json:
        return self.seen[name, moment]

    def count(self, name: str, act: str) -> int:
        return self.town.neighbours.acts(self.ids[name]).count(act)


PLANS = {
    "never seen": {"process": cuts(books=False)},
    "mute": {"process": cuts(books=True), "by_key": says(503)},
    "a lost deduct": {"deduct": says(500)},
    "a lost order": {"create": says(500)},
    "a stubborn refund": {"deduct": says(422), "refund": says(503)},
    "an ordinary buyer": {},
}


@pytest.fixture(scope="module")
def ages(start_kassa: StartKassa) -> Iterator[Ages]:
    neighbours = Neighbours()
    server = start_kassa(**neighbours.settings())
    told = Ages(Town(server, neighbours), server)
    for name, plan in PLANS.items():
        told.forms[name], told.keys[name] = order_form(line("prod_011")), a_key()
        neighbours.for_buyer(told.forms[name]["customer_email"], **plan)
    with told.town.kept_busy():
        live_through(told)
    yield told
    neighbours.stop()


def live_through(ages: Ages) -> None:
    """Everybody buys; then two minutes pass, five, a day, three days."""
    for name, answer in zip(PLANS, at_once([lambda n=name: ages.press(n) for name in PLANS]), strict=True):  # type: ignore[misc]
        ages.ids[name] = id_of(answer)
    ages.wait_for("at first")
    ages.later(2 * MINUTE)
    ages.wait_for("after 2 minutes", ("never seen", "failed"), ("a lost deduct", "parked"), ("a lost order", "parked"))
    ages.town.neighbours.for_buyer(ages.forms["never seen"]["customer_email"], by_key=says(200, LATE_YES))
    ages.later(6 * MINUTE)
    with contextlib.suppress(AssertionError):
        until(lambda: ages.count("never seen", "refund"), 15, "the late charge is found and refunded")
    ages.wait_for("after 8 minutes")
    ages.later(25 * HOUR)
    ages.wait_for("after a day", ("a stubborn refund", "parked"))
    ages.town.neighbours.for_buyer(ages.forms["a stubborn refund"]["customer_email"], refund=HONEST)
    ages.later(48 * HOUR)
    with contextlib.suppress(AssertionError):
        until(lambda: ages.town.neighbours.net(ages.ids["a stubborn refund"]) == 0, 15, "the refund is done at last")
    ages.wait_for("after three days", ("mute", "parked"))


def test_a_charge_that_was_never_seen_was_not_executed(ages: Ages) -> None:
    end = ages.at("after 2 minutes", "never seen")
    assert (end["status"], end["error"]) == ("failed", "Payment processing failed")
    refusal(ages.press("never seen"), "Payment processing failed", "payment_not_executed")


def test_a_late_charge_that_is_found_after_five_minutes_is_refunded_once(ages: Ages) -> None:
    (refund,) = ages.town.neighbours.calls(ages.ids["never seen"], "refund")
    assert refund.raw_path == "/payments/T-LATE/refund"
    assert refund.key == f"{ages.ids['never seen']}:refund"
    assert refund.body == {"amount": 49, "idempotency_key": refund.key}
    assert ages.at("after three days", "never seen")["status"] == "failed"
    assert ages.count("never seen", "deduct") == ages.count("never seen", "create") == 0


@pytest.mark.parametrize(
    ("name", "undone", "acts"),
    [
        ("a lost deduct", {"payment": "undone", "inventory": "stuck"}, {"refund": 1, "restock": 0, "create": 0}),
        ("a lost order", {"payment": "undone", "inventory": "undone", "order": "stuck"}, {"refund": 1, "restock": 1}),
    ],
)
def test_an_act_unknown_for_two_minutes_is_stuck_and_the_money_goes_back(
    ages: Ages, name: str, undone: dict[str, str], acts: dict[str, int]
) -> None:
    assert ages.at("at first", name)["status"] == "processing"
    parked = ages.at("after 2 minutes", name)
    assert parked["status"] == "parked"
    assert steps(parked) == undone
    assert {act: ages.count(name, act) for act in acts} == acts
    assert ages.town.neighbours.net(ages.ids[name]) == 0


def test_a_payment_that_nobody_answers_for_is_parked_after_three_days(ages: Ages) -> None:
    for moment in ("after 2 minutes", "after 8 minutes", "after a day"):
        assert ages.at(moment, "mute")["status"] == "processing"
    assert ages.at("after three days", "mute")["status"] == "parked"
    assert ages.count("mute", "process") == 1
    assert ages.count("mute", "refund") == ages.count("mute", "deduct") == 0


def test_an_undo_that_fails_for_a_day_is_parked_and_tried_on(ages: Ages) -> None:
    for moment in ("after 2 minutes", "after 8 minutes"):
        assert ages.at(moment, "a stubborn refund")["status"] == "undoing"
    assert ages.at("after a day", "a stubborn refund")["status"] == "parked"
    assert ages.town.neighbours.net(ages.ids["a stubborn refund"]) == 0, "and tried on"
    assert ages.at("after three days", "a stubborn refund")["status"] in {"parked", "failed"}


def test_a_key_is_kept_for_thirty_days(ages: Ages) -> None:
    first = ages.press("an ordinary buyer")
    ages.later(26 * 24 * HOUR)  # and three days have passed already
    again = ages.press("an ordinary buyer")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == first.content
