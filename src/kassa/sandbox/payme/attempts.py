"""The steps that use up orders: cancel, time out, perform and give back, all at once, and a race (section 11, and 4.1, 8, 15)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kassa.sandbox import exact
from kassa.sandbox.payme import judge
from kassa.sandbox.payme.judge import Attempt, Memory, refused
from kassa.sandbox.payme.script import Order, Sheet
from kassa.sandbox.payme.wire import Message, ask, new_payme_id, now_ms

CREATED = "cancel: Create"
"""The step whose answer tells how far the merchant's clock is ahead of ours."""
_AT_ONCE, _TURNS = 8, 5
_EARLIER_MS = 3_600_000
_TOO_LATE_MS = 60_000
_AFTER_MS = 400
_HUGE = 10**30


def write_cancel(sheet: Sheet) -> None:
    """Scenario 1: a wrong sum, create, again, another one beside it, cancel, again; then the order is free for the next attempt."""
    order = sheet.order(0)
    scene = _Scene(sheet, "cancel", order)
    scene.refuses_wrong_sums()
    scene.check_perform("CheckPerform", judge.allowed())
    never = scene.nothing_before_create()
    first = scene.create("Create")
    scene.create_again(first)
    scene.add("CheckTransaction", _check(first.payme_id), judge.shown(first, 1), first.created)
    scene.holds_its_order(first)
    period = (first.time_ms - 1, first.time_ms + 1)
    statement = judge.listed((first, 1, None), between=period, never=never)
    scene.add("statement while created", _statement(*period), statement, first.created)
    ended = scene.cancel(first, -1, reason=3)
    scene.add("Perform after Cancel", _perform(first.payme_id), refused(-31008), ended.cancelled)
    scene.add("same Create after Cancel", _create(first), refused(-31008), ended.cancelled)
    scene.add("still cancelled", _check(first.payme_id), judge.shown(ended, -1, 3), ended.cancelled)
    scene.check_perform("CheckPerform after Cancel", judge.allowed(), ended.cancelled)
    second = scene.attempt("the next Create", earlier_ms=_EARLIER_MS)
    number = judge.another_number(first.created, sheet.wish.slack_ms)
    scene.add("the next Create", _create(second), number, ended.cancelled)
    gone = scene.cancel(second, -1, reason=1, name="the next Cancel")
    period = (second.time_ms, first.time_ms)
    statement = judge.listed((gone, -1, 1), (ended, -1, 3), between=period, never=never)
    scene.add("statement", _statement(*period), statement, ended.cancelled, gone.cancelled)
    period = (second.time_ms, second.time_ms)
    scene.add("statement of one moment", _statement(*period), judge.listed((gone, -1, 1), between=period), gone.cancelled)


def write_late(sheet: Sheet) -> None:
    """The 12 hours (4.1): too old a Create, and transactions whose time runs out; they never block the next attempt."""
    order = sheet.order(0)
    if not sheet.missing and sheet.wish.quick:
        sheet.missing = "needs waiting, and it was to be quick"
    scene = _Scene(sheet, "late", order)
    timeout, life, wait = sheet.wish.timeout_ms, sheet.wish.late_ms, sheet.wish.late_ms + _AFTER_MS
    old = scene.attempt("an old Create")
    made = _created_at(old, lambda now: now - timeout - _TOO_LATE_MS)
    scene.add("an old Create", made, refused(-31008), CREATED)
    scene.add("nothing is kept of it", _check(old.payme_id), refused(-31003), CREATED)
    first = scene.attempt("Create")
    made = _created_at(first, lambda now: now - timeout + life)
    scene.add("Create", made, judge.created(sheet.wish.slack_ms), CREATED)
    looked = judge.timed_out(first, maybe=True)
    scene.add("CheckTransaction changes nothing", _check(first.payme_id), looked, first.created, pause_ms=wait)
    late = scene.add("Perform", _perform(first.payme_id), refused(-31008), first.created)
    shown = scene.add("CheckTransaction", _check(first.payme_id), judge.timed_out(first), late)
    scene.add("same Create", _create(first), refused(-31008), late)
    scene.add("Cancel", _cancel(first.payme_id, 5), judge.ended_as_shown(shown), shown)
    scene.add("reason stays", _check(first.payme_id), judge.repeats(shown), shown)
    scene.check_perform("CheckPerform", judge.allowed(), late)
    second = scene.attempt("second Create")
    made = _created_at(second, lambda now: now - timeout + life)
    scene.add("second Create", made, judge.created(sheet.wish.slack_ms), late)
    won = scene.create_rivals("the next Creates", second.created, pause_ms=wait)
    scene.add("the one before", _check(second.payme_id), judge.timed_out(second), won)


