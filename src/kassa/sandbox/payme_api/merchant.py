"""What a receipt that is paid or cancelled means at the merchant: Payme's own calls, and what their answers make of the receipt.

A clear no decides. Silence decides nothing: the receipt waits (21, 30), and the merchant is told again when somebody asks about it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp

from kassa.sandbox.book import Book, now_us
from kassa.sandbox.model import Call, Script, Tx
from kassa.sandbox.payme import player
from kassa.sandbox.payme.book import move, note_call
from kassa.sandbox.payme.wire import Endpoint, Heard, ask, new_session, now_ms, send
from kassa.sandbox.payme_api.book import (
    CANCELLED,
    CLOSING,
    CREATING,
    DEBITED,
    NEW,
    PAID,
    QUEUED,
    No,
    Receipt,
    find_card,
    find_receipt,
    move_receipt,
    note_attempt,
)
from kassa.sandbox.scripts import take_script

_TRIES, _PAUSE_S, _LIMIT_S = 2, 0.1, 2.0
_TEMPORARY = -32400
_DEBIT_FAILED, _EXECUTION_FAILED, _REFUND = 2, 3, 5
_AT_ONCE = 4


class Merchant:
    """The merchant's door, called for receipts. Without an endpoint there is no merchant, and every receipt is refused."""

    def __init__(self, book: Book, endpoint: Endpoint | None) -> None:
        self._book, self._endpoint = book, endpoint
        self._session: aiohttp.ClientSession | None = None
        self._later: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        """Give up what was to be said later, and close the connections. A second time does nothing."""
        for task in self._later:
            task.cancel()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def pay(self, call: Call, receipt_id: str, token: object, *, declined: str | None) -> Receipt:
        """Create, debit, Perform. `declined`: the card's bank says no, in these words. Raises `No`."""
        card, verified = await self._book.change(find_card, token)
        if not verified:
            raise No(-31401, "Card is not verified", "token")
        receipt = await self._book.change(_begin, receipt_id, card)
        params = {"amount": receipt.amount, "account": dict(receipt.account)}
        await self._must(call, receipt, "check_perform", params)
        await self._must(call, receipt, "create", {"id": receipt_id, "time": receipt.made_ms, **params})
        await self._book.change(note_attempt, receipt)
        if declined is not None:
            await self._undo(call, receipt, CREATING, _DEBIT_FAILED)
            raise No(-31630, declined)
        await self._book.change(move_receipt, receipt_id, CREATING, DEBITED)
        return await self.go_on(call, receipt_id)

    async def cancel(self, call: Call, receipt_id: str) -> Receipt:
        """Give a paid receipt back; one that nobody paid is simply over. Raises `No`."""
        receipt = await self._book.change(_begin_cancel, receipt_id)
        if receipt.state != QUEUED:
            return receipt
        return await self.go_on(call, receipt_id)

    async def go_on(self, call: Call, receipt_id: str) -> Receipt:
        """Tell the merchant what it has not answered yet, and give the receipt as it is then. Raises `No`."""
        receipt = await self._book.change(find_receipt, receipt_id)
        if receipt.state in {DEBITED, CLOSING}:
            await self._perform(call, receipt)
        elif receipt.state == QUEUED:
            await self._return(call, receipt)
        return await self._book.change(find_receipt, receipt_id)

    async def _perform(self, call: Call, receipt: Receipt) -> None:
        heard = await self._tell(call, receipt, "perform", {"id": receipt.receipt_id})
        if _state(heard) == 2:
            await self._book.change(move_receipt, receipt.receipt_id, receipt.state, PAID)
            await self._book.change(move, receipt.receipt_id, "performed")
        elif _is_no(heard):
            await self._undo(call, receipt, receipt.state, _EXECUTION_FAILED)  # the money is not kept (5.3)
            raise No(-31623, "The merchant refused the payment")
        else:
            await self._book.change(move_receipt, receipt.receipt_id, receipt.state, CLOSING)

    async def _return(self, call: Call, receipt: Receipt) -> None:
        script = await self._script(call, receipt, "cancel")
        if script is not None and script.behaviour == "send_late":
            task = asyncio.create_task(self._return_late(receipt, 1.0 if script.seconds is None else script.seconds))
            self._later.add(task)
            task.add_done_callback(self._later.discard)
            return
        params = {"id": receipt.receipt_id, "reason": _REFUND}
        heard = await self._play(receipt, player.ACTS["cancel"].path, params, script)
        await self._note_return(receipt, heard)

    async def _return_late(self, receipt: Receipt, seconds: float) -> None:
        await asyncio.sleep(seconds)
        params = {"id": receipt.receipt_id, "reason": _REFUND}
        await self._note_return(receipt, await self._play(receipt, player.ACTS["cancel"].path, params, None))

    async def _note_return(self, receipt: Receipt, heard: Heard | None) -> None:
        if _state(heard) == -2:
            await self._book.change(move_receipt, receipt.receipt_id, QUEUED, CANCELLED)
            await self._book.change(move, receipt.receipt_id, "returned")
        elif _is_no(heard):
            await self._book.change(move_receipt, receipt.receipt_id, QUEUED, PAID)

    async def _must(self, call: Call, receipt: Receipt, act: str, params: dict[str, Any]) -> None:
        """A call without whose yes the receipt is over. Silence ends it too: nothing was debited."""
        heard = await self._tell(call, receipt, act, params)
        if _member(heard, "allow") is True or _state(heard) == 1:
            return
        await self._book.change(move_receipt, receipt.receipt_id, CREATING, CANCELLED)
        code = heard.error.get("code") if heard is not None and _is_no(heard) else -31622
        raise No(code if isinstance(code, int) else -31623, "The merchant does not take this payment")

    async def _undo(self, call: Call, receipt: Receipt, before: int, reason: int) -> None:
        """What was created is cancelled at the merchant, and the receipt is over."""
        heard = await self._tell(call, receipt, "cancel", {"id": receipt.receipt_id, "reason": reason})
        if _state(heard) == -1:
            await self._book.change(move, receipt.receipt_id, "cancelled")
        await self._book.change(move_receipt, receipt.receipt_id, before, CANCELLED)

    async def _tell(self, call: Call, receipt: Receipt, act: str, params: dict[str, Any]) -> Heard | None:
        script = await self._script(call, receipt, act)
        if script is not None and script.behaviour == "send_late":
            await asyncio.sleep(1.0 if script.seconds is None else script.seconds)
        return await self._play(receipt, player.ACTS[act].path, params, script)

    async def _script(self, call: Call, receipt: Receipt, act: str) -> Script | None:
        named = replace(call, key=receipt.receipt_id, now_us=now_us())
        return await self._book.change(_take, act, named)

    async def _play(self, receipt: Receipt, method: str, params: dict[str, Any], script: Script | None) -> Heard | None:
        """Make the call as it is scripted, again while there is no answer. None when the script keeps it from being sent."""
        behaviour = script.behaviour if script else None
        if behaviour == "not_sent" or self._endpoint is None:
            return None
        times = {"send_twice": 2, "send_at_once": _AT_ONCE}.get(behaviour or "", 1)
        if behaviour == "send_at_once":
            heard = (await asyncio.gather(*(self._send(receipt, method, params) for _ in range(times))))[-1]
        else:
            heard = [await self._send(receipt, method, params) for _ in range(times)][-1]
        for _ in range(_TRIES - 1):
            if _is_no(heard) or heard.result is not None:
                break
            await asyncio.sleep(_PAUSE_S)
            heard = await self._send(receipt, method, params)
        return heard

    async def _send(self, receipt: Receipt, method: str, params: dict[str, Any]) -> Heard:
        assert self._endpoint is not None
        if self._session is None:
            self._session = new_session()
        began = now_ms()
        try:
            heard = await asyncio.wait_for(send(self._session, self._endpoint, ask(method, params)), _LIMIT_S)
        except TimeoutError:
            heard = Heard(0, "", None, now_ms() - began, now_ms(), "no answer")
        await self._book.change(note_call, receipt.attempt, method, heard, "receipt")
        return heard


