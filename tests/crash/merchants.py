"""What merchants' own servers do, their buyers and the provider, and at which points the process dies meanwhile."""

from __future__ import annotations

import uuid
from typing import Any

from tests import rig

from .asking import Ask, Calls, LetPass, PaysAt, Tale, Until
from .stories import Buyer, Story, around, calling, only

KEY = "sk_demo_1"


def asks(buyer: Buyer, word: str = "ask") -> Ask:
    """`POST /api/v1/payments` for the order of this story."""
    body = {"order_id": f"M-{buyer.number}", "amount": 2, "price": "100.00", "alias": "stripe"}
    return Ask("POST", "/api/v1/payments", body, buyer.key(word), api_key=KEY)


def shown(payment: str) -> Ask:
    return Ask("GET", f"/api/v1/payments/{payment}/show", api_key=KEY)


def gives_back(buyer: Buyer, payment: str, word: str, **body: Any) -> Ask:
    return Ask("POST", f"/api/v1/payments/{payment}/refunds", body, buyer.key(word), api_key=KEY)


def _asked(buyer: Buyer, word: str = "ask") -> Any:
    said = yield asks(buyer, word)
    assert said.status == 200, said.raw
    assert said.json["payment_url"], said.raw
    return said.json["payment_id"], said.json["payment_url"]


def _becomes(payment: str, status: int) -> Any:
    while (said := (yield shown(payment))).json["status"] != status:
        pass
    return said.json


def _paid(buyer: Buyer) -> Any:
    payment, link = yield from _asked(buyer)
    yield PaysAt(link)
    yield from _becomes(payment, 2)
    return payment


def merchant_is_paid(buyer: Buyer) -> Tale:
    yield from _paid(buyer)


def merchant_gives_back(buyer: Buyer) -> Tale:
    payment = yield from _paid(buyer)
    said = yield gives_back(buyer, payment, "part", amount="30.00", reason="damaged")
    assert said.status == 201, said.raw
    said = yield gives_back(buyer, payment, "rest")
    assert said.status == 201, said.raw
    assert said.json["amount"] == "70.00", said.raw
    while (yield shown(payment)).json["refunded"] != "100.00":
        pass


def merchant_makes_and_revokes_a_key(buyer: Buyer) -> Tale:
    name = buyer.key("key")
    body = {"name": name, "scopes": ["payments:read"]}
    said = yield Ask("POST", "/api/v1/api-keys", body, api_key=KEY, once=name)
    assert said.status == 201 or said.json["code"] == "already_answered", said.raw
    listed = (yield Ask("GET", "/api/v1/api-keys", api_key=KEY)).json
    keys = listed if isinstance(listed, list) else listed["items"]
    (mine,) = [each for each in keys if each["name"] == name]
    if said.status == 201:
        seen = yield Ask("GET", "/api/v1/payments?limit=1", api_key=said.json["key"])
        assert seen.status in {200, 401}, seen.raw  # 401: revoked by the life before
    for _ in range(2):
        gone = yield Ask("DELETE", f"/api/v1/api-keys/{mine['key_id']}", api_key=KEY)
        assert gone.status == 204, gone.raw
    if said.status == 201:
        seen = yield Ask("GET", "/api/v1/payments?limit=1", api_key=said.json["key"])
        assert seen.status == 401, seen.raw


def merchant_is_paid_late_and_twice(buyer: Buyer) -> Tale:
    """The first link expires, a second one is asked for, and the buyer pays both."""
    first, link = yield from _asked(buyer)
    yield LetPass(601)
    while (yield shown(first)).json["status"] == 1:
        pass
    second, other = yield from _asked(buyer, "again")
    yield PaysAt(link)
    yield from _becomes(first, 2)
    yield PaysAt(other)
    yield from _becomes(second, 6)


def somebody_reports_what_nobody_knows(buyer: Buyer) -> Tale:
    body = {"payment_id": str(_nobodys(buyer)), "status": "finished"}
    said = yield Ask("POST", "/api/v1/payments/webhook", body, signed=True, good=(202,))
    assert said.status == 202, said.raw
    yield LetPass(73 * 3600)
    yield Until("SELECT 1 FROM cases WHERE subject = $1", (f"payment:{_nobodys(buyer)}",))


def _nobodys(buyer: Buyer) -> uuid.UUID:
    return uuid.UUID(int=0x019B76DAA8017D90A2B600000000 << 16 | buyer.number)


def service_asks(buyer: Buyer) -> Tale:
    fields = {
        "amount_minor": 1250,
        "currency": "usd",
        "order_id": f"S-{buyer.number}",
        "idempotency_key": buyer.key("grpc"),
        "metadata": {"a": "1"},
    }
    yield Calls(fields, KEY)
    yield Until("SELECT 1 FROM payments WHERE client_key = $1 AND status = 'paid'", (buyer.key("grpc"),))


