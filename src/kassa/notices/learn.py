"""Ask the user service for a buyer's address and name (orders contract, section 7), after the order was placed and beside it.

It is asked with the caller's own token, which is never kept. Whatever goes wrong, the token's claims stand; it never decides who
somebody is.
"""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from kassa.kit.context import Context
from kassa.kit.errors import KassaError
from kassa.kit.neighbour import Answer, Neighbour
from kassa.notices import store
from kassa.notices.model import Contact, usable_email, usable_name
from kassa.notices.ways.way import Notifier

CALL_S = 1.0
_KEPT_S = 300.0
_MOST = 10_000


class Users:
    """The user service, and what it said within the last five minutes. One per process."""

    def __init__(self, neighbour: Neighbour, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._neighbour = neighbour
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Contact]] = OrderedDict()

    async def contact(self, buyer_id: str, token: str) -> Contact | None:
        """What the service says of a buyer; None when it says nothing that can be used."""
        at, known = self._known.get(buyer_id, (0.0, None))
        if known is not None and self._clock() - at < _KEPT_S:
            return known
        found = await self._ask(buyer_id, token)
        if found is not None:
            self._known[buyer_id] = (self._clock(), found)
            self._known.move_to_end(buyer_id)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return found

    async def _ask(self, buyer_id: str, token: str) -> Contact | None:
        if not buyer_id.strip("."):
            return None  # `..` would be a step in the path
        path = f"/api/users/{quote(buyer_id, safe='')}"
        bearer = {"Authorization": f"Bearer {token}"}
        try:
            answer = await self._neighbour.call("GET", path, act="user", timeout_s=CALL_S, headers=bearer)
        except KassaError:
            return None
        return _read(answer, buyer_id)


def learn(ctx: Context, merchant_id: str, order_id: uuid.UUID, contact: Contact, token: str) -> None:
    """Find out in the background where to write to about an order that was just placed. Does nothing without a user service."""
    users = ctx.ports.get(Notifier, Notifier()).users
    if users is not None and contact.buyer_id is not None:
        work = _learn(ctx, users, merchant_id, order_id, contact, token)
        ctx.background.spawn(work, name=f"whom to tell of order {order_id}")


async def _learn(ctx: Context, users: Users, merchant_id: str, order_id: uuid.UUID, contact: Contact, token: str) -> None:
    assert contact.buyer_id is not None
    said = await users.contact(contact.buyer_id, token)
    better = Contact(contact.buyer_id, said.email, said.name or usable_name(contact.name)) if said else None
    await store.update_recipient(ctx.db, ctx.keys, merchant_id, order_id, better)


def _read(answer: Answer, buyer_id: str) -> Contact | None:
    body: Mapping[str, Any] = answer.body or {}
    person = body.get("data") if "email" not in body else body
    if not answer.ok or not isinstance(person, dict) or str(person.get("id")) != buyer_id:
        return None
    email, name = (given if isinstance(given := person.get(member), str) else None for member in ("email", "name"))
    found = usable_email(email)
    return Contact(buyer_id, found, usable_name(name)) if found else None
