"""Merchants who are told by webhook and buyers who are told by letter, and at which points the process dies meanwhile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests import rig

from .asking import Ask, Mends, PaysAt, Tale, Until
from .merchants import KEY
from .stories import Buyer, Story, around, calling

ENDPOINTS = "/api/v1/webhook-endpoints"
NOTHING_OWED = """
    SELECT 1 WHERE NOT EXISTS (SELECT FROM deliveries WHERE merchant_id = $1 AND status NOT IN ('success', 'failed'))
"""
NO_LETTER_OWED = """
    SELECT 1 WHERE NOT EXISTS (SELECT FROM notices n JOIN checkouts c USING (merchant_id, order_id)
                                WHERE n.status = 'pending' AND (c.idempotency->>'key' = $1 OR c.buyer_id = $2))
"""
DISABLED = "SELECT 1 FROM endpoints WHERE merchant_id = $1 AND url LIKE $2 AND status = 'disabled'"


def has_endpoint(buyer: Buyer, kind: str = "ok", key: str = "", **body: Any) -> Any:
    """Make an endpoint, or find it where a former life made it. Its secret is told once at most."""
    url, api_key = buyer.hook(kind), key or buyer.shop_key
    ask = Ask(
        "POST", ENDPOINTS, {"url": url, "events": ["*"], **body}, api_key=api_key, once=buyer.key(f"endpoint-{kind}")
    )  # fmt: skip
    yield from _secret_once(ask, 201)
    listed = (yield Ask("GET", ENDPOINTS, api_key=api_key)).json["items"]
    assert not any("secret" in each for each in listed), listed
    (mine,) = [each for each in listed if each["url"] == url]
    return f"{ENDPOINTS}/{mine['endpoint_id']}"


def _secret_once(ask: Ask, status: int) -> Any:
    said = yield ask
    assert said.status == status or said.json["code"] == "already_answered", said.raw
    said = yield ask
    assert said.status == 409, said.raw
    assert said.json["code"] == "already_answered", said.raw
    assert b"whsec_" not in said.raw


def does(buyer: Buyer, path: str, word: str = "", body: Any = None, good: int = 200, method: str = "POST") -> Any:
    """An act of the merchant's, with a key where a `word` for it is given."""
    ask = Ask(method, path, body, buyer.key(word) if word else None, api_key=buyer.shop_key, good=(good,))
    said = yield ask
    assert said.status == good, said.raw
    return said


def all_arrived(buyer: Buyer) -> Until:
    return Until(NOTHING_OWED, (buyer.merchant,))


# ── endpoints ────────────────────────────────────────────────────────────────────────────────────────────────────────


def merchant_keeps_an_endpoint(buyer: Buyer) -> Tale:
    endpoint = yield from has_endpoint(buyer)
    yield from does(buyer, endpoint, "change", {"description": "the books", "events": ["endpoint.*"]}, method="PATCH")
    yield from _secret_once(
        Ask("POST", f"{endpoint}/rotate-secret", {"overlap_s": 60}, api_key=buyer.shop_key, once=buyer.key("rotate")), 200
    )
    yield from does(buyer, f"{endpoint}/test", good=202)
    yield from does(buyer, f"{endpoint}/disable", "disable")
    said = yield from does(buyer, f"{endpoint}/enable", "enable")
    assert said.json["description"] == "the books", said.raw


def merchant_deletes_an_endpoint(buyer: Buyer) -> Tale:
    endpoint = yield from has_endpoint(buyer, "ok", description="not for long")
    yield from does(buyer, f"{endpoint}/test", good=202)
    said = yield Ask("DELETE", endpoint, api_key=buyer.shop_key)
    assert said.status in {204, 404}, said.raw  # 404: deleted by the life before


def merchant_reads_the_feed(buyer: Buyer) -> Tale:
    endpoint = yield from has_endpoint(buyer)
    yield from does(buyer, f"{endpoint}/test", good=202)
    items: list[Any] = []
    while not items:
        said = yield Ask("GET", "/api/v1/events", api_key=buyer.shop_key)
        items = said.json["items"]
    assert items[0]["type"] == "test.ping", said.raw


