"""What every page of the shop has: the visitor, the way to the cart, a word about what was just done, and a mark in each form."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from kassa import carts
from kassa.api.answers import Answer, Header
from kassa.api.call import Call
from kassa.api.shop import MERCHANT, SHOP
from kassa.carts import Cart
from kassa.kit import once
from kassa.pages import cookies, form
from kassa.pages.buyer.visitor import Visitor, keep
from kassa.pages.frame import page
from kassa.pages.options import PageOptions

_PURPOSE = "shop"
_SAID = {
    "added": "go",
    "changed": "go",
    "removed": "go",
    "accepted": "go",
    "brought": "go",
    "in": "go",
    "out": "go",
    "stayed": "warn",
    "short": "warn",
    "many": "warn",
    "full": "warn",
    "gone": "warn",
    "price": "warn",
    "moved": "warn",
    "mend": "warn",
}
"""What a page may say about the act before it, and how much it matters. Nothing else from an address gets onto a page."""


async def show(
    call: Call,
    options: PageOptions,
    visitor: Visitor,
    template: str,
    *headers: Header,
    status: int = 200,
    cart: Cart | None = None,
    **values: Any,
) -> Answer:
    """A page of the shop; `cart` is the visitor's if it has been read already."""
    if cart is None:
        cart = await cart_of(call, visitor)
    said = call.asked().get("said", "") if call.scope["method"] == "GET" else ""
    return page(
        call,
        template,
        *keep(visitor, options),
        *headers,
        status=status,
        visitor=visitor,
        pieces=sum(line.quantity for line in cart.lines) if cart else 0,
        mark=mark_of(visitor, options),
        key=new_key(),
        said=said if said in _SAID else None,
        said_how=_SAID.get(said),
        **values,
    )


async def cart_of(call: Call, visitor: Visitor) -> Cart | None:
    """The visitor's cart, None where there never was one. Looking makes none."""
    return await carts.read_cart(call.ctx.db, MERCHANT, SHOP, visitor.buyer_id)


async def read_form(call: Call, options: PageOptions, visitor: Visitor) -> Mapping[str, str]:
    """What a form of ours sends for this visitor. Raises `Foreign`; `Stale` for one that was shown to somebody else."""
    sent = await form.read(call)
    if not cookies.same_mark(options.keys, visitor.buyer_id, _PURPOSE, sent.get(form.MARK, "")):
        raise form.Stale
    return sent


def mark_of(visitor: Visitor, options: PageOptions) -> str:
    """What each form shown to this visitor carries."""
    return cookies.form_mark(options.keys, visitor.buyer_id, _PURPOSE)


def new_key() -> str:
    """A key for the acts of the forms of one page; each form adds what it is about."""
    return secrets.token_urlsafe(15)


def key_in(sent: Mapping[str, str]) -> str | None:
    """The key that a form carries. Raises `InvalidKey`."""
    return once.read_header(sent.get("key") or None)


def whole(sent: Mapping[str, str], name: str, largest: int) -> int | None:
    """A whole number from 1 to `largest` in a field, None for anything else."""
    text = sent.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 and 1 <= int(text) <= largest else None
