"""Sign in with a token of the shop's own sign-in, and out again. The token stays in a sealed cookie until its end.

Carts are not merged: the buyer's and the guest's stay two, and the cart's page offers to bring things over.
"""

from __future__ import annotations

from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import Unauthorized
from kassa.pages.buyer import visitor as visitors
from kassa.pages.frame import see_other
from kassa.pages.options import PageOptions
from kassa.pages.shop import desk

DEMO_BUYERS = ("1", "2")


async def show(call: Call, options: PageOptions) -> Answer:
    """`/shop/sign-in`."""
    return await _form(call, options, visitors.visitor_of(call, options))


async def sign_in(call: Call, options: PageOptions) -> Answer:
    """Keep the token. What is wrong with it is said; the token itself is not shown again."""
    visitor = visitors.visitor_of(call, options)
    sent = await desk.read_form(call, options, visitor)
    token = sent.get("token", "").removeprefix("Bearer ").strip()
    demo = sent.get("demo", "")
    if options.demo_token is not None and demo in DEMO_BUYERS:
        token = options.demo_token(demo, "user")
    try:
        _, kept = visitors.sign_in(call, token, options)
    except Unauthorized as error:
        return await _form(call, options, visitor, status=422, problem=error.why if token else None, missing=not token)
    return see_other("/shop/cart?said=in", *visitors.keep(visitor, options), kept)


async def sign_out(call: Call, options: PageOptions) -> Answer:
    """Forget the token. The buyer's cart stays with the account, and the guest's appears again."""
    visitor = visitors.visitor_of(call, options)
    await desk.read_form(call, options, visitor)
    return see_other("/shop?said=out", visitors.sign_out(options))


async def _form(
    call: Call,
    options: PageOptions,
    visitor: visitors.Visitor,
    *,
    status: int = 200,
    problem: str | None = None,
    missing: bool = False,
) -> Answer:
    demo = DEMO_BUYERS if options.demo_token is not None else ()
    return await desk.show(call, options, visitor, "shop/sign_in.html", status=status, problem=problem, missing=missing, demo=demo)