def one_endpoint(server: rig.Server, buyer: Buyer) -> list[str]:
    rows = server.sql("SELECT status, deleted_at FROM endpoints WHERE merchant_id = $1", buyer.merchant)
    return [] if [(row["status"], row["deleted_at"]) for row in rows] == [("enabled", None)] else [f"endpoints: {rows}"]


def none_any_more(server: rig.Server, buyer: Buyer) -> list[str]:
    ends = "SELECT d.status, d.last_error, p.deleted_at FROM endpoints p LEFT JOIN deliveries d USING (merchant_id, endpoint_id)"
    rows = server.sql(f"{ends} WHERE merchant_id = $1", buyer.merchant)
    ended = {("failed", "endpoint_deleted"), ("success", None)}  # it was told before it was deleted by the next life
    alive = [row for row in rows if row["deleted_at"] is None or (row["status"], row["last_error"]) not in ended]
    return [f"endpoints: {alive}"] if alive or not rows else []


KEPT = (
    Story(
        "a merchant keeps an endpoint",
        merchant_keeps_an_endpoint,
        around(
            "webhooks.create",
            "webhooks.change",
            "webhooks.rotate",
            "webhooks.test",
            "webhooks.switch",
            "webhooks.switch#2",
            "webhooks.follow",
        ),
        buys=False,
        after=one_endpoint,
    ),
    Story(
        "a merchant deletes an endpoint",
        merchant_deletes_an_endpoint,
        around("webhooks.delete", "webhooks.follow"),
        buys=False,
        after=none_any_more,
    ),
    Story("a merchant reads the feed", merchant_reads_the_feed, around("events.place"), buys=False, after=one_endpoint),
)


# ── deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _is_paid(buyer: Buyer) -> Any:
    body = {"order_id": f"W-{buyer.number}", "amount": 2, "price": "100.00", "alias": "stripe"}
    said = yield Ask("POST", "/api/v1/payments", body, buyer.key("ask"), api_key=buyer.shop_key)
    assert said.status == 200, said.raw
    payment = f"/api/v1/payments/{said.json['payment_id']}"
    yield PaysAt(said.json["payment_url"])
    while (yield Ask("GET", f"{payment}/show", api_key=buyer.shop_key)).json["status"] != 2:
        pass
    return payment


def _is_ordered(buyer: Buyer) -> Any:
    yield buyer.puts("prod_001", 2)
    said = yield buyer.orders()
    assert said.status == 201, said.raw
    order = said.json["data"]["id"]
    while (yield Ask("GET", f"/api/orders/{order}", None, None, buyer.user)).json["data"]["status"] == "pending":
        pass
    return order


def merchant_is_told_of_a_payment(buyer: Buyer) -> Tale:
    yield from has_endpoint(buyer)
    payment = yield from _is_paid(buyer)
    yield from does(buyer, f"{payment}/refunds", "back", {}, good=201)
    while (yield Ask("GET", f"{payment}/show", api_key=buyer.shop_key)).json["refunded"] != "100.00":
        pass
    yield all_arrived(buyer)


def merchant_fails_first(buyer: Buyer) -> Tale:
    endpoint = yield from has_endpoint(buyer, "fails")
    for _ in range(2):
        yield from does(buyer, f"{endpoint}/test", good=202)
    yield all_arrived(buyer)


def merchant_is_gone(buyer: Buyer) -> Tale:
    """Until the shop's server is mended; another of the merchant's servers hears of it."""
    endpoint = yield from has_endpoint(buyer, "gone")
    yield from has_endpoint(buyer, "ok")
    yield from does(buyer, f"{endpoint}/test", good=202)
    yield Until(DISABLED, (buyer.merchant, "%/gone/%"))
    yield Mends(buyer.hook("gone"))
    yield from does(buyer, f"{endpoint}/enable", "enable")
    yield all_arrived(buyer)


