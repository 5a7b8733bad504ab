"""The link that `POST /checkout` gives the buyer (section 10.1)."""

from __future__ import annotations

import base64
import re

from tests.rig import Server

from .booking import Booking
from .paycom import PAYME_ID, Cashbox, Purchase, result


def decoded(purchase: Purchase, host: str) -> list[tuple[str, str]]:
    """The pairs of a link, in order. Standard base64 with its padding, nothing escaped, no line breaks."""
    assert purchase.payment_url.startswith(f"{host}/")
    text = purchase.payment_url.removeprefix(f"{host}/")
    assert re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", text)
    assert len(text) % 4 == 0
    raw = base64.b64decode(text, validate=True)
    assert base64.b64encode(raw).decode() == text
    return [tuple(pair.split("=", 1)) for pair in raw.decode().split(";")]  # type: ignore[misc]


def test_the_link_names_the_cashbox_the_order_and_the_amount(booking: Booking, payme: Cashbox) -> None:
    for ambassadors in ((4,), (1, 4), (1, 2, 3, 4, 5)):
        purchase = booking.buy(*ambassadors)
        pairs = decoded(purchase, "https://test.paycom.uz")
        assert pairs == [("m", PAYME_ID), ("ac.order_id", purchase.purchase_id), ("a", str(purchase.amount))]
        link = dict(pairs)
        params = {"amount": int(link["a"]), "account": {"order_id": link["ac.order_id"]}}
        assert result(payme.ask("CheckPerformTransaction", params)) == {"allow": True}


def test_without_settings_development_has_a_sandbox_cashbox(server: Server) -> None:
    """Ruling 35: it is in test mode, unless said otherwise."""
    purchase = Booking(server, Cashbox(server)).buy()
    pairs = decoded(purchase, "https://test.paycom.uz")
    assert pairs == [("m", "650000000000000000000001"), ("ac.order_id", purchase.purchase_id), ("a", str(purchase.amount))]


def test_the_link_of_a_purchase_never_changes(booking: Booking, payme: Cashbox) -> None:
    purchase = booking.buy()
    assert booking.checkout(purchase.user).payment_url == purchase.payment_url
    payme.cancelled(payme.created(purchase))
    assert booking.checkout(purchase.user).payment_url == purchase.payment_url


def test_language_return_url_and_field_stand_in_the_link(odd: Booking) -> None:
    """`l` and `c` come last, unless a `/` or `+` in the encoded text asks for `l` before `c`; `;` of the URL is escaped."""
    for _ in range(12):
        purchase = odd.buy()
        pairs = decoded(purchase, "https://checkout.paycom.uz")
        assert pairs[:3] == [("m", PAYME_ID), ("ac.purchase_id", purchase.purchase_id), ("a", str(purchase.amount))]
        assert sorted(pairs[3:]) == [("c", "https://booking.example/back?a=1%3Bb=2"), ("l", "uz")]
        assert not set("/+") & set(purchase.payment_url.removeprefix("https://checkout.paycom.uz/"))