def _begin(tx: Tx, receipt_id: str, card: str) -> Receipt:
    if not move_receipt(tx, receipt_id, NEW, CREATING, card):
        find_receipt(tx, receipt_id)
        raise No(-31008, "The receipt is paid, cancelled or being paid", "id")
    return find_receipt(tx, receipt_id)


def _begin_cancel(tx: Tx, receipt_id: str) -> Receipt:
    receipt = find_receipt(tx, receipt_id)
    if receipt.state not in {NEW, PAID, QUEUED, CANCELLED}:
        raise No(-31007, "The receipt is being paid", "id")
    after = {NEW: CANCELLED, PAID: QUEUED}.get(receipt.state)
    if after is not None:
        move_receipt(tx, receipt_id, receipt.state, after)
    return find_receipt(tx, receipt_id)


def _take(tx: Tx, act: str, call: Call) -> Script | None:
    return take_script(tx, player.ACTS[act], call, repeated=False)


def _is_no(heard: Heard | None) -> bool:
    """A clear refusal; `try again` is none."""
    return heard is not None and heard.status == 200 and heard.error.get("code", _TEMPORARY) != _TEMPORARY


def _state(heard: Heard | None) -> Any:
    return _member(heard, "state")


def _member(heard: Heard | None, name: str) -> Any:
    return heard.result.get(name) if heard is not None and isinstance(heard.result, dict) else None
