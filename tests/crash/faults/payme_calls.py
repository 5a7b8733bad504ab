"""Payme asks everything again, gives up after twelve hours, and performs what it has cancelled (F16)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.crash.asking import Ask, Said, speak
from tests.crash.at_payme import CASHBOX, attempt, calls, checks_out, puts
from tests.crash.fault import fault
from tests.crash.field import Field, Run
from tests.crash.stories import Buyer
from tests.crash.till import Till, move_clock, open_till

CANNOT, ALL_AT_ONCE = -31008, 5
HALF_A_DAY_S = 12 * 3600 + 5


class Payme:
    """Payme's side of one purchase. Every call is made twice, or five times at once, and must be answered with the same bytes."""

    def __init__(self, till: Till, run: Run, buyer: Buyer, *, at_once: bool) -> None:
        self.till, self.run, self.buyer = till, run, buyer
        self.at_once = at_once
        self.tx = attempt(buyer)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a call that is repeated."""
        ask = calls(method, **params)
        if self.at_once:
            with ThreadPoolExecutor(ALL_AT_ONCE) as pool:
                answers = list(pool.map(self._settled, [ask] * ALL_AT_ONCE))
        else:
            answers = [self._settled(ask), self._settled(ask)]
        self.run.check(len({each.raw for each in answers}) == 1, f"{method} was answered {[each.raw for each in answers]}")
        found: dict[str, Any] = answers[0].json
        return found

    def _settled(self, ask: Ask) -> Said:
        """-32400 asks Payme to call again; anything else stays said."""
        for _ in range(50):
            said = speak(self.till.server, ask)
            if b'"code":-32400' not in said.raw:
                break
        return said

    def hold(self) -> None:
        """Buy, and let Payme begin."""
        till, buyer = self.till, self.buyer
        for ambassador in (1, 4):
            assert till.asks(puts(buyer, ambassador)).status == 201
        bought = till.asks(checks_out(buyer)).json
        account, amount = {"order_id": bought["purchase_id"]}, bought["amount"]
        (now,) = till.server.sql("SELECT (extract(epoch FROM kassa_now()) * 1000)::bigint AS ms")
        self.gives({"allow": True}, self.call("CheckPerformTransaction", amount=amount, account=account))
        self.gives({"state": 1}, self.call("CreateTransaction", id=self.tx, time=now["ms"], amount=amount, account=account))

    def gives(self, wanted: dict[str, Any], answer: dict[str, Any]) -> None:
        """What must stand in a result."""
        result = answer.get("result", {})
        self.run.check(wanted.items() <= result.items(), f"{wanted} is not in {answer}")

    def refuses(self, answer: dict[str, Any]) -> None:
        """It cannot be done in this state."""
        self.run.check(answer.get("error", {}).get("code") == CANNOT, f"not refused: {answer}")


@fault(
    "F16",
    "Payme repeats Create, Perform and Cancel; twelve hours pass; Perform after Cancel",
    holds="3 6",
    passes="the same bytes each time; refused after a cancel",
    runs=40,
)
def payme_asks_everything_twice(field: Field) -> None:
    """A third is paid and taken back, a third is cancelled before it is paid, a third is left alone for twelve hours."""
    till = open_till(field, **CASHBOX, PAYME_LINK_TTL_S=86_400)
    left = []

    def one(run: Run) -> None:
        payme = Payme(till, run, field.buyer(), at_once=run.number % 2 == 1)
        payme.hold()
        tx, kind = payme.tx, run.number % 3
        if kind == 2:
            left.append(payme)
            return
        if kind == 0:
            payme.gives({"state": 2}, payme.call("PerformTransaction", id=tx))
            payme.gives({"state": 2, "cancel_time": 0}, payme.call("CheckTransaction", id=tx))
        payme.gives({"state": -2 if kind == 0 else -1}, payme.call("CancelTransaction", id=tx, reason=5 if kind == 0 else 3))
        payme.refuses(payme.call("PerformTransaction", id=tx))
        payme.gives({"state": -2 if kind == 0 else -1}, payme.call("CheckTransaction", id=tx))
        payme.gives({"state": -2 if kind == 0 else -1}, payme.call("CancelTransaction", id=tx, reason=5 if kind == 0 else 3))

    field.each(one, at_once=4)
    move_clock(till.server, HALF_A_DAY_S)
    for payme in left:
        payme.refuses(payme.call("PerformTransaction", id=payme.tx))
        payme.gives({"state": -1, "reason": 4}, payme.call("CheckTransaction", id=payme.tx))
        field.check(not payme.run.wrong, f"run {payme.run.number}: {payme.run.wrong}")
    move_clock(till.server, HALF_A_DAY_S)  # links that nobody pays end, too
    till.judge()
