"""What buyers of ambassadors do, and Payme, and at which points the process dies meanwhile.

Payme asks everything twice, as its sandbox does, and the second answer must be the first: also when the first one came from a process
that is dead, or never came.
"""

from __future__ import annotations

from typing import Any

from tests import rig

from .asking import Ask, Json, LetPass, Said, Tale, Until
from .stories import UNDONE, Buyer, Story, around, calling

CASHBOX = {
    "PAYME_ID": "65a1b2c3d4e5f60718293a4b",
    "PAYME_KEY": "x7%Kassa&Crash?Only@Key#36$Chars=000",
    "PAYME_IS_TEST_MODE": "true",
}
RECEIPT = {"receipt_id": 48120, "status_code": 0, "message": "accepted", "qr_code_url": "https://ofd.example/check?r=48120"}
A_DAY = 86_460
"""Seconds, and a minute more: after that no link is good."""


def attempt(buyer: Buyer) -> str:
    """Payme's id of the one attempt of this buyer."""
    return f"66f0a1b2c3d4e5f6{buyer.number:08d}"


def calls(method: str, **params: Any) -> Ask:
    """One call of Payme's."""
    return Ask("POST", "/payme/webhook", {"method": method, "id": 1, "params": params}, cashbox=f"Paycom:{CASHBOX['PAYME_KEY']}")


def twice(ask: Ask) -> Any:
    """Ask the same twice; the result, which is the same."""
    first: Said = yield ask
    again: Said = yield ask
    assert first.json == again.json, (first.raw, again.raw)
    assert "result" in first.json, first.raw
    return first.json["result"]


def puts(buyer: Buyer, ambassador: int) -> Ask:
    """`POST /cart/items` of the purchases contract."""
    return Ask("POST", "/cart/items", {"ambassador_id": ambassador}, buyer.key(f"add-{ambassador}"), buyer.user)


def checks_out(buyer: Buyer, *, with_key: bool = True) -> Ask:
    """`POST /checkout` of the purchases contract."""
    return Ask("POST", "/checkout", None, buyer.key("checkout") if with_key else None, buyer.user)


def _purchased(buyer: Buyer, *ambassadors: int) -> Any:
    for each in ambassadors or (1, 4):
        said = yield puts(buyer, each)
        assert said.status == 201, said.raw
    said = yield checks_out(buyer)
    assert said.status == 201, said.raw
    return said.json


def _held(buyer: Buyer) -> Any:
    """A purchase that Payme holds; and the result of its Create."""
    bought: Json = yield from _purchased(buyer)
    account = {"order_id": bought["purchase_id"]}
    now = yield Until("SELECT (extract(epoch FROM kassa_now()) * 1000)::bigint AS ms")
    result = yield from twice(calls("CheckPerformTransaction", amount=bought["amount"], account=account))
    assert result == {"allow": True}
    created = yield from twice(
        calls("CreateTransaction", id=attempt(buyer), time=now.json["ms"], amount=bought["amount"], account=account)
    )
    assert created["state"] == 1, created
    return created


def _paid(buyer: Buyer) -> Any:
    created = yield from _held(buyer)
    performed = yield from twice(calls("PerformTransaction", id=attempt(buyer)))
    assert performed["state"] == 2, performed
    checked = yield from twice(calls("CheckTransaction", id=attempt(buyer)))
    assert (checked["create_time"], checked["perform_time"]) == (created["create_time"], performed["perform_time"])
    return performed


def buyer_pays_at_payme(buyer: Buyer) -> Tale:
    yield from _paid(buyer)
    said = yield Ask("GET", "/purchases", None, None, buyer.user)
    assert [row["ambassador_id"] for row in said.json["purchases"]] in ([1, 4], [4, 1]), said.raw
    said = yield Ask("GET", "/cart", None, None, buyer.user)
    assert said.json["items"] == [], said.raw


def payme_gives_back(buyer: Buyer) -> Tale:
    performed = yield from _paid(buyer)
    cancelled = yield from twice(calls("CancelTransaction", id=attempt(buyer), reason=5))
    assert cancelled["state"] == -2, cancelled
    for kind in ("PERFORM", "CANCEL"):
        result = yield from twice(calls("SetFiscalData", id=attempt(buyer), type=kind, fiscal_data=RECEIPT))
        assert result == {"success": True}
    for _ in range(2):  # those of others change meanwhile
        told = yield calls("GetStatement", **{"from": 0, "to": 2 * 10**12})
        (row,) = [row for row in told.json["result"]["transactions"] if row["id"] == attempt(buyer)]
        assert (row["perform_time"], row["cancel_time"], row["state"]) == (performed["perform_time"], cancelled["cancel_time"], -2)


def payme_lets_go_and_nobody_pays(buyer: Buyer) -> Tale:
    yield from _held(buyer)
    cancelled = yield from twice(calls("CancelTransaction", id=attempt(buyer), reason=2))
    assert cancelled["state"] == -1, cancelled
    yield LetPass(A_DAY)


def payme_forgets(buyer: Buyer) -> Tale:
    """Payme holds the purchase and is never heard of again."""
    yield from _held(buyer)
    yield LetPass(A_DAY)
    yield Until("SELECT 1 FROM payme_transactions WHERE payme_id = $1 AND state = -1", (attempt(buyer),))
    checked = yield from twice(calls("CheckTransaction", id=attempt(buyer)))
    assert (checked["state"], checked["reason"]) == (-1, 4), checked


