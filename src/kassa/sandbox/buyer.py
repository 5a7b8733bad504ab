"""What a buyer does with a payment link: look at the page, pay, or decline. Once only (`payments.md` section 3).

The sandbox lets a buyer pay after `expires_at` too, as real providers sometimes do: late money is worth testing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kassa.sandbox import exact, pages
from kassa.sandbox.book import book, now_us
from kassa.sandbox.model import Call, Reply, Tx, say

_TOO_LATE = "Payment already processed or invalid state"


def show_page(tx: Tx, call: Call) -> Reply:
    """The page behind a link."""
    found = _link(tx, call.params["token"])
    if found is None:
        return pages.message(404, "No such payment", "This link was never given out, or the sandbox was emptied.")
    _, facts, state = found
    return pages.pay(call.params["token"], facts, state)


def accept(tx: Tx, call: Call) -> Reply:
    """The buyer pays: 200 `finished`, the charge is booked, the webhook is due. A second time: 409."""
    return _decide(tx, call, "finished")


def decline(tx: Tx, call: Call) -> Reply:
    """The buyer declines: 200 `failed`, the webhook is due. A second time, or after paying: 409."""
    return _decide(tx, call, "failed")


def _decide(tx: Tx, call: Call, status: str) -> Reply:
    token, now = call.params["token"], now_us()
    html = "text/html" in call.headers.get("accept", "")
    found = _link(tx, token)
    if found is None:
        if html:
            return pages.message(404, "No such payment", "This link was never given out, or the sandbox was emptied.")
        return say(404, {"detail": "Payment not found"})
    payment_id, facts, state = found
    if state != "open":
        return pages.pay(token, facts, state, code=409) if html else say(409, {"detail": _TOO_LATE})
    tx.execute("UPDATE links SET state = ?, decided_us = ? WHERE token = ?", (status, now, token))
    if status == "finished":
        booked = replace(call, key=payment_id, now_us=now)
        price = exact.amount(facts.get("price"))
        told = {"payment_id": payment_id, **facts}
        book(tx, booked, "charge", "link", payment_id, amount=price, facts=told)
    tx.execute("INSERT INTO webhooks (payment_id, status, attempts, next_us) VALUES (?, ?, 0, ?)", (payment_id, status, now))
    return pages.pay(token, facts, status) if html else say(200, {"payment_id": payment_id, "status": status})


def _link(tx: Tx, token: str) -> tuple[str, dict[str, Any], str] | None:
    row = tx.execute("SELECT payment_id, facts, state FROM links WHERE token = ?", (token,)).fetchone()
    return None if row is None else (row[0], exact.loads(row[1].encode()), row[2])
