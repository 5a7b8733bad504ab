"""How the checkout contract shows things: snake_case, major units as exact numbers, refusals under `detail`."""

from __future__ import annotations

from typing import Any

from kassa.api.answers import dumps, major
from kassa.checkout.model import CheckoutView, shown_step
from kassa.kit.clock import rfc3339

_LONGEST_MESSAGE = 300


def render_checkout(view: CheckoutView) -> tuple[int, bytes]:
    """The answer for a checkout: 200 done, 422 refused, 202 while its end is not known. The same bytes for the same view."""
    checkout_id = str(view.checkout_id)
    if view.error is not None:
        return 422, dumps({"detail": _refusal(view)})
    if view.status == "completed":
        done = {"checkout_id": checkout_id, "error": None, "order_id": view.order_ref, "total": _total(view), "status": "completed"}
        return 200, dumps(done)
    return 202, dumps({"checkout_id": checkout_id, "error": None, "status": "processing"})


def whole_checkout(view: CheckoutView) -> dict[str, Any]:
    """A checkout with its steps. It holds nothing personal."""
    return {
        "checkout_id": str(view.checkout_id),
        "status": view.status,
        "order_id": view.order_ref,
        "payment_id": view.payment_ref,
        "total": _total(view),
        "error": view.error,
        "message": view.message if view.error is not None else None,
        "steps": [{"step": shown_step(step.step), "status": step.status, "at": rfc3339(step.began_at)} for step in view.steps],
    }


def location(view: CheckoutView) -> tuple[bytes, bytes]:
    """Where to ask how it goes on."""
    return (b"location", f"/checkout/{view.checkout_id}".encode())


def _refusal(view: CheckoutView) -> dict[str, Any]:
    told: dict[str, Any] = {
        "checkout_id": str(view.checkout_id),
        "error": view.error,
        "message": (view.message or f"{view.error}.")[:_LONGEST_MESSAGE],
        "code": view.code,
    }
    if view.items is not None:
        told["items"] = [_item(item, view.currency) for item in view.items]
    return told


def _item(item: Any, currency: str) -> dict[str, Any]:
    if "price_minor" in item:
        return {"product_id": item["product_id"], "price": major(item["price_minor"], currency)}
    return {name: item[name] for name in ("product_id", "requested", "available")}


def _total(view: CheckoutView) -> Any:
    return None if view.total_minor is None else major(view.total_minor, view.currency)
