"""Acts that move no money: send a webhook or a message again, change stock, revoke a key, close a case."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter

from kassa import audit, cases, catalog, merchants, notices, orders, webhooks
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.cases import Case
from kassa.kit import ids, once
from kassa.kit.database import Tx
from kassa.kit.errors import Conflict
from kassa.kit.money import fixed_text
from kassa.merchants import ApiKey
from kassa.orders import Order
from kassa.pages.office.acts import Field, Mistake, Sheet, add, done, in_one, key_of, once_text, whole_of, why_of, within
from kassa.pages.office.session import Staff
from kassa.pages.options import PageOptions
from kassa.webhooks import Delivery, Endpoint

_MOST_ENDPOINTS = 100_000


class CaseClosed(Conflict):
    """This case is closed already."""

    code = "case_closed"


def router(options: PageOptions) -> APIRouter:
    """Their routes."""
    made = APIRouter(include_in_schema=False)
    add(made, options, Replay(options), ReplayAll(options), SendAgain(options), Stock(options), Revoke(options), Close(options))
    return made


class Replay:
    """Send a delivery to its endpoint again."""

    path, admin = "/office/deliveries/{delivery_id}/replay", False

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def look(self, call: Call, who: Staff) -> Delivery:
        """The delivery."""
        delivery_id = ids.parse(call.in_path["delivery_id"])
        found = await webhooks.delivery_anywhere(call.ctx.db, who.reach, delivery_id) if delivery_id else None
        if found is None:
            raise NotHere
        return found

    def sheet(self, found: Delivery) -> Sheet:
        """With its old id."""
        says = [
            "The same body is sent once more, now, with the same webhook-id: a merchant who has seen it drops it.",
            "It is outside the order of its subject; whatever waited behind it waits no more.",
        ]
        facts = [
            ("Event", found.event_type),
            ("About", found.subject),
            ("Status", found.status),
            ("Attempts", str(found.attempts)),
            ("Last answer", str(found.last_status_code or found.last_error or "none")),
        ]
        return Sheet("Send a delivery again", says, facts, "Send it again", f"/office/deliveries/{found.delivery_id}")

    async def act(self, call: Call, who: Staff, found: Delivery, sent: Mapping[str, str]) -> str:
        """Send it."""
        why, key = why_of(sent), _key(self._options, who, found.merchant_id, f"replay {found.delivery_id}", sent)

        async def work(tx: Tx) -> str:
            after = await webhooks.replay_delivery(
                tx, found.merchant_id, found.endpoint_id, found.delivery_id, hidden=True, hand=who.hand(self._options, why)
            )
            how = "sending" if after.status == "processing" else "sent"
            return done("replay", how, f"/office/deliveries/{found.delivery_id}")

        return await in_one(call.ctx, "webhooks.replay", key, work)


class ReplayAll:
    """Send all failed deliveries of an endpoint again."""

    path, admin = "/office/endpoints/{endpoint_id}/replay", False

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def look(self, call: Call, who: Staff) -> Endpoint:
        """The endpoint."""
        endpoint_id = ids.parse(call.in_path["endpoint_id"])
        listed = await webhooks.all_endpoints(call.ctx.db, who.reach, _MOST_ENDPOINTS)
        found = next((each for each in listed if each.endpoint_id == endpoint_id), None)
        if found is None:
            raise NotHere
        return found

    def sheet(self, found: Endpoint) -> Sheet:
        """All of them."""
        says = ["Every delivery of this endpoint that ended as failed is sent again, with its old id. Workers send them."]
        facts = [("Merchant", found.merchant_id), ("Address", found.url), ("Status", found.status)]
        return Sheet("Send all failed deliveries again", says, facts, "Send them again", f"/office/endpoints/{found.endpoint_id}")

    async def act(self, call: Call, who: Staff, found: Endpoint, sent: Mapping[str, str]) -> str:
        """Send them. Repeated, nothing has failed any more: what was sent meanwhile and failed again is sent again."""
        hand = who.hand(self._options, why_of(sent))
        await webhooks.replay_range(call.ctx, found.merchant_id, found.endpoint_id, "failed", hidden=True, hand=hand)
        return done("replay-all", "sent", f"/office/endpoints/{found.endpoint_id}")


@dataclass(frozen=True, slots=True)
class Told:
    """A message to a buyer, by its order and its event."""

    order: Order
    event_id: uuid.UUID
    type: str
    status: str


class SendAgain:
    """Send a message to a buyer once more."""

    path, admin = "/office/notices/{key}/send", False

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def look(self, call: Call, who: Staff) -> Told:
        """The message: `<order_id>:<event_id>`."""
        first, _, second = call.in_path["key"].partition(":")
        order_id, event_id = ids.parse(first), ids.parse(second)
        merchant_id = within(who, await orders.merchant_of(call.ctx.db, order_id) if order_id else None)
        order = await orders.find(call.ctx.db, merchant_id, order_id) if order_id else None
        told = await notices.notices_of(call.ctx.db, merchant_id, [order_id]) if order_id else []
        found = next((each for each in told if each.event_id == event_id), None)
        if order is None or found is None:
            raise NotHere
        return Told(order, found.event_id, found.type, found.status)

    def sheet(self, found: Told) -> Sheet:
        """As another message."""
        says = ["The buyer gets the same message as a new one, to the address that is kept with the order."]
        facts = [("Order", found.order.order_number), ("Message", found.type.replace("_", " ")), ("Status", found.status)]
        return Sheet("Send a message once more", says, facts, "Send it", f"/office/orders/{found.order.order_id}")

    async def act(self, call: Call, who: Staff, found: Told, sent: Mapping[str, str]) -> str:
        """Send it."""
        order, hand = found.order, who.hand(self._options, why_of(sent))
        key = _key(self._options, who, order.merchant_id, f"send {order.order_id}:{found.event_id}", sent)

        async def work(tx: Tx) -> str:
            await notices.send_again(tx, hand, order.merchant_id, order.order_id, found.event_id)
            return done("send", "sent", f"/office/orders/{order.order_id}")

        return await in_one(call.ctx, "notices.again", key, work)


class Stock:
    """Change what is on hand of a product."""

    path, admin = "/office/products/{channel}/{product_id}/stock", True

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def look(self, call: Call, who: Staff) -> tuple[catalog.Channel, catalog.Offer]:
        """The product in its channel of the house."""
        if call.in_path["channel"] not in call.ctx.port(catalog.Sources).by_channel:
            raise NotHere
        try:
            channel = await catalog.channel_of(call.ctx, who.merchant_id, call.in_path["channel"])
            return channel, await catalog.offer_of(call.ctx, channel, call.in_path["product_id"])
        except catalog.UnknownProduct:
            raise NotHere from None

    def sheet(self, found: tuple[catalog.Channel, catalog.Offer]) -> Sheet:
        """More or less."""
        channel, offer = found
        can = "nobody counts it here" if offer.stock is None else str(offer.stock)
        facts = [("Product", offer.name), ("Channel", channel.channel), ("Can be bought now", can)]
        says = [
            "The number is added to what is on hand: 5 for five more, -2 for two that are gone. It is noted in the stock journal.",
            "What is reserved for open checkouts stays reserved: less than that cannot be left.",
        ]
        fields = [Field("change", "Change, in pieces", "text", required=True, most=10)]
        return Sheet("Change the stock", says, facts, "Change it", f"/office/products/{channel.channel}/{offer.product_id}", fields)

    async def act(self, call: Call, who: Staff, found: tuple[catalog.Channel, catalog.Offer], sent: Mapping[str, str]) -> str:
        """Change it."""
        (channel, offer), change, why = found, whole_of(sent, "change"), why_of(sent)
        if not change:
            raise Mistake("change", "Write a number of pieces, such as 5 or -2.")
        about = f"product:{channel.channel}:{offer.product_id}"
        key = _key(self._options, who, channel.merchant_id, f"stock {about}", sent)

        async def work(tx: Tx) -> str:
            await catalog.adjust(tx, channel.merchant_id, channel.channel, offer.product_id, change, f"office:{key.key}")
            audit.note(tx, who.hand(self._options, why), channel.merchant_id, "stock.adjust", about, change=change)
            return done("stock", "changed", f"/office/products/{channel.channel}/{offer.product_id}")

        return await in_one(call.ctx, "catalog.adjust", key, work)


class Revoke:
    """Revoke an API key."""

    path, admin = "/office/keys/{key_id}/revoke", True

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def look(self, call: Call, who: Staff) -> ApiKey:
        """The key."""
        key_id = ids.parse(call.in_path["key_id"])
        found = await merchants.key_anywhere(call.ctx.db, who.reach, key_id) if key_id else None
        if found is None:
            raise NotHere
        return found

    def sheet(self, found: ApiKey) -> Sheet:
        """For good."""
        says = ["The key is refused from the next request on. It cannot be given back its life; a new one can be made."]
        facts = [("Merchant", found.merchant_id), ("Key", f"{found.name} ({found.prefix}…)"), ("May", ", ".join(found.scopes))]
        return Sheet("Revoke a key", says, facts, "Revoke it", f"/office/merchants/{found.merchant_id}")

    async def act(self, call: Call, who: Staff, found: ApiKey, sent: Mapping[str, str]) -> str:
        """Revoke it."""
        why, key = why_of(sent), _key(self._options, who, found.merchant_id, f"revoke {found.key_id}", sent)

        async def work(tx: Tx) -> str:
            revoked = await merchants.revoke_key(tx, found.merchant_id, found.key_id)
            if revoked:
                audit.note(tx, who.hand(self._options, why), found.merchant_id, "key.revoke", f"key:{found.key_id}")
            return done("revoke", "revoked" if revoked else "before", f"/office/merchants/{found.merchant_id}")

        return await in_one(call.ctx, "api_keys.revoke", key, work)


class Close:
    """Close a case by a person's word."""

    path, admin = "/office/cases/{case_id}/close", True

    def __init__(self, options: PageOptions) -> None:
        self._options = options

    async def look(self, call: Call, who: Staff) -> Case:
        """The case."""
        case_id = ids.parse(call.in_path["case_id"])
        found = await cases.find_case(call.ctx.db, case_id) if case_id else None
        within(who, found.merchant_id if found else None)
        if found is None:
            raise NotHere
        return found

    def sheet(self, found: Case) -> Sheet:
        """Only the list changes."""
        total = (
            ""
            if found.amount_minor is None or not found.currency
            else f"{fixed_text(found.amount_minor, found.currency)} {found.currency}"
        )
        facts = [("Case", found.kind.replace("_", " ")), ("About", found.subject), ("Sum", total or "none")]
        facts.append(("Last answer", found.last_answer or "none"))
        says = ["It changes nothing but the list: do what the case asks for first, then say what was decided."]
        return Sheet(
            "Close a case", says, facts, "Close it", f"/office/cases/{found.case_id}", why="What was decided and done. It is kept"
        )

    async def act(self, call: Call, who: Staff, found: Case, sent: Mapping[str, str]) -> str:
        """Close it."""
        why, key = why_of(sent), _key(self._options, who, found.merchant_id, f"close {found.case_id}", sent)

        async def work(tx: Tx) -> str:
            if await cases.close_case(tx, found.merchant_id, found.case_id, why) is None:
                raise CaseClosed
            facts = {"kind": found.kind, "about": found.subject}
            audit.note(tx, who.hand(self._options, why), found.merchant_id, "case.close", f"case:{found.case_id}", **facts)
            return done("close", "closed", f"/office/cases/{found.case_id}")

        return await in_one(call.ctx, "cases.close", key, work)


def _key(options: PageOptions, who: Staff, merchant_id: str, act: str, sent: Mapping[str, str]) -> once.Key:
    return key_of(options.keys, merchant_id, who.name, act, sent, once_text(sent))
