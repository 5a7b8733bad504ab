"""Who looks at the pages of a buyer: somebody signed in, by the token in a cookie, or a guest with an id in another one.

Both cookies may be there: a guest who signs in is still the same guest after signing out, with the same cart.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field

from kassa.api.answers import Header
from kassa.api.auth import Caller
from kassa.api.call import Call
from kassa.api.errors import Unauthorized
from kassa.checkout import model as checkout
from kassa.orders import Order
from kassa.pages import cookies
from kassa.pages.options import PageOptions

SIGNED_IN = "kassa_buyer"
GUEST = "kassa_guest"

_GUEST_S = 30 * 86_400
_LONGEST_TOKEN = 2800
"""Sealed and written as text a longer one does not fit into a cookie."""


class TokenTooLong(Unauthorized):
    """This token is too long to be kept by a browser."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever looks. `caller` is None for a guest; `guest_id` is the guest's id in this browser, whoever is signed in."""

    guest_id: str
    caller: Caller | None = field(default=None, repr=False)
    is_new: bool = False

    @property
    def buyer_id(self) -> str:
        """The id under which carts and orders are kept."""
        return self.caller.user if self.caller else self.guest_id

    @property
    def scope(self) -> str:
        """In whose name idempotency keys are used; that of a signed-in buyer is the one of the APIs."""
        return self.caller.scope if self.caller else f"user:{self.guest_id}"

    def owns(self, order: Order) -> bool:
        """Whether the order is this visitor's, signed in or bought as a guest in this browser."""
        return order.buyer_id is not None and order.buyer_id in {self.buyer_id, self.guest_id}


def visitor_of(call: Call, options: PageOptions) -> Visitor:
    """Who looks. A token that is over is no sign-in any more; whoever brings no id gets a new one, to be kept by `keep`."""
    kept = cookies.get(call, options.keys, _named(GUEST, options))
    guest = str(kept["id"]) if kept else f"{checkout.GUEST}{uuid.uuid4()}"
    signed = cookies.get(call, options.keys, _named(SIGNED_IN, options))
    caller = None
    if signed is not None:
        try:
            caller = call.bearer(str(signed["token"]))
        except Unauthorized:
            caller = None
    return Visitor(guest, caller, is_new=kept is None)


def keep(visitor: Visitor, options: PageOptions) -> tuple[Header, ...]:
    """The headers that make a new guest known to the browser; none for somebody whom it knows."""
    if not visitor.is_new:
        return ()
    return (cookies.put(options.keys, _named(GUEST, options), {"id": visitor.guest_id}, max_age_s=_GUEST_S, secure=options.secure),)


def sign_in(call: Call, token: str, options: PageOptions) -> tuple[Caller, Header]:
    """Who a token names, and the header that keeps it until its end. Raises `Unauthorized`, `TokenTooLong`."""
    caller = call.bearer(token)
    if len(token) > _LONGEST_TOKEN:
        raise TokenTooLong("It is too long to be kept by a browser")
    left = max(0, min(int(caller.expires - time.time()), _GUEST_S))
    return caller, cookies.put(options.keys, _named(SIGNED_IN, options), {"token": token}, max_age_s=left, secure=options.secure)


def sign_out(options: PageOptions) -> Header:
    """The header that ends a sign-in."""
    return cookies.drop(_named(SIGNED_IN, options), secure=options.secure)


def _named(name: str, options: PageOptions) -> str:
    # A browser takes a cookie of this name from this very host only, so a neighbour below the same domain cannot hand out his own.
    return f"__Host-{name}" if options.secure else name
