"""A click of the buyer, played as Payme plays it: check, create, perform; create and cancel; or give back what was paid.

What was answered decides what comes next. Silence decides nothing: the same call is sent again, now or at the next click.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import aiohttp

from kassa.sandbox import pages
from kassa.sandbox.book import Book, now_us
from kassa.sandbox.model import Act, Call, Reply, Script, Tx, say
from kassa.sandbox.payme import page
from kassa.sandbox.payme.book import Attempt, Said, as_json, begin, calls_of, last_attempt, move, note_call
from kassa.sandbox.payme.link import Bill, read_link
from kassa.sandbox.payme.wire import Endpoint, Heard, ask, new_session, now_ms, send
from kassa.sandbox.scripts import take_script

AmountOf = Callable[[str], Awaitable[int | None]]
"""What an order is to be paid with, in tiyin; None for an order that nobody pays at Payme."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_AMOUNT = re.compile(r"[1-9][0-9]{0,14}")
_TRIES, _PAUSE_S, _LIMIT_S = 3, 0.3, 4.0
_AT_ONCE = 4
_TEMPORARY = -32400
_DEBIT_FAILED, _EXECUTION_FAILED, _REFUND = 2, 3, 5


def _is_not_called(_tx: Tx, _call: Call) -> Reply:
    return say(404, {"detail": "Not found"})


ACTS = {
    name: Act("payme", name, "POST", method, _is_not_called)
    for name, method in {
        "check_perform": "CheckPerformTransaction",
        "create": "CreateTransaction",
        "perform": "PerformTransaction",
        "cancel": "CancelTransaction",
    }.items()
}
"""What Payme does to the merchant, and not the other way round. It can be scripted like everything else."""


@dataclass(frozen=True, slots=True)
class Errand:
    """A route whose answer needs calls of its own, so it runs outside the book's transaction. `path` stands below `/sandbox`."""

    method: str
    path: str
    do: Callable[[Call], Awaitable[Reply]]