def merchant_is_told_again(buyer: Buyer) -> Tale:
    endpoint = yield from has_endpoint(buyer)
    yield from does(buyer, f"{endpoint}/test", good=202)
    yield all_arrived(buyer)
    said = yield Ask("GET", f"{endpoint}/deliveries", api_key=buyer.shop_key)
    delivery = said.json["items"][0]["delivery_id"]
    yield from does(buyer, f"{endpoint}/deliveries/{delivery}/replay", "again", good=202)
    yield all_arrived(buyer)
    yield from does(buyer, f"{endpoint}/replay", body={"status": "success"}, good=202)
    yield all_arrived(buyer)


def shop_is_told_of_an_order(buyer: Buyer) -> Tale:
    """The shop's own endpoint is one for all buyers: the first who needs it makes it."""
    first = replace(buyer, number=0)
    yield from has_endpoint(first, "ok", KEY, events=["order.*"])
    order = yield from _is_ordered(buyer)
    for status in ("processing", "shipped", "delivered"):
        said = yield buyer.moves(order, status, "staff")
        assert said.status == 200, said.raw
    yield Until(NOTHING_OWED, ("1",))


def told_twice_and_more(server: rig.Server, buyer: Buyer) -> list[str]:
    rows = server.sql("SELECT attempts, status FROM deliveries WHERE merchant_id = $1", buyer.merchant)
    return [] if any(row["attempts"] >= 3 for row in rows) else [f"deliveries: {rows}"]


def says_who_is_gone(server: rig.Server, buyer: Buyer) -> list[str]:
    rows = server.sql("SELECT data FROM events WHERE merchant_id = $1 AND type = 'endpoint.disabled'", buyer.merchant)
    return [] if [row["data"]["disabled_reason"] for row in rows] == ["gone"] else [f"events: {rows}"]


TOLD = (
    Story(
        "a merchant is told of a payment",
        merchant_is_told_of_a_payment,
        (
            *around("webhooks.claim", "webhooks.claim#2", "webhooks.note", "webhooks.note#3", "events.pass"),
            *calling("webhook", "webhook#3"),
        ),
        word="dev",
        buys=False,
    ),
    Story(
        "a merchant fails first",
        merchant_fails_first,
        (*around("webhooks.note", "webhooks.claim#2"), *calling("webhook#2")),
        word="dev",
        buys=False,
    ),
)
TOLD_AGAIN = (
    Story(
        "a merchant is gone",
        merchant_is_gone,
        (*around("webhooks.note", "webhooks.follow", "webhooks.switch"), "webhook:after_call"),
        word="dev",
        buys=False,
        after=says_who_is_gone,
    ),
    Story(
        "a merchant is told again",
        merchant_is_told_again,
        (*around("webhooks.replay", "webhooks.replay#2"), *calling("webhook#2")),
        word="dev",
        buys=False,
        after=told_twice_and_more,
    ),
    Story(
        "a shop is told of an order",
        shop_is_told_of_an_order,
        (*around("webhooks.note#2"), *calling("webhook#2")),
        word="dev",
    ),
)


# ── an endpoint that is given up, and the operator's own ─────────────────────────────────────────────────────────────


def merchant_never_answers(buyer: Buyer) -> Tale:
    """For five days: then its server is mended, and what it missed is sent again."""
    endpoint = yield from has_endpoint(buyer, "dead")
    yield from has_endpoint(buyer, "ok")
    yield from does(buyer, f"{endpoint}/test", good=202)
    yield Until(DISABLED, (buyer.merchant, "%/dead/%"))
    yield Mends(buyer.hook("dead"))
    yield from does(buyer, f"{endpoint}/enable", "enable")
    yield from does(buyer, f"{endpoint}/replay", body={"status": "failed"}, good=202)
    yield all_arrived(buyer)


