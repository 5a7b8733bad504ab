"""Another service asks for a payment under a key of its own, once for ever (gRPC contract, section 2).

The key is a unique column of the payment, so the claim, the effect and the answer are one row: a repeat finds the row and is told
the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from kassa import payments
from kassa.collect.model import PaymentMissing
from kassa.collect.rules import CollectRules
from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.database import Blocked, CommitUnknown, DatabaseAway
from kassa.kit.ids import unguessable
from kassa.kit.money import Money
from kassa.payments import Opening, requests
from kassa.payments.model import Asked, Payment

SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class KeyedWish:
    """A payment of `amount` for the caller's `order_id`; one `order_id` may have many, under different keys."""

    merchant_id: str
    amount: Money
    order_id: str
    key: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Keyed:
    """The first answer, whatever has happened since: the payment's id and when it was made."""

    payment_id: uuid.UUID
    created_at: datetime
    replayed: bool


async def request_by_key(ctx: Context, wish: KeyedWish) -> Keyed:
    """Make the payment of `wish.key`, or return what the key has got already.

    Raises `KeyReused` for another payload, `InProgress` when the first request is still running after a second.
    """
    payment_id = unguessable()
    opening, asked = _opening(ctx, wish, payment_id), _asked(ctx, wish)
    try:
        made_at = await requests.open_keyed(ctx.db, "collect.keyed", opening, asked, once.WAIT_S)
        if made_at is not None:
            return Keyed(payment_id, made_at, replayed=False)
    except Blocked:
        raise once.InProgress from None
    except CommitUnknown:
        if await requests.by_client_key(ctx.db, wish.merchant_id, wish.key) is None:
            raise DatabaseAway from None  # it did not happen: the same request may be sent again
    return await _known(ctx, wish, payment_id)


async def _known(ctx: Context, wish: KeyedWish, payment_id: uuid.UUID) -> Keyed:
    found = await requests.by_client_key(ctx.db, wish.merchant_id, wish.key)
    if found is None:
        raise once.InProgress
    first = await requests.details(ctx.db, wish.merchant_id, found.payment_id)
    same = Money(found.amount_minor, found.currency) == wish.amount and found.ref == wish.order_id
    if not same or first.metadata != _bytes_of(wish.metadata):
        raise once.KeyReused
    return Keyed(found.payment_id, found.created_at, replayed=found.payment_id != payment_id)


async def read_keyed(ctx: Context, merchant_id: str, payment_id: uuid.UUID, *, keyed_only: bool) -> tuple[Payment, str]:
    """A payment of a merchant, and the key that it was asked for under (empty for any other one). Raises `PaymentMissing`.

    `keyed_only`: a caller without credentials sees what was asked for by key, and nothing else (rulings, 37).
    """
    payment = await payments.find(ctx.db, merchant_id, payment_id)
    if payment is None or (keyed_only and payment.ref_kind != "grpc"):
        raise PaymentMissing
    if payment.ref_kind != "grpc":
        return payment, ""
    details = await requests.details(ctx.db, merchant_id, payment_id)
    return payment, details.client_key or ""


def _opening(ctx: Context, wish: KeyedWish, payment_id: uuid.UUID) -> Opening:
    rules = ctx.port(CollectRules)
    return Opening(
        merchant_id=wish.merchant_id,
        payment_id=payment_id,
        ref_kind="grpc",
        ref=wish.order_id,
        provider=rules.keyed_provider,
        method=rules.keyed_provider,
        amount=wish.amount,
        provider_key=f"{payment_id}:payment",
        script=_script(wish) if rules.keyed_provider == SIMULATED else None,
        expires_in=rules.link_ttl,
    )


def _asked(ctx: Context, wish: KeyedWish) -> Asked:
    rules = ctx.port(CollectRules)
    decided = rules.keyed_provider == SIMULATED and _script(wish) != "grpc:wait"
    return Asked(client_key=wish.key, metadata=_bytes_of(wish.metadata), look_in=timedelta() if decided else rules.link_ttl)


def _bytes_of(metadata: Mapping[str, str]) -> bytes:
    """The same bytes for the same entries, in whichever order they came."""
    return orjson.dumps(dict(metadata), option=orjson.OPT_SORT_KEYS)


def _script(wish: KeyedWish) -> str:
    wanted = wish.metadata.get("simulate")
    return f"grpc:{wanted}" if wanted in {"decline", "wait"} else "grpc"