class Player:
    """Payme, as far as a buyer sees it. Made without an endpoint it only says that it was not set up."""

    def __init__(self, book: Book, endpoint: Endpoint | None, amount_of: AmountOf | None) -> None:
        self._book, self._endpoint, self._amount_of = book, endpoint, amount_of
        self._session: aiohttp.ClientSession | None = None
        acts = {"pay": self._pay, "decline": self._decline, "refund": self._refund}
        self.errands = tuple(
            errand
            for path in ("/payme/{purchase_id}", "/payme/checkout/{payload}")
            for errand in (
                Errand("GET", path, self._show),
                *(Errand("POST", f"{path}/{name}", self._click(act)) for name, act in acts.items()),
            )
        )

    async def stop(self) -> None:
        """Close the connections. A second time does nothing."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _show(self, call: Call) -> Reply:
        bill = await self._bill(call)
        if isinstance(bill, Reply):
            return bill
        attempt, calls = await self._book.change(_look, bill.order_id)
        return page.show(bill, attempt, calls, _here(call))

    def _click(self, act: Callable[[_Round], Awaitable[bool]]) -> Callable[[Call], Awaitable[Reply]]:
        async def do(call: Call) -> Reply:
            bill = await self._bill(call)
            if isinstance(bill, Reply):
                return bill
            one = _Round(call, bill)
            done = await act(one)
            attempt, calls = await self._book.change(_look, bill.order_id)
            if "text/html" in call.headers.get("accept", ""):
                line = page.SILENT if one.silent else ""
                return page.show(bill, attempt, calls, _after(call), code=200 if done else 409, line=line)
            return say(200 if done else 409, _facts(bill, attempt, calls[len(calls) - one.sent :]))

        return do

    async def _pay(self, one: _Round) -> bool:
        """Check, create, perform. False when the order was paid, or given back, before."""
        attempt, new = await self._book.change(begin, one.bill)
        if attempt.state not in {"begun", "created"}:
            return False
        if await self._create(one, attempt, new=new):
            await self._perform(one, attempt)
        return True

    async def _decline(self, one: _Round) -> bool:
        """The card's bank says no: what was created is cancelled with reason 2. False when the order was paid before."""
        attempt, new = await self._book.change(begin, one.bill)
        if attempt.state not in {"begun", "created"}:
            return False
        if await self._create(one, attempt, new=new):
            await self._cancel(one, attempt, _DEBIT_FAILED)
        return True

    async def _refund(self, one: _Round) -> bool:
        """A refund from the merchant's cabinet: cancelled with reason 5. False when nothing was paid here."""
        attempt, _ = await self._book.change(_look, one.bill.order_id)
        if attempt is None or attempt.state != "performed":
            return False
        await self._cancel(one, attempt, _REFUND)
        return True

    async def _create(self, one: _Round, attempt: Attempt, *, new: bool) -> bool:
        """Whether the merchant holds the order for this attempt. What an earlier click began is not asked about again."""
        if attempt.state == "created":
            return True
        params = {"amount": attempt.amount, "account": dict(attempt.account)}
        if new:
            heard = await self._tell(one, attempt, "check_perform", params)
            if heard is None or _member(heard, "allow") is not True:
                return await self._give_up(one, attempt, heard)
        heard = await self._tell(one, attempt, "create", {"id": attempt.payme_id, "time": attempt.time_ms, **params})
        if heard is None or _member(heard, "state") != 1:
            return await self._give_up(one, attempt, heard)
        await self._book.change(move, attempt.payme_id, "created")
        return True

    async def _perform(self, one: _Round, attempt: Attempt) -> None:
        heard = await self._tell(one, attempt, "perform", {"id": attempt.payme_id})
        if _member(heard, "state") == 2:
            await self._book.change(move, attempt.payme_id, "performed")
        elif _is_no(heard):
            # The money of a payment that cannot be performed is not kept (5.3).
            await self._cancel(one, attempt, _EXECUTION_FAILED)
        else:
            one.silent = True

    async def _cancel(self, one: _Round, attempt: Attempt, reason: int) -> None:
        heard = await self._tell(one, attempt, "cancel", {"id": attempt.payme_id, "reason": reason})
        state = {-1: "cancelled", -2: "returned"}.get(_member(heard, "state"))
        if state is not None:
            await self._book.change(move, attempt.payme_id, state)
        else:
            one.silent = not _is_no(heard)

    async def _give_up(self, one: _Round, attempt: Attempt, heard: Heard | None) -> bool:
        """A clear no ends the attempt; silence leaves it for the next click."""
        one.silent = not _is_no(heard)
        if not one.silent:
            await self._book.change(move, attempt.payme_id, "refused")
        return False

    async def _tell(self, one: _Round, attempt: Attempt, act: str, params: dict[str, Any]) -> Heard | None:
        """Make one call, again while there is no answer, as it is scripted. None when the script keeps it from being sent."""
        call = replace(one.call, key=attempt.payme_id, now_us=now_us())
        script = await self._book.change(_script, ACTS[act], call)
        if script is not None and script.behaviour == "not_sent":
            return None
        if script is not None and script.behaviour == "send_late":
            await asyncio.sleep(1.0 if script.seconds is None else script.seconds)
        method = ACTS[act].path
        heard = await self._play(one, attempt, method, params, script)
        for _ in range(_TRIES - 1):
            if _is_no(heard) or heard.result is not None:
                break
            await asyncio.sleep(_PAUSE_S)
            heard = await self._send(one, attempt, method, params, "again")
        return heard

    async def _play(self, one: _Round, attempt: Attempt, method: str, params: dict[str, Any], script: Script | None) -> Heard:
        match script.behaviour if script else None:
            case "send_twice":
                await self._send(one, attempt, method, params, "sent twice")
                return await self._send(one, attempt, method, params, "sent twice")
            case "send_at_once":
                sent = (self._send(one, attempt, method, params, "sent at once") for _ in range(_AT_ONCE))
                return (await asyncio.gather(*sent))[-1]
            case "hang_up":
                seconds = 0.01 if script is None or script.seconds is None else script.seconds
                return await self._send(one, attempt, method, params, "hung up", seconds)
            case _:
                return await self._send(one, attempt, method, params, "")

    async def _send(
        self, one: _Round, attempt: Attempt, method: str, params: dict[str, Any], note: str, patience_s: float = _LIMIT_S
    ) -> Heard:
        if self._session is None:
            self._session = new_session()
        assert self._endpoint is not None
        began = now_ms()
        try:
            heard = await asyncio.wait_for(send(self._session, self._endpoint, ask(method, params)), patience_s)
        except TimeoutError:
            heard = Heard(0, "", None, now_ms() - began, now_ms(), "no answer")
        await self._book.change(note_call, attempt, method, heard, note)
        one.sent += 1
        return heard

    async def _bill(self, call: Call) -> Bill | Reply:
        if self._endpoint is None:
            return pages.message(404, "Payme is not set up", "Set PAYME_ID and PAYME_KEY, or start the development server.")
        payload = call.params.get("payload")
        if payload is not None:
            found = read_link(payload, self._endpoint.account_field)
            return found or pages.message(404, "No such payment", "This link cannot be read.")
        order_id = call.params["purchase_id"].lower()
        if not _UUID.fullmatch(order_id):
            return pages.message(404, "No such payment", "The address must end with the id of a purchase.")
        amount = await self._amount(call, order_id)
        if amount is None:
            return pages.message(404, "No such payment", "Nobody pays this purchase at Payme.")
        return Bill(order_id, amount, {self._endpoint.account_field: order_id}) if amount else page.ask_amount(order_id)

    async def _amount(self, call: Call, order_id: str) -> int | None:
        """In tiyin, from the address or from whoever knows; 0 when the buyer must be asked."""
        if _AMOUNT.fullmatch(call.query.get("amount", "")):
            return int(call.query["amount"])
        if self._amount_of is not None:
            return await self._amount_of(order_id)
        attempt, _ = await self._book.change(_look, order_id)
        return attempt.amount if attempt else 0