def says_who_fails(server: rig.Server, buyer: Buyer) -> list[str]:
    rows = server.sql("SELECT data FROM events WHERE merchant_id = $1 AND type = 'endpoint.disabled'", buyer.merchant)
    return [] if [row["data"]["disabled_reason"] for row in rows] == ["failing"] else [f"events: {rows}"]


def merchant_without_an_endpoint(buyer: Buyer) -> Tale:
    yield Until("SELECT 1 FROM endpoints WHERE merchant_id = $1 AND hidden", (buyer.merchant,))
    yield from _is_paid(buyer)
    yield all_arrived(buyer)


def one_hidden_endpoint(server: rig.Server, buyer: Buyer) -> list[str]:
    hidden = "SELECT url FROM endpoints WHERE merchant_id = $1 AND hidden AND deleted_at IS NULL"
    told = "SELECT status FROM deliveries WHERE merchant_id = $1 AND event_type = 'payment.paid'"
    rows, paid = server.sql(hidden, buyer.merchant), server.sql(told, buyer.merchant)
    return [] if len(rows) == 1 and [row["status"] for row in paid] == ["success"] else [f"{rows}, {paid}"]


FAILING = (
    Story(
        "a merchant never answers",
        merchant_never_answers,
        ("webhooks.note:after_commit#10",),
        word="dev",
        buys=False,
        after=says_who_fails,
    ),
)
OPERATORS = (
    Story(
        "a merchant has no endpoint",
        merchant_without_an_endpoint,
        around("webhooks.callback", "webhooks.callback#3"),
        word="dev",
        buys=False,
        after=one_hidden_endpoint,
    ),
)


# ── through the broker ───────────────────────────────────────────────────────────────────────────────────────────────

RELAYED = (
    Story(
        "a merchant is told through the broker",
        merchant_is_told_of_a_payment,
        (
            *around("events.lead"),
            "relay:before_call",
            *around("webhooks.claim", "webhooks.note#2"),
            *calling("webhook"),
            "relay:after_call",
            *around("events.relayed"),
            "acknowledge:before_call",
        ),
        word="dev",
        buys=False,
    ),
    Story(
        "a merchant fails first, through the broker",
        merchant_fails_first,
        around("webhooks.queue", "webhooks.queue#2"),
        word="dev",
        buys=False,
    ),
)


# ── letters ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _its_letters(buyer: Buyer) -> Until:
    return Until(NO_LETTER_OWED, (buyer.key("checkout"), str(buyer.user)))


def guest_gets_letters(buyer: Buyer) -> Tale:
    said = yield buyer.buys()
    assert said.status == 200, said.raw
    yield _its_letters(buyer)


def nobody_gets_letters(buyer: Buyer) -> Tale:
    ask = buyer.buys()
    assert ask.body is not None
    said = yield replace(ask, body={**ask.body, "customer_email": f"nobody-{buyer.number}@example.com"})
    assert said.status == 200, said.raw
    yield _its_letters(buyer)


def buyer_is_looked_up(buyer: Buyer) -> Tale:
    yield from _is_ordered(buyer)
    yield _its_letters(buyer)


def a_case_for_each(server: rig.Server, buyer: Buyer) -> list[str]:
    dead = server.sql("SELECT notice_id FROM notices WHERE status = 'dead'")
    cases = server.sql("SELECT 1 FROM cases WHERE kind = 'notice_not_sent' AND closed_at IS NULL")
    return [] if dead and len(cases) == len(dead) else [f"{len(dead)} dead notices, {len(cases)} cases"]


LETTERS = (
    Story("a guest gets letters", guest_gets_letters, calling("mailgun", "mailgun#2"), word="dev"),
    Story("nobody gets letters", nobody_gets_letters, around("notices.dead"), word="dev", after=a_case_for_each),
    Story("a buyer is looked up", buyer_is_looked_up, calling("user"), word="dev"),
)
POSTED = (Story("a guest gets letters by SMTP", guest_gets_letters, calling("smtp", "smtp#2"), word="dev"),)
