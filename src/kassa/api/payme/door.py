"""Payme's door: everything at `/payme/webhook` and below it, whatever the verb and the body, is answered here, with HTTP 200.

It stands before the layers that other surfaces share: no rate, no CORS and no 404 of theirs may answer in its place (Payme
specification, 2.1). The checks come in the order of 2.7, and what nobody foresaw is -32400.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from typing import IO, Final

from kassa.api.answers import Answer
from kassa.api.call import ROUTE, header
from kassa.api.errors import CallerGone
from kassa.api.limits import Proxies
from kassa.api.options import ASGIApp, PaymeOptions, Receive, Scope, Send
from kassa.api.payme.callers import AllowList, shows_key
from kassa.api.payme.methods import METHODS
from kassa.api.payme.reading import Asked, Malformed, id_in, read_call
from kassa.api.payme.verbs import Result, Verbs
from kassa.api.payme.words import FAILED, MALFORMED, NOT_ALLOWED, WRONG_VERB, Id, failed, succeeded
from kassa.collect.payme import Cashbox, PaymeRefusal
from kassa.kit import ids
from kassa.kit.context import Context, concerns
from kassa.kit.errors import Busy, Conflict, KassaError, Unknown

PATH: Final = "/payme/webhook"
HOUSE: Final = "1"

_log = logging.getLogger("kassa.payme")

_BODY_WITHIN_S = 30.0
_TIMES = 4
_AGAIN_WITHIN_S = 3.0
"""Nobody waits longer for a database that is away: Payme asks again by itself."""
_NAME = re.compile(r"[\x21-\x7e]{1,64}")


def merchant_of(path: str) -> str | None:
    """Whose cashbox an address means, the house's without a name; None for an address that is not Payme's."""
    if path in {PATH, f"{PATH}/"}:
        return HOUSE
    return path.removeprefix(f"{PATH}/").removesuffix("/") if path.startswith(f"{PATH}/") else None


class Door:
    """A layer: what is Payme's is answered here, everything else goes on."""

    def __init__(self, inner: ASGIApp, ctx: Context, options: PaymeOptions, proxies: Proxies, verbs: Verbs) -> None:
        self._inner = inner
        self._ctx = ctx
        self._longest = options.max_body_bytes
        self._allowed = AllowList(options.ip_allowlist)
        self._proxies = proxies
        self._verbs = verbs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        merchant_id = merchant_of(scope["path"])
        if merchant_id is None:
            await self._inner(scope, receive, send)
            return
        scope[ROUTE] = PATH if merchant_id == HOUSE else f"{PATH}/{{merchant_id}}"
        answer = await self._answer(scope, receive, merchant_id)
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, merchant_id: str) -> ASGIApp:
        if scope["method"] != "POST":
            return failed(None, WRONG_VERB)
        note = Note()
        raw = await read_body(scope, receive, self._longest)
        try:
            answer = await self._judge(scope, raw, merchant_id, note)
        except Exception as error:  # noqa: BLE001 - whatever it was, Payme must hear it in its own words and try again
            note.trouble(error)
            answer = failed(id_in(raw), FAILED)
        note.write()
        return answer

    async def _judge(self, scope: Scope, raw: bytes | None, merchant_id: str, note: Note) -> ASGIApp:
        box = await self._let_in(scope, merchant_id)
        if box is None:
            return note.refusal(id_in(raw), NOT_ALLOWED)
        concerns(merchant_id=box.merchant_id)
        if raw is None:
            return note.refusal(None, MALFORMED)
        try:
            asked = read_call(raw, METHODS)
            note.call(asked, box.account_field)
            return succeeded(asked.call_id, await self._conduct(asked, box))
        except Malformed as error:
            return note.refusal(error.call_id, error.number, error.data)
        except PaymeRefusal as refusal:
            return note.refusal(asked.call_id, refusal.number, refusal.data)

    async def _let_in(self, scope: Scope, merchant_id: str) -> Cashbox | None:
        """The cashbox whose key is shown, from an address that may call; else None."""
        if not self._allowed.has(self._proxies.address_of(scope)) or not _NAME.fullmatch(merchant_id):
            return None
        box = await self._verbs.cashbox_of(self._ctx, merchant_id)
        return box if box is not None and shows_key(scope, box.login, box.key) else None

    async def _conduct(self, asked: Asked, box: Cashbox) -> Result | IO[bytes]:
        """Call the verb. Every verb may be called again, so what another transaction spoiled, or hid, is tried a few times."""
        until = time.monotonic() + _AGAIN_WITHIN_S
        for left in reversed(range(_TIMES)):
            try:
                return await METHODS[asked.method](self._verbs, self._ctx, box, asked)
            except PaymeRefusal:
                raise
            except (Busy, Conflict, Unknown):
                if not left or time.monotonic() > until:
                    raise
            await asyncio.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - so that those who collided do not meet again
        raise AssertionError("the last attempt returns or raises")


class Note:
    """What is written to the log about one call: names and the outcome, never a key, a header or an amount."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._method = self._payme_id = self._order_id = "-"
        self._outcome: int | str = "ok"

    def call(self, asked: Asked, account_field: str) -> None:
        """What is asked, as far as it has the form of a name."""
        self._method = asked.method
        payme_id, account = asked.params.get("id"), asked.params.get("account")
        if isinstance(payme_id, str) and _NAME.fullmatch(payme_id):
            self._payme_id = payme_id
        order_id = account.get(account_field) if isinstance(account, dict) else None
        if isinstance(order_id, str) and ids.parse(order_id.strip().lower()):
            self._order_id = order_id.strip().lower()

    def refusal(self, call_id: Id, code: int, data: str | None = None) -> Answer:
        """The answer with this error, which is the outcome."""
        self._outcome = code
        return failed(call_id, code, data)

    def trouble(self, error: Exception) -> None:
        """What went wrong here. An error that we raise on purpose says it by its name, any other one is shown whole."""
        self._outcome = FAILED
        if isinstance(error, KassaError):
            _log.warning("payme: %s", type(error).__name__)
        else:
            _log.error("payme: a call ended unexpectedly", exc_info=error)

    def write(self) -> None:
        """One line."""
        said = {"method": self._method, "payme_id": self._payme_id, "order_id": self._order_id, "outcome": self._outcome}
        _log.info("payme", extra={**said, "ms": round((time.perf_counter() - self._began) * 1000, 2)})


async def read_body(scope: Scope, receive: Receive, longest: int) -> bytes | None:
    """The body; None for one of more than `longest` bytes, of which no more is kept, and nothing when it does not come in time.

    Raises `CallerGone`.
    """
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdecimal() and int(declared[:20]) > longest:
        return None
    parts, size = [], 0
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise CallerGone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > longest:
                    return None
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        return b""