def write_perform(sheet: Sheet) -> None:
    """Scenario 2: create, perform, again, cancel, again; the order is paid once, and closed for ever after the refund."""
    order = sheet.order(1)
    scene = _Scene(sheet, "perform", order)
    scene.check_perform("CheckPerform", judge.allowed())
    made = scene.create("Create")
    scene.create_again(made)
    paid = replace(made, performed=f"{scene.name}: Perform")
    done = scene.add("Perform", _perform(made.payme_id), judge.performed(made), made.created)
    scene.add("same Perform", _perform(made.payme_id), judge.repeats(done), done, pause_ms=20)
    scene.add("CheckTransaction", _check(made.payme_id), judge.shown(paid, 2), done)
    scene.add("same Create after Perform", _create(made), refused(-31008), done)
    scene.is_closed(made, -31052, "after Perform", done)
    scene.check_perform("wrong sum after Perform", refused(-31001), done, amount=order.amount + 1)
    period = (made.time_ms, made.time_ms + 1)
    scene.add("statement after Perform", _statement(*period), judge.listed((paid, 2, None), between=period), done)
    scene.fiscal(made, "PERFORM", done)
    # Reason 3 and not 5: what becomes of a performed transaction never depends on the reason (5.4).
    back = scene.cancel(paid, -2, reason=3)
    needs = back.cancelled or ""
    scene.fiscal(made, "CANCEL", needs)
    scene.add("Perform after Cancel", _perform(made.payme_id), refused(-31008), needs)
    scene.add("same Create after Cancel", _create(made), refused(-31008), needs)
    scene.is_closed(made, -31053, "after Cancel", needs)
    scene.add("still given back", _check(made.payme_id), judge.shown(back, -2, 3), needs)
    scene.add("statement after Cancel", _statement(*period), judge.listed((back, -2, 3), between=period), needs)


def write_at_once(sheet: Sheet) -> None:
    """Everything eight times at the same moment: one transaction holds the order, and repeats are answered alike."""
    order = sheet.order(2)
    scene = _Scene(sheet, "at once", order)
    freed = scene.create_rivals("eight Creates")
    made = scene.attempt("same Create")
    all_made = judge.all_alike(judge.created(sheet.wish.slack_ms))
    scene.add("same Create", [_create(made) for _ in range(_AT_ONCE)], all_made, freed, sent="8 Creates, 1 id")
    done = f"{scene.name}: Perform"
    messages = [_perform(made.payme_id) for _ in range(_AT_ONCE)]
    scene.add("Perform", messages, judge.all_alike(judge.performed(made)), made.created, sent="8 Performs")
    paid = replace(made, performed=done, cancelled=f"{scene.name}: Cancel")
    messages = [_cancel(made.payme_id, 5) for _ in range(_AT_ONCE)]
    back = scene.add("Cancel", messages, judge.all_alike(judge.cancelled(paid, -2)), done, sent="8 Cancels")
    scene.add("CheckTransaction", _check(made.payme_id), judge.shown(paid, -2, 5), back)


def write_one_id(sheet: Sheet) -> None:
    """One id for two orders at the same moment: it belongs to one of them, and both orders stay payable afterwards."""
    other, scene = sheet.order(2), _Scene(sheet, "one id", sheet.order(3))
    field = sheet.endpoint.account_field
    freed = ""
    for turn in range(1, _TURNS + 1):  # the moment is short: it may be missed once
        mine = scene.attempt(f"two orders {turn}")
        foreign = replace(mine, amount=other.amount, account={field: other.order_id})
        messages = [_create(mine), _create(foreign)]
        won = scene.add(f"two orders {turn}", messages, judge.one_wins(-31050, field), freed, sent="2 Creates, 1 id, 2 orders")
        ended = judge.cancelled(mine, -1)
        freed = scene.add(f"Cancel of the winner {turn}", _cancel(mine.payme_id, 1), ended, won, sent="Cancel, reason 1")


def write_race(sheet: Sheet) -> None:
    """Perform and Cancel at the same moment: one is first, and all answers tell the same story."""
    scene = _Scene(sheet, "race", sheet.order(3))
    made = scene.create("Create")
    messages = [_perform(made.payme_id), _cancel(made.payme_id, 5)]
    race = scene.add(
        "Perform and Cancel", messages, judge.paid_and_back_or_never(), made.created, sent="Perform and Cancel at once"
    )
    scene.add("CheckTransaction", _check(made.payme_id), judge.as_the_race_ended(race), race)