class _Round:
    """One click: its call, its bill, how many calls it made, and whether it ended without a clear answer."""

    def __init__(self, call: Call, bill: Bill) -> None:
        self.call, self.bill = call, bill
        self.sent, self.silent = 0, False


def _look(tx: Tx, order_id: str) -> tuple[Attempt | None, list[Said]]:
    return last_attempt(tx, order_id), calls_of(tx, order_id)


def _script(tx: Tx, act: Act, call: Call) -> Script | None:
    return take_script(tx, act, call, repeated=False)


def _is_no(heard: Heard | None) -> bool:
    """A clear refusal; `try again` is none."""
    return heard is not None and heard.status == 200 and heard.error.get("code", _TEMPORARY) != _TEMPORARY


def _member(heard: Heard | None, name: str) -> Any:
    return heard.result.get(name) if heard is not None and isinstance(heard.result, dict) else None


def _facts(bill: Bill, attempt: Attempt | None, calls: list[Said]) -> dict[str, Any]:
    return {
        "order_id": bill.order_id,
        "amount": bill.amount,
        "payme_id": attempt.payme_id if attempt else None,
        "state": attempt.state if attempt else "open",
        "calls": [{"method": one.method, "answer": as_json(one.answer), "note": one.note, "took_ms": one.took_ms} for one in calls],
    }


def _here(call: Call) -> page.Place:
    """Where the buttons lead, seen from the page itself."""
    last = call.params.get("payload") or call.params["purchase_id"]
    return page.Place(quote(last, safe="") + "/", _query(call))


def _after(call: Call) -> page.Place:
    """Where the buttons lead, seen from the page that answers a click."""
    return page.Place("", _query(call))


def _query(call: Call) -> str:
    amount = call.query.get("amount", "")
    return f"?amount={amount}" if _AMOUNT.fullmatch(amount) else ""