# ── what is left behind ──────────────────────────────────────────────────────────────────────────────────────────────


def _rows(server: rig.Server, buyer: Buyer) -> list[dict[str, Any]]:
    return server.sql(
        "SELECT payment_id, status, captured_minor, refunded_minor, token_plan FROM payments"
        " WHERE ref_kind = 'outside' AND ref = $1 AND merchant_id = '1' ORDER BY created_at",
        f"M-{buyer.number}",
    )  # fmt: skip


def one_payment_that(*statuses: str, refunded: int = 0) -> Any:
    """One payment of the order is not over for want of a link, it came to one of these ends, and so much of it went back."""

    def judge(server: rig.Server, buyer: Buyer) -> list[str]:
        rows = [row for row in _rows(server, buyer) if row["status"] != "declined"]
        if [row["status"] in statuses and row["refunded_minor"] == refunded for row in rows] != [True]:
            return [f"left {rows}"]
        return [] if rows[0]["token_plan"] == "1" else ["it spent no token"]

    return judge


def one_that_keeps_and_one_that_went_back(server: rig.Server, buyer: Buyer) -> list[str]:
    rows = [row for row in _rows(server, buyer) if row["captured_minor"]]
    return [] if [row["status"] for row in rows] == ["paid", "refunded"] else [f"left {rows}"]


def one_key_that_is_dead(server: rig.Server, buyer: Buyer) -> list[str]:
    rows = server.sql("SELECT revoked_at IS NOT NULL AS dead FROM api_keys WHERE name = $1", buyer.key("key"))
    return [] if [row["dead"] for row in rows] == [True] else [f"keys: {rows}"]


def one_case(server: rig.Server, buyer: Buyer) -> list[str]:
    rows = server.sql("SELECT kind, closed_at FROM cases WHERE subject = $1", f"payment:{_nobodys(buyer)}")
    return [] if [row["kind"] for row in rows] == ["report_unmatched"] else [f"cases: {rows}"]


def one_payment_of_its_key(server: rig.Server, buyer: Buyer) -> list[str]:
    rows = server.sql("SELECT status FROM payments WHERE ref = $1 AND ref_kind = 'grpc'", f"S-{buyer.number}")
    return [] if [row["status"] for row in rows] == ["paid"] else [f"payments: {rows}"]


COLLECTING = (
    Story(
        "a merchant is paid",
        merchant_is_paid,
        (*around("collect.request", "collect.link", "collect.report"), *calling("link")),
        buys=False,
        after=one_payment_that("paid"),
    ),
    Story(
        "a merchant gives back",
        merchant_gives_back,
        (*around("collect.refund", "payments.refund", "collect.answer", "collect.refund#2"), *calling("refund", "refund#2")),
        buys=False,
        after=one_payment_that("refunded", refunded=10_000),
    ),
    Story(
        "a merchant gets no link and asks again",
        merchant_is_paid,
        around("collect.link", "collect.request#2", "collect.link#2"),
        plan=only("link", "create", "error"),
        buys=False,
        after=one_payment_that("paid"),
    ),
    Story(
        "a merchant's provider makes a link and falls silent",
        merchant_is_paid,
        (*around("collect.link"), "link:before_call"),
        plan=only("link", "create", "book_then_cut"),
        buys=False,
        after=one_payment_that("paid"),
    ),
    Story(
        "a merchant's refund is made and not answered",
        merchant_gives_back,
        (*around("payments.refund", "collect.answer"), "refund:before_call"),
        plan=only("link", "refund", "book_then_500"),
        buys=False,
        after=one_payment_that("refunded", refunded=10_000),
    ),
    Story(
        "a merchant makes a key and revokes it",
        merchant_makes_and_revokes_a_key,
        around("api_keys.create", "api_keys.revoke"),
        buys=False,
        after=one_key_that_is_dead,
    ),
)
LATE = (
    Story(
        "a merchant is paid late and twice",
        merchant_is_paid_late_and_twice,
        (*around("collect.report", "collect.report#2", "payments.refund", "collect.look"), *calling("refund")),
        word="dev",
        buys=False,
        after=one_that_keeps_and_one_that_went_back,
    ),
)
NOBODYS = (
    Story(
        "somebody reports what nobody knows",
        somebody_reports_what_nobody_knows,
        around("collect.unmatched"),
        word="dev",
        buys=False,
        after=one_case,
    ),
)
BY_KEY = (
    Story(
        "a service asks by key",
        service_asks,
        around("collect.keyed", "collect.look"),
        word="dev",
        buys=False,
        after=one_payment_of_its_key,
    ),
)