class _Scene:
    """One scenario over one order: its steps have its name in front."""

    def __init__(self, sheet: Sheet, name: str, order: Order) -> None:
        self.sheet, self.name, self.order = sheet, name, order
        # Other members of the account are none of the merchant's business; the statement gives them back (2.8).
        self.account = {sheet.endpoint.account_field: order.order_id, "note": "rehearsal"}

    def add(
        self, name: str, messages: Any, expect: judge.Expect, *needs: str | None, sent: str | None = None, pause_ms: int = 0
    ) -> str:
        """A step of this scene. `needs` are full names."""
        stands_on = [one for one in needs if one]
        return self.sheet.add(
            f"{self.name}: {name}", messages, expect, needs=stands_on, sent=sent or _words(messages), pause_ms=pause_ms
        )

    def attempt(self, step: str, *, earlier_ms: int = 0) -> Attempt:
        """A transaction that the named step will create; it is noted, so that nothing is left behind."""
        payme_id = new_payme_id()
        if not self.sheet.missing:
            self.sheet.ids.setdefault(self.name, []).append(payme_id)
        time_ms = self.sheet.began_ms - earlier_ms
        return Attempt(payme_id, time_ms, self.order.amount, self.account, f"{self.name}: {step}")

    def create(self, step: str, *needs: str, pause_ms: int = 0) -> Attempt:
        """CreateTransaction of a new one."""
        made = self.attempt(step)
        self.add(step, _create(made), judge.created(self.sheet.wish.slack_ms), *needs, pause_ms=pause_ms)
        return made

    def create_rivals(self, step: str, *needs: str, pause_ms: int = 0) -> str:
        """Eight Creates at once for the one order, and Cancel of the one that got it. Returns the name of that Cancel."""
        rivals = [self.attempt(step) for _ in range(_AT_ONCE)]
        expect = judge.one_wins(self.sheet.wish.busy_code, self.sheet.endpoint.account_field)
        sent = f"{_AT_ONCE} Creates, {_AT_ONCE} ids"
        won = self.add(step, [_create(one) for one in rivals], expect, *needs, sent=sent, pause_ms=pause_ms)

        def end_the_winner(memory: Memory) -> list[Message]:
            winner = next(one for one, heard in zip(rivals, memory.heard[won], strict=True) if not heard.error)
            return [_cancel(winner.payme_id, 1)]

        ended = judge.cancelled(Attempt("", 0, 0, {}, won), -1)
        return self.add(f"{step}: Cancel of the winner", end_the_winner, ended, won, sent="Cancel, reason 1")

    def create_again(self, made: Attempt) -> None:
        """The same Create: as it was, with the account in other letters and blanks, and with another sum or order."""
        field = self.sheet.endpoint.account_field
        self.add("same Create", _create(made), judge.repeats(made.created), made.created, pause_ms=20)
        spaced = replace(made, account={field: f" {self.order.order_id.upper()} "})
        self.add(
            "same Create, blanks and capitals", _create(spaced), judge.repeats(made.created), made.created, sent="Create, ' ORDER '"
        )
        other = replace(made, amount=made.amount + 1)
        self.add("same Create, another sum", _create(other), refused(-31001), made.created, sent="Create, same id, sum + 1")
        foreign = replace(made, account={field: "00000000-0000-7000-8000-000000000000"})
        self.add(
            "same Create, another order",
            _create(foreign),
            refused(-31050, data=field),
            made.created,
            sent="Create, same id, another order",
        )

    def check_perform(self, name: str, expect: judge.Expect, *needs: str | None, amount: int | None = None) -> str:
        """CheckPerformTransaction of the order."""
        params = {"amount": self.order.amount if amount is None else amount, "account": self.account}
        return self.add(name, ask("CheckPerformTransaction", params), expect, *needs, sent="CheckPerformTransaction")

    def refuses_wrong_sums(self) -> None:
        """Wrong amounts, asked and created."""
        amount = self.order.amount
        sums = {"1": 1, "sum + 1": amount + 1, "sum * 100": amount * 100, "0": 0, "- sum": -amount, "30 digits": _HUGE}
        for what, wrong in sums.items():
            self.check_perform(f"wrong sum {what}", refused(-31001), amount=wrong)
            attempt = replace(self.attempt("wrong"), amount=wrong)
            self.add(f"Create, wrong sum {what}", _create(attempt), refused(-31001), sent=f"Create, {what}")

    def nothing_before_create(self) -> list[str]:
        """Calls that come before their Create, and a Create that is refused: nothing is kept of either. Returns their ids."""
        early, wrong = self.attempt("early").payme_id, replace(self.attempt("wrong"), amount=1)
        self.add("Perform before Create", _perform(early), refused(-31003))
        self.add("Cancel before Create", _cancel(early, 3), refused(-31003))
        refusal = self.add("Create, wrong sum", _create(wrong), refused(-31001), sent="Create, 1")
        self.add("nothing is kept of it", _check(wrong.payme_id), refused(-31003), refusal)
        return [early, wrong.payme_id]

    def holds_its_order(self, made: Attempt) -> None:
        """While one is in state 1, another one is told that the order is busy, but a wrong sum is a wrong sum."""
        code, field = self.sheet.wish.busy_code, self.sheet.endpoint.account_field
        other = self.attempt("another Create")
        self.add("another Create", _create(other), refused(code, data=field), made.created, sent="Create, new id")
        self.add("nothing is kept of the other", _check(other.payme_id), refused(-31003), made.created)
        self.check_perform("CheckPerform while busy", refused(code, data=field), made.created)
        self.check_perform("wrong sum while busy", refused(-31001), made.created, amount=self.order.amount + 1)

    def cancel(self, made: Attempt, state: int, *, reason: int, name: str = "Cancel") -> Attempt:
        """CancelTransaction, again with another reason, and what is shown: time and reason are those of the first."""
        needs = made.performed or made.created
        ended = replace(made, cancelled=f"{self.name}: {name}")
        self.add(name, _cancel(made.payme_id, reason), judge.cancelled(made, state), needs, sent=f"Cancel, reason {reason}")
        again = _cancel(made.payme_id, reason + 1)
        self.add(
            f"{name} again",
            again,
            judge.repeats(ended.cancelled or ""),
            ended.cancelled,
            sent=f"Cancel, reason {reason + 1}",
            pause_ms=20,
        )
        self.add(f"{name}: CheckTransaction", _check(made.payme_id), judge.shown(ended, state, reason), ended.cancelled)
        return ended

    def is_closed(self, made: Attempt, code: int, when: str, needs: str) -> None:
        """The order is paid, or given back: no new attempt."""
        field = self.sheet.endpoint.account_field
        self.check_perform(f"CheckPerform {when}", refused(code, data=field), needs)
        other = replace(made, payme_id=self.attempt("another").payme_id)
        self.add(f"another Create {when}", _create(other), refused(code, data=field), needs, sent="Create, new id")

    def fiscal(self, made: Attempt, kind: str, needs: str) -> None:
        """SetFiscalData twice; the transaction stays as it is."""
        fiscal = {"receipt_id": 48120, "status_code": 0, "message": "accepted", "date": "20260101050004"}
        params = {"id": made.payme_id, "type": kind, "fiscal_data": fiscal}
        for name in (f"fiscal {kind}", f"fiscal {kind} again"):
            self.add(name, ask("SetFiscalData", params), judge.succeeded(), needs, sent=f"SetFiscalData {kind}")


def _create(made: Attempt) -> Message:
    params = {"id": made.payme_id, "time": made.time_ms, "amount": made.amount, "account": dict(made.account)}
    return ask("CreateTransaction", params)


def _created_at(made: Attempt, when: Callable[[int], int]) -> Callable[[Memory], list[Message]]:
    """Create with a time that is reckoned, by the merchant's clock, when the step's turn comes."""

    def say(memory: Memory) -> list[Message]:
        return [_create(replace(made, time_ms=when(now_ms() + memory.offset_ms)))]

    return say


def _perform(payme_id: str) -> Message:
    return ask("PerformTransaction", {"id": payme_id})


def _cancel(payme_id: str, reason: int) -> Message:
    return ask("CancelTransaction", {"id": payme_id, "reason": reason})


def _check(payme_id: str) -> Message:
    return ask("CheckTransaction", {"id": payme_id})


def _statement(begin: int, end: int) -> Message:
    return ask("GetStatement", {"from": begin, "to": end})


def _words(messages: Any) -> str:
    """The method of a message; one that is made later is a Create."""
    return str(exact.loads(messages.body)["method"]) if isinstance(messages, Message) else "CreateTransaction"
