"""Who looks at a buyer's pages: the two cookies, what is in them, and what they are worth."""

from __future__ import annotations

import time
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.api.asking import KEYS, SECRET, scope_of, token

from kassa.api.auth import Tokens
from kassa.api.call import Call
from kassa.api.errors import Unauthorized
from kassa.api.options import TokenRules
from kassa.pages import PageOptions
from kassa.pages.buyer import visitor
from kassa.pages.buyer.visitor import Visitor, visitor_of

PLAIN = PageOptions(("shop",), KEYS)
SECURE = PageOptions(("shop",), KEYS, secure=True)


def a_call(*kept: tuple[bytes, bytes]) -> Call:
    """A request of a browser that keeps these cookies."""
    cookie = "; ".join(value.decode().split(";")[0] for _, value in kept)
    desk: Any = SimpleNamespace(
        ctx=None, closing=None, watch=None, trusted=False, webhook_secrets=(), tokens=Tokens(TokenRules(SECRET)), address_of=str
    )
    nothing: Any = None
    return Call(scope_of("GET", "/shop", {"cookie": cookie} if cookie else {}), nothing, nothing, desk, {})


def test_a_guest_is_known_again() -> None:
    first = visitor_of(a_call(), PLAIN)
    assert first.is_new
    assert first.buyer_id.startswith("guest-")
    again = visitor_of(a_call(*visitor.keep(first, PLAIN)), PLAIN)
    assert again == Visitor(first.guest_id)
    assert visitor.keep(again, PLAIN) == ()


def test_two_guests_are_two() -> None:
    assert visitor_of(a_call(), PLAIN).guest_id != visitor_of(a_call(), PLAIN).guest_id


def test_who_signs_in_is_the_buyer_and_still_the_guest() -> None:
    guest = visitor_of(a_call(), PLAIN)
    caller, kept = visitor.sign_in(a_call(), token(id=77), PLAIN)
    found = visitor_of(a_call(kept, *visitor.keep(guest, PLAIN)), PLAIN)
    assert (found.buyer_id, found.guest_id, found.scope) == ("77", guest.guest_id, caller.scope)
    assert found.owns(SimpleNamespace(buyer_id="77"))  # type: ignore[arg-type]
    assert found.owns(SimpleNamespace(buyer_id=guest.guest_id))  # type: ignore[arg-type]
    assert not found.owns(SimpleNamespace(buyer_id="78"))  # type: ignore[arg-type]
    assert not found.owns(SimpleNamespace(buyer_id=None))  # type: ignore[arg-type]


def test_a_sign_in_ends_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    _, kept = visitor.sign_in(a_call(), token(exp=int(time.time()) + 60), PLAIN)
    assert b"Max-Age=5" in kept[1] or b"Max-Age=60" in kept[1]
    assert visitor_of(a_call(kept), PLAIN).caller is not None
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 61)
    assert visitor_of(a_call(kept), PLAIN).caller is None


@pytest.mark.parametrize("wrong", [token(exp=1), "x", "a.b.c", token() + "x", token(padding="x" * 3000)])
def test_a_token_that_is_not_good_is_not_kept(wrong: str) -> None:
    with pytest.raises(Unauthorized):
        visitor.sign_in(a_call(), wrong, PLAIN)


def test_by_https_cookies_are_bound_to_this_host() -> None:
    guest = visitor_of(a_call(), SECURE)
    _, signed = visitor.sign_in(a_call(), token(), SECURE)
    (kept,) = visitor.keep(guest, SECURE)
    for _, value in (kept, signed, visitor.sign_out(SECURE)):
        said = value.decode()
        assert said.startswith("__Host-kassa_")
        assert {"Secure", "HttpOnly", "Path=/"} <= set(said.split("; "))
        assert "Domain" not in said
    assert visitor_of(a_call(kept), SECURE).guest_id == guest.guest_id
    planted = visitor.keep(Visitor(f"guest-{uuid.uuid4()}", is_new=True), PLAIN)
    assert visitor_of(a_call(*planted), SECURE).is_new, "one that a neighbour could have set is not read"


def test_one_cookie_is_not_taken_for_the_other() -> None:
    (kept,) = visitor.keep(visitor_of(a_call(), PLAIN), PLAIN)
    swapped = (kept[0], kept[1].replace(b"kassa_guest=", b"kassa_buyer="))
    assert visitor_of(a_call(swapped), PLAIN).caller is None