_SOLD = """
    INSERT INTO products (merchant_id, channel, product_id, sku, name, price_minor, currency, images)
    VALUES ('1', 'ambassadors', $1, $1, 'Ambassador', 5000, 'UZS', '{}') ON CONFLICT DO NOTHING
"""
_SOLD_NO_MORE = (
    "UPDATE products SET sold = false WHERE merchant_id = '1' AND channel = 'ambassadors' AND product_id = $1 RETURNING 1"
)


def own_ambassador(buyer: Buyer) -> int:
    """An ambassador that this buyer alone wants."""
    return 100_000 + buyer.number


def ambassador_goes(buyer: Buyer) -> Tale:
    """An ambassador is sold no longer while it lies in a cart and waits to be paid: the look at all carts finds it."""
    ambassador = own_ambassador(buyer)
    yield Until(f"WITH sold AS ({_SOLD}) SELECT 1", (str(ambassador),))
    yield from _purchased(buyer, ambassador, 1)
    yield Until(_SOLD_NO_MORE, (str(ambassador),))
    yield LetPass(301)
    yield Until("SELECT 1 FROM checkouts WHERE buyer_id = $1 AND status = 'undone'", (str(buyer.user),))
    said = yield Ask("GET", "/cart", None, None, buyer.user)
    assert [item["ambassador_id"] for item in said.json["items"]] == [1], said.raw
    assert said.json["invalid_ids"] == [], said.raw


def ambassador_goes_before_the_second_look(buyer: Buyer) -> Tale:
    """The buyer presses the button again, and the link that was given before is no good any more."""
    ambassador = own_ambassador(buyer)
    yield Until(f"WITH sold AS ({_SOLD}) SELECT 1", (str(ambassador),))
    yield from _purchased(buyer, ambassador)
    yield Until(_SOLD_NO_MORE, (str(ambassador),))
    for _ in range(2):
        said = yield checks_out(buyer, with_key=False)
        # A worker, which only the last life has, has emptied the cart already.
        assert (said.status, said.json["code"]) in {(409, "ambassadors_invalid"), (400, "cart_empty")}, said.raw


# ── what is left behind ──────────────────────────────────────────────────────────────────────────────────────────────

_ATTEMPTS = """
    SELECT t.state, t.reason::int AS reason, (SELECT count(*)::int FROM payme_receipts r WHERE r.payme_id = t.payme_id) AS receipts,
           (SELECT count(*)::int FROM bought_lines b JOIN payments p ON p.ref = b.order_id::text
             WHERE p.payment_id = t.payment_id AND given_back_at IS NULL) AS bought,
           p.held_by IS NOT NULL AS held
      FROM payme_transactions t JOIN payments p USING (merchant_id, payment_id) WHERE t.payme_id = $1
"""


def one_attempt(state: int, *reasons: int | None, bought: int = 0, receipts: int = 0) -> Any:
    """There is one attempt, it came to this for one of these reasons, and the buyer has so many ambassadors."""
    rest: Json = {"state": state, "receipts": receipts, "bought": bought, "held": False}

    def judge(server: rig.Server, buyer: Buyer) -> list[str]:
        rows = server.sql(_ATTEMPTS, attempt(buyer))
        return [] if rows in [[rest | {"reason": reason}] for reason in reasons or (None,)] else [f"attempts: {rows}"]

    return judge


def in_no_cart(server: rig.Server, buyer: Buyer) -> list[str]:
    """What is sold no longer lies in no cart."""
    rows = server.sql("SELECT cart_id FROM cart_lines WHERE product_id = $1", str(own_ambassador(buyer)))
    return [f"still in {rows}"] if rows else []


PAYING = (
    Story(
        "a buyer pays at Payme",
        buyer_pays_at_payme,
        around("checkout.start", "payme.create", "payme.perform"),
        after=one_attempt(2, bought=2),
    ),
    Story(
        "Payme gives back",
        payme_gives_back,
        around("payme.cancel", "payme.receipt", "payme.receipt#3", "payme.statement"),
        after=one_attempt(-2, 5, receipts=2),
    ),
    Story(
        "an ambassador goes before the second look",
        ambassador_goes_before_the_second_look,
        around("checkout.withdraw"),
        UNDONE,
    ),
)
LATE = (
    # The second process ends what the first one left, and dies when it ends its own.
    Story(
        "Payme forgets",
        payme_forgets,
        ("payme.expire:before_commit", "payme.expire:after_commit#2"),
        UNDONE,
        word="dev",
        after=one_attempt(-1, 4),
    ),
)
LET_GO = (
    # The one player's clock is the other's, too: what was to be cancelled may be over by then.
    Story(
        "Payme lets go and nobody pays", payme_lets_go_and_nobody_pays, around("payme.cancel"), UNDONE, after=one_attempt(-1, 2, 4)
    ),
)
GONE = (
    Story(
        "an ambassador goes",
        ambassador_goes,
        around("catalog.retire", "checkout.withdraw"),
        UNDONE,
        word="dev",
        after=in_no_cart,
    ),
)
ASKED = (
    Story(
        "a service says what an ambassador costs",
        buyer_pays_at_payme,
        calling("ambassadors", "ambassadors#3"),
        after=one_attempt(2, bought=2),
    ),
)
