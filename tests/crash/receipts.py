"""What goes to Payme's Subscribe API, and at which points the process dies meanwhile. The built-in sandbox is on the other side.

Its book outlives the process, as Payme does. Whatever was cut off, one receipt pays an order, and money goes back once.
"""

from __future__ import annotations

from typing import Any

from tests import rig

from .asking import Ask, Json, Tale, Until
from .at_payme import checks_out, puts
from .merchants import gives_back, shown
from .stories import Buyer, Story, calling

SELL_IN_UZS = """
    WITH prices AS (UPDATE products SET currency = 'UZS' WHERE merchant_id = '1' AND channel = 'shop')
    UPDATE channels SET currency = 'UZS', methods = ARRAY['payme'] WHERE merchant_id = '1' AND channel = 'shop' RETURNING 1 AS done"""
_LOOKS = 20


def pays_on_the_page(order_id: str) -> Ask:
    """The buyer clicks on Payme's page; 409 when it was paid before."""
    return Ask("POST", f"/sandbox/payme/{order_id}/pay")


def asks_payme(method: str, **params: Any) -> Ask:
    """A browser's call of the Subscribe API."""
    return Ask("POST", "/sandbox/payme-api", {"id": 1, "method": method, "params": params}, headers=(("X-Auth", "a-cashbox"),))


def _paid(buyer: Buyer) -> Any:
    said = yield puts(buyer, 4)
    assert said.status == 201, said.raw
    said = yield checks_out(buyer)
    assert said.status == 201, said.raw
    bought: Json = said.json
    yield pays_on_the_page(bought["purchase_id"])
    yield Until("SELECT 1 FROM payments WHERE payment_id = $1::text::uuid AND status = 'paid'", (bought["payment_id"],))
    return bought["payment_id"]


def merchant_gives_back_what_payme_has(buyer: Buyer) -> Tale:
    payment = yield from _paid(buyer)
    said = yield gives_back(buyer, payment, "all")
    assert said.status == 201, said.raw
    while (yield shown(payment)).json["status"] != 6:
        pass


def payme_queues_a_cancel(buyer: Buyer) -> Tale:
    """Payme takes the cancel and is slow to tell us: it is asked."""
    payment = yield from _paid(buyer)
    yield Ask("POST", "/sandbox/control/scripts", {"service": "payme", "act": "cancel", "behaviour": "not_sent"})
    said = yield gives_back(buyer, payment, "all")
    assert (said.status, said.json["status"]) == (201, "pending"), said.raw
    yield Until("SELECT 1 FROM refunds WHERE payment_id = $1::text::uuid AND status = 'succeeded'", (payment,))


def buyer_pays_with_a_token(buyer: Buyer) -> Tale:
    """With a card's token; and on the page, where the token has come to nothing."""
    yield Until(SELL_IN_UZS)
    card = {"number": "8600495473316478", "expire": "0399"}
    token = (yield asks_payme("cards.create", card=card, save=True)).json["result"]["card"]["token"]
    said = yield asks_payme("cards.verify", token=token, code="666666")
    assert said.json["result"]["card"]["verify"] is True, said.raw
    yield buyer.puts("prod_001", 1)
    ask = buyer.orders("payme")
    assert ask.body is not None
    said = yield Ask(ask.method, ask.path, {**ask.body, "paymentDetails": {"cardToken": token}}, ask.key, ask.user)
    assert said.status == 201, said.raw
    order_id = said.json["data"]["id"]
    looks = 0
    while (yield Ask("GET", f"/api/orders/{order_id}", None, None, buyer.user)).json["data"]["status"] != "paid":
        looks += 1
        if looks > _LOOKS:
            yield pays_on_the_page(order_id)


# ── what is left behind ──────────────────────────────────────────────────────────────────────────────────────────────

_LEFT = """
    SELECT p.status, (SELECT array_agg(t.state::int ORDER BY t.state) FROM payme_transactions t
                       WHERE t.payment_id = p.payment_id AND t.state IN (2, -2)) AS attempts,
           (SELECT count(*)::int FROM ledger_entries e WHERE e.payment_id = p.payment_id) AS entries,
           (SELECT count(*)::int FROM refunds r WHERE r.payment_id = p.payment_id) AS refunds
      FROM payments p JOIN orders o ON o.payment_id = p.payment_id WHERE o.buyer_id = $1
"""


def one_that(status: str, *, attempt: int, entries: int, refunds: int) -> Any:
    """One attempt took the money, and gave it back where it did, with so many lines in the books."""
    wanted = [{"status": status, "attempts": [attempt], "entries": entries, "refunds": refunds}]

    def judge(server: rig.Server, buyer: Buyer) -> list[str]:
        rows = server.sql(_LEFT, str(buyer.user))
        return [] if rows == wanted else [f"left {rows}"]

    return judge


_GIVEN_BACK = one_that("refunded", attempt=-2, entries=2, refunds=1)
CANCELLED = (
    Story(
        "a merchant gives back what Payme has",
        merchant_gives_back_what_payme_has,
        calling("receipt.cancel"),
        after=_GIVEN_BACK,
    ),
)
QUEUED = (Story("Payme queues a cancel", payme_queues_a_cancel, calling("receipt.ask"), word="dev", after=_GIVEN_BACK),)
PAID = (
    Story(
        "a buyer pays with a token",
        buyer_pays_with_a_token,
        calling("receipt.create", "receipt.pay"),
        after=one_that("paid", attempt=2, entries=1, refunds=0),
    ),
)
