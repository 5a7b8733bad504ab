"""The door of the stand-in: JSON-RPC in a POST, `X-Auth`, HTTP 200 whatever comes of it (12.1), and scripted faults as everywhere.

A script matches by `key`: the id of a receipt, or, while it is made, the value of its account.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from kassa.sandbox.behaviours import BEFORE, fail_before, play_after
from kassa.sandbox.book import Book, log_call, now_us
from kassa.sandbox.model import Act, Call, Played, Reply, Script, Tx, say
from kassa.sandbox.payme.wire import Endpoint
from kassa.sandbox.payme_api.asked import ASKED, OPEN
from kassa.sandbox.payme_api.book import No
from kassa.sandbox.payme_api.merchant import Merchant
from kassa.sandbox.scripts import take_script

SERVICE = "payme-api"
_PAY, _CANCEL = "receipts.pay", "receipts.cancel"
_GOES_ON = frozenset({"receipts.check", "receipts.get"})


def _is_not_an_act(_tx: Tx, _call: Call) -> Reply:
    return say(404, {"detail": "Not found"})


def _declined(error: str, message: str) -> dict[str, Any]:
    return {"code": -31630, "message": message or error}


ACTS = tuple(
    Act(SERVICE, name, "POST", "", _is_not_an_act, _declined if name == _PAY else None) for name in (*ASKED, _PAY, _CANCEL)
)
"""What can be scripted. All have one address: the method stands in the body."""
_BY_NAME = {act.name: act for act in ACTS}


@dataclass(frozen=True, slots=True)
class Desk:
    """A route that plays its own answer, because it must call others before. `path` stands below `/sandbox/<service>`."""

    method: str
    path: str
    do: Callable[[Call], Awaitable[Played]]


class Clerk:
    """Payme's API over one book. Without an endpoint nobody is let in."""

    def __init__(self, book: Book, endpoint: Endpoint | None) -> None:
        self._book, self._endpoint = book, endpoint
        self._merchant = Merchant(book, endpoint)
        self.desks = (Desk("POST", "", self.answer),)

    async def stop(self) -> None:
        """Close the connections. A second time does nothing."""
        await self._merchant.stop()

    async def answer(self, call: Call) -> Played:
        """One call, as it is scripted."""
        fields = call.fields
        name, params = str(fields.get("method")), fields.get("params")
        params = params if isinstance(params, dict) else {}
        call = replace(call, key=_key(params), now_us=now_us())
        act = _BY_NAME.get(name)
        script = await self._book.change(_take, act, call) if act else None
        if script is not None and script.behaviour in BEFORE:
            cut = script.behaviour == "cut"
            return await self._played(Played(fail_before(script, call.key), 0, cut=cut), call, name, script)
        late = script is not None and script.behaviour in {"late", "decline"} and script.seconds
        if late:
            await asyncio.sleep(late)
        try:
            result = await self._do(name, call, params, script)
            body = {"jsonrpc": "2.0", "id": fields.get("id"), "result": result}
        except No as no:
            error = {"code": no.code, "message": no.message, "data": no.data}
            body = {"jsonrpc": "2.0", "id": fields.get("id"), "error": error}
        played = play_after(script, say(200, body), 0)
        return await self._played(replace(played, wait=0.0) if late else played, call, name, script)

    async def _do(self, name: str, call: Call, params: dict[str, Any], script: Script | None) -> Any:
        if call.body is None:
            raise No(-32700, "The body is not JSON")
        if not self._lets_in(call.headers.get("x-auth", ""), name):
            raise No(-32504, "Access denied")
        if name not in _BY_NAME:
            raise No(-32601, "Method not found", name)
        receipt_id = str(params.get("id"))
        if name == _PAY:
            declines = script is not None and script.behaviour == "decline"
            declined = (script.message or script.error or "Insufficient funds") if declines and script else None
            return {"receipt": (await self._merchant.pay(call, receipt_id, params.get("token"), declined=declined)).shown()}
        if name == _CANCEL:
            return {"receipt": (await self._merchant.cancel(call, receipt_id)).shown()}
        if name in _GOES_ON:
            await self._merchant.go_on(call, receipt_id)
        return await self._book.change(ASKED[name], params)

    def _lets_in(self, header: str, name: str) -> bool:
        """The key of the cashbox for everything but what browsers call. Which cashbox it is nobody looks at."""
        if self._endpoint is None:
            return False
        cashbox_id, _, key = header.partition(":")
        right = hmac.compare_digest(key.encode(), self._endpoint.key.encode())
        return bool(cashbox_id) and (right or (name in OPEN and not key))

    async def _played(self, played: Played, call: Call, name: str, script: Script | None) -> Played:
        answered = "cut" if played.cut else str(played.reply.status)
        behaviour = script.behaviour if script else None
        return replace(played, call_id=await self._book.change(log_call, call, SERVICE, name, behaviour, answered))


def _key(params: dict[str, Any]) -> str | None:
    """What scripts and the log of calls know a call by; never a token or a card."""
    if isinstance(params.get("id"), str):
        return str(params["id"])
    account = params.get("account")
    values = [value for value in account.values() if isinstance(value, str)] if isinstance(account, dict) else []
    return values[0] if values else None


def _take(tx: Tx, act: Act, call: Call) -> Script | None:
    return take_script(tx, act, call, repeated=False)
