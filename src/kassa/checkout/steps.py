"""The acts of a checkout at its neighbours, each with its undo right below it.

Every call carries `Idempotency-Key: <checkout_id>:<step>` (a product's stock: `<order_id>:take:<product>`), the same on
every repetition. No transaction is open here; the intent was committed before, the outcome is noted after.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kassa.checkout.held import Held
from kassa.checkout.model import INVENTORY, ORDER_SERVICE, TAKE
from kassa.kit import trace
from kassa.kit.neighbour import Answer, BreakerOpen, Neighbour, NoAnswer, NotSent, said

INVENTORY_S = 30.0
ORDER_S = 15.0
TAKE_S = 5.0
_NO_ROUTE = frozenset({404, 405, 501})


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The port that bootstrap fills; None where there is no such neighbour."""

    inventory: Neighbour | None = None
    order: Neighbour | None = None
    product: Neighbour | None = None
    payment: Neighbour | None = None
    """Where cards are charged and given back, and asked about."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: `done`, `refused`, `unavailable` (nothing was sent), `unknown` or `no_route`."""

    kind: str
    ref: str | None = None
    message: str | None = None


Act = Callable[[Neighbours, Held], Coroutine[Any, Any, Outcome]]


async def deduct(neighbours: Neighbours, held: Held) -> Outcome:
    """Take the stock at the inventory service: all lines or none."""
    answer = await _call(
        neighbours.inventory, "POST", "/inventory/deduct", INVENTORY, INVENTORY_S, {"items": held.items()}, held.key(INVENTORY)
    )
    if isinstance(answer, Outcome):
        return answer
    if answer.ok and answer.body is not None and answer.body.get("success") is True:
        return Outcome("done")
    if answer.ok and answer.body is not None and answer.body.get("success") is False:
        return Outcome("refused", message=said(answer.text("message")))
    return _no_or_unknown(answer)


async def restock(neighbours: Neighbours, held: Held) -> Outcome:
    """Undo of `deduct`: the same lines go back."""
    return _undone(
        await _call(
            neighbours.inventory, "POST", "/inventory/restock", "restock", INVENTORY_S, {"items": held.items()}, held.key("restock")
        )
    )


async def create_order(neighbours: Neighbours, held: Held) -> Outcome:
    """Make the order at the order service."""
    body = {
        "checkout_id": str(held.checkout.checkout_id),
        "customer_email": held.checkout.customer_email,
        "shipping_address": held.order.shipping_address,
        "items": held.items(),
    }
    answer = await _call(neighbours.order, "POST", "/orders", ORDER_SERVICE, ORDER_S, body, held.key("order"))
    if isinstance(answer, Outcome):
        return answer
    if answer.ok:
        ref = answer.name("orderId")
        return Outcome("done", ref=ref) if ref else Outcome("unknown", message="no orderId in the answer")
    return _no_or_unknown(answer)


async def cancel_order(neighbours: Neighbours, held: Held) -> Outcome:
    """Undo of `create_order`; a 409 says that it was cancelled already."""
    ref = held.steps[ORDER_SERVICE].ref or ""
    body = {"reason": held.checkout.error_code or "cancelled"}
    path = f"/orders/{quote(ref, safe='')}/cancel"
    return _undone(await _call(neighbours.order, "POST", path, "cancel", ORDER_S, body, held.key("cancel")), done=frozenset({409}))


async def take(neighbours: Neighbours, held: Held, product_id: str) -> Outcome:
    """Take one line's stock at the product service: a signed change, minus the quantity."""
    answer = await _change_stock(neighbours, held, product_id, -1, "take")
    if isinstance(answer, Outcome):
        return answer
    if answer.ok:
        return Outcome("done")
    if answer.status in {400, 404, 409, 422}:
        return Outcome("refused", message=said(answer.text("message")))
    return Outcome("unknown", message=f"answered {answer.status}")


async def put_back(neighbours: Neighbours, held: Held, product_id: str) -> Outcome:
    """Undo of `take`: the opposite change, under a key of its own."""
    return _undone(await _change_stock(neighbours, held, product_id, 1, "return"))


def act_of(act: str) -> tuple[Act, Act]:
    """The do and the undo of an act."""
    if act.startswith(TAKE):
        product_id = act.removeprefix(TAKE)
        return (
            lambda neighbours, held: take(neighbours, held, product_id),
            lambda neighbours, held: put_back(neighbours, held, product_id),
        )
    return {INVENTORY: (deduct, restock), ORDER_SERVICE: (create_order, cancel_order)}[act]


async def do(neighbours: Neighbours, held: Held, act: str) -> Outcome:
    """Do an act, or ask for it again under its key: that tells whether it was done."""
    with trace.span(f"do {act.partition(':')[0]}") as span:
        outcome = await act_of(act)[0](neighbours, held)
        span.say(act=act, attempt=held.steps[act].sends, outcome=outcome.kind)
    return outcome


async def undo(neighbours: Neighbours, held: Held, act: str) -> Outcome:
    """Undo an act; asked twice, it is undone once."""
    with trace.span(f"undo {act.partition(':')[0]}") as span:
        outcome = await act_of(act)[1](neighbours, held)
        span.say(act=act, attempt=held.steps[act].undos + 1, outcome=outcome.kind)
    return outcome


async def _change_stock(neighbours: Neighbours, held: Held, product_id: str, sign: int, word: str) -> Answer | Outcome:
    quantity = next(line.quantity for line in held.order.lines if line.product_id == product_id)
    path = f"/api/products/{quote(product_id, safe='')}/stock"
    key = f"{held.order.order_id}:{word}:{product_id}"
    return await _call(neighbours.product, "PATCH", path, word, TAKE_S, {"quantity": sign * quantity}, key)


async def _call(
    neighbour: Neighbour | None, method: str, path: str, act: str, timeout_s: float, body: Mapping[str, Any], key: str
) -> Answer | Outcome:
    if neighbour is None:
        return Outcome("unavailable", message="the neighbour's address is not set")
    try:
        return await neighbour.call(method, path, act=act, timeout_s=timeout_s, body=body, key=key)
    except (NotSent, BreakerOpen):
        return Outcome("unavailable")
    except NoAnswer:
        return Outcome("unknown", message="no answer")


def _no_or_unknown(answer: Answer) -> Outcome:
    undecided = answer.status in {408, 425, 429} or (answer.status == 409 and "Retry-After" in answer.headers)
    if 400 <= answer.status < 500 and not undecided:
        return Outcome("refused", message=said(answer.text("message")))
    return Outcome("unknown", message=f"answered {answer.status}")


def _undone(answer: Answer | Outcome, done: frozenset[int] = frozenset()) -> Outcome:
    if isinstance(answer, Outcome):
        return Outcome("unknown", message=answer.message or "not available")
    if answer.ok or answer.status in done:
        return Outcome("done")
    if answer.status in _NO_ROUTE:
        return Outcome("no_route", message=f"answered {answer.status}")
    return Outcome("unknown", message=f"answered {answer.status}")
