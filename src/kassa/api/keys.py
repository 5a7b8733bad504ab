"""`Idempotency-Key` at the door: a key in its scope, and routes whose whole effect is one transaction.

The payload of a key is a keyed hash of what was asked: path, query and body. A surface replaces the card number by its own keyed
fingerprint and leaves the security code out before it comes here.
"""

from __future__ import annotations

import asyncio
import decimal
import json
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson

from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.shop import MERCHANT
from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.database import Broken, CommitUnknown, DatabaseAway, Tx
from kassa.kit.errors import KassaError
from kassa.kit.secrets import Keys

DAY = timedelta(hours=24)
MONTH = timedelta(days=30)
REPLAYED = (b"idempotent-replayed", b"true")

_POLL_S = 0.05
_WIDE = 40
_EXACTLY = decimal.Context(prec=1000)

Fingerprint = Callable[[bytes], bytes]
Said = Callable[[Fingerprint], tuple[str, Any]]
Work = Callable[[Tx], Awaitable[Answer]]


def given_key(call: Call) -> str | None:
    """The key that the caller sent, or None. Raises `InvalidKey`."""
    return once.read_header(call.header(b"idempotency-key"))


def key_for(call: Call, key: str | None, caller: str, body: Any, keep: timedelta = DAY) -> once.Key | None:
    """`key` in its scope: the house merchant, `caller`, method and route. `body` holds no secret any more."""
    return key_of(call, key, lambda _: (caller, body), keep)


def key_of(call: Call, key: str | None, said: Said, keep: timedelta, merchant_id: str = MERCHANT) -> once.Key | None:
    """`key` for a body with a card: `said` gives caller and body with every secret replaced by a fingerprint of the given kind.

    While `KASSA_SECRET` is being replaced the key is known under both secrets.
    """
    if key is None:
        return None
    query = call.scope.get("query_string", b"").decode("latin-1")

    def under(keys: Keys, before: once.Key | None) -> once.Key:
        caller, body = said(keys.fingerprint)
        payload = keys.fingerprint(canonical({"path": call.in_path, "query": query, "body": body}))
        return once.Key(merchant_id, caller, call.operation, key, payload, keep, before)

    old = call.ctx.keys.before
    return under(call.ctx.keys, under(old, None) if old else None)


def canonical(value: Any) -> bytes:
    """The same bytes for the same JSON value, however it was written: `99.90` is `99.9`, and members have no order."""
    try:
        return orjson.dumps(value, default=_number, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a whole number of more than 64 bits
        return json.dumps(value, default=str, sort_keys=True).encode()


def replay(status: int, body: bytes) -> Answer:
    """A first answer, once more."""
    return Answer(status, body, (REPLAYED,))


async def once_in(ctx: Context, name: str, key: once.Key | None, work: Work) -> Answer:
    """Do `work` in one transaction called `name`; with a key, once: the claim, the effect and the answer commit together.

    A repeat gets the first answer. Raises `KeyReused`; `InProgress` when the first is still running after one second; what
    `work` raises undoes everything, the claim too. When it cannot be said whether a commit happened, the key tells it.
    """
    if key is None:
        async with ctx.db.transaction(name) as tx:
            return await work(tx)
    end = time.monotonic() + once.WAIT_S
    torn: CommitUnknown | None = None
    while True:
        try:
            found, answer = await _attempt_twice(ctx, name, key, work)
        except CommitUnknown as error:
            if torn is not None:
                raise
            torn = error
            continue
        except DatabaseAway:
            if torn is not None:
                raise torn from None  # the first commit may have happened: nobody may say that nothing was written
            raise
        if answer is not None:
            return answer
        if found is not None and found.state == "done":
            return _unpack(found, replayed=torn is None)
        if time.monotonic() >= end:
            raise once.InProgress
        await asyncio.sleep(_POLL_S)


async def _attempt_twice(ctx: Context, name: str, key: once.Key, work: Work) -> tuple[once.Found | None, Answer | None]:
    """`_attempt`, once more when its connection broke before anything was written."""
    try:
        return await _attempt(ctx, name, key, work)
    except Broken:
        return await _attempt(ctx, name, key, work)


async def _attempt(ctx: Context, name: str, key: once.Key, work: Work) -> tuple[once.Found | None, Answer | None]:
    """One transaction: the answer of the work that was done now, or what an earlier one left."""
    async with ctx.db.transaction(name) as tx:
        found = await once.claim(tx, ctx.keys, key)
        if found is not None:
            return found, None
        answer = await work(tx)
        await once.answer(tx, ctx.keys, key, answer.status, _pack(answer))
        return None, answer


async def first_answer(ctx: Context, key: once.Key | None) -> Answer | None:
    """The stored answer of a route of `once_in`, if there is one: asked where something fails before its transaction."""
    if key is None:
        return None
    found = await once.find(ctx.db, ctx.keys, key)
    return _unpack(found, replayed=True) if found is not None and found.state == "done" else None


async def or_first_answer(ctx: Context, key: once.Key | None, error: KassaError) -> Answer:
    """The stored answer where there is one; else raises `error`, with which the preparation of a route failed."""
    answer = await first_answer(ctx, key)
    if answer is None:
        raise error
    return answer


def _pack(answer: Answer) -> bytes:
    # The version of the cart belongs to the answer and must be the same when it is repeated: it stands before the body.
    return dict(answer.headers).get(b"etag", b"") + b"\n" + answer.body


def _unpack(found: once.Found, *, replayed: bool) -> Answer:
    etag, _, body = (found.body or b"\n").partition(b"\n")
    tag = ((b"etag", etag),) if etag else ()
    return Answer(found.status or 200, body, (*tag, REPLAYED) if replayed else tag)


def _number(value: Any) -> Any:
    if not isinstance(value, Decimal):
        raise TypeError
    if value == value.to_integral_value() and value.adjusted() < _WIDE:
        whole = int(value)
        return whole if abs(whole) < 2**63 else str(whole)
    return orjson.Fragment(str(value.normalize(_EXACTLY)))
