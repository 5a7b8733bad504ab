"""The tester's desk under `/sandbox/control`: write scripts, read the book, count charges, empty everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from kassa.sandbox import exact, fields
from kassa.sandbox.behaviours import BEHAVIOURS
from kassa.sandbox.book import empty, moment, now_us
from kassa.sandbox.model import Call, Reply, Tx, say
from kassa.sandbox.neighbours import ACTS, CALLING, SETTINGS
from kassa.sandbox.payme.book import told
from kassa.sandbox.payme_api import SERVICE
from kassa.sandbox.payme_api.book import told_receipts
from kassa.sandbox.scripts import (
    BadScript,
    add_script,
    clear_scripts,
    drop_defaults,
    list_scripts,
    read_script,
    set_default,
)

_KINDS = {
    "charges": "charge",
    "refunds": "refund",
    "deductions": "deduction",
    "restocks": "restock",
    "orders": "order",
    "cancels": "cancel",
    "stock_changes": "stock_change",
    "notifications": "notification",
}
_SET = {
    "price": "UPDATE products SET price = ? WHERE id = ?",
    "product_stock": "UPDATE products SET product_stock = ? WHERE id = ?",
    "inventory_stock": "UPDATE products SET inventory_stock = ? WHERE id = ?",
}
_CHARGES = "SELECT service, key, ref, amount FROM bookings WHERE kind = 'charge' AND booked_us <= ? ORDER BY id"
_REFUNDS = "SELECT service, key, of_ref, amount FROM bookings WHERE kind = 'refund' AND booked_us <= ? ORDER BY id"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Door:
    """A route that no neighbour has: of the tester or of the buyer. `path` stands below `/sandbox`."""

    method: str
    path: str
    do: Callable[[Tx, Call], Reply]


def show_desk(_tx: Tx, call: Call) -> Reply:
    """What there is: the services with their settings and acts, and the behaviours."""
    services = {
        service: {
            "setting": f"{setting}={call.base_url}/sandbox/{service}",
            "acts": {one.name: f"{one.method} {one.path}" for one in ACTS if one.service == service},
        }
        for service, setting in SETTINGS.items()
    }
    calling = {one.name: one.path for one in CALLING}
    payme = {"page": f"{call.base_url}/sandbox/payme/{{purchase_id}}", "acts": calling}
    return say(200, {"services": services | {"payme": payme}, "behaviours": BEHAVIOURS})


def post_script(tx: Tx, call: Call) -> Reply:
    """Write a script: 201 with its id. Twice: two scripts, used one after the other."""
    try:
        wanted = read_script(call.fields, ACTS + CALLING)
    except BadScript as error:
        return _bad(str(error))
    return say(201, {"id": add_script(tx, wanted, now_us())})


def get_scripts(tx: Tx, _call: Call) -> Reply:
    """The scripts still to come, in the order of use; defaults last."""
    return say(200, {"scripts": list_scripts(tx)})


def delete_scripts(tx: Tx, call: Call) -> Reply:
    """Forget all scripts and defaults (`?service=`: of one service)."""
    return say(200, {"cleared": clear_scripts(tx, call.query.get("service"))})


def put_default(tx: Tx, call: Call) -> Reply:
    """How a service (or one `act` of it) behaves when no script is left. Twice: the newer one stands."""
    try:
        wanted = read_script({**call.fields, "service": call.params["service"]}, ACTS + CALLING)
    except BadScript as error:
        return _bad(str(error))
    return say(200, {"id": set_default(tx, wanted)})


def delete_default(tx: Tx, call: Call) -> Reply:
    """The service behaves well again."""
    return say(200, {"cleared": drop_defaults(tx, call.params["service"])})


def get_book(tx: Tx, call: Call) -> Reply:
    """Everything booked, oldest first. `service`, `since` (RFC 3339, inclusive) and `only` (names, comma) narrow it."""
    since = _since(call.query.get("since"))
    if since is None:
        return _bad("since is not a time")
    service = call.query.get("service")
    wanted = set(filter(None, call.query.get("only", "").split(","))) or {
        *_KINDS,
        "links",
        "webhooks",
        "calls",
        "stock",
        "payme",
        "payme_calls",
        "payme_receipts",
    }
    shown = {name: _bookings(tx, kind, service, since) for name, kind in _KINDS.items() if name in wanted}
    of_links = service in {None, "link"}
    if "links" in wanted:
        shown["links"] = _links(tx, call.base_url, since) if of_links else []
    if "webhooks" in wanted:
        shown["webhooks"] = _webhooks(tx) if of_links else []
    if "calls" in wanted:
        shown["calls"] = _calls(tx, service, since)
    if "stock" in wanted:
        shown["stock"] = _stock(tx)
    if service in {None, "payme"}:
        shown |= {name: rows for name, rows in told(tx).items() if name in wanted}
    if service in {None, SERVICE} and "payme_receipts" in wanted:
        shown["payme_receipts"] = told_receipts(tx)
    return say(200, shown)


def delete_book(tx: Tx, _call: Call) -> Reply:
    """Forget every booking, key, link and call; stock and prices are as at first. Scripts stay."""
    empty(tx)
    return say(200, {"emptied": True})


def get_summary(tx: Tx, _call: Call) -> Reply:
    """Per key the number of charges and what is left of them, in major units. `double` names keys charged twice."""
    now, keys = now_us(), dict[tuple[str, str], dict[str, Any]]()
    charges, refunds = _amounts(tx, _CHARGES, now), _amounts(tx, _REFUNDS, now)
    returned: dict[tuple[str, str], Decimal] = {}
    for service, _, ref, amount in refunds:
        returned[service, ref] = returned.get((service, ref), Decimal(0)) + amount
    for service, key, ref, amount in charges:
        back = returned.pop((service, ref), Decimal(0))
        row = keys.setdefault(
            (service, key or ref),
            {"service": service, "key": key, "charges": 0, "charged": Decimal(0), "refunded": Decimal(0), "of": []},
        )
        row["charges"] += 1
        row["charged"] += amount
        row["refunded"] += back
        row["of"].append(ref)
    rows = [{**_as_text(row), "net": exact.text(row["charged"] - row["refunded"])} for row in keys.values()]
    unbacked = [{"service": service, "of": ref, "refunded": exact.text(amount)} for (service, ref), amount in returned.items()]
    double = [row["key"] for row in rows if row["charges"] > 1]
    return say(200, {"keys": rows, "unbacked_refunds": unbacked, "double": double})


def patch_product(tx: Tx, call: Call) -> Reply:
    """Set `price` (major units), `product_stock` or `inventory_stock` (pieces, null: untracked) of one product."""
    changes: dict[str, Any] = {}
    for name, value in call.fields.items():
        if name == "price" and (price := exact.amount(value)) is not None:
            changes[name] = exact.text(price)
        elif name in {"product_stock", "inventory_stock"} and (value is None or (fields.pieces(value) or 0) >= 0):
            changes[name] = value
        else:
            return _bad("price, product_stock and inventory_stock can be set")
    known = tx.execute("SELECT 1 FROM products WHERE id = ?", (call.params["product_id"],)).fetchone()
    if known is None:
        return say(404, {"detail": "Product not found"})
    for name, value in changes.items():
        tx.execute(_SET[name], (value, call.params["product_id"]))
    return say(200, {"set": sorted(changes)})


DOORS = (
    Door("GET", "/control", show_desk),
    Door("POST", "/control/scripts", post_script),
    Door("GET", "/control/scripts", get_scripts),
    Door("DELETE", "/control/scripts", delete_scripts),
    Door("PUT", "/control/defaults/{service}", put_default),
    Door("DELETE", "/control/defaults/{service}", delete_default),
    Door("GET", "/control/book", get_book),
    Door("DELETE", "/control/book", delete_book),
    Door("GET", "/control/summary", get_summary),
    Door("PATCH", "/control/products/{product_id}", patch_product),
)


def _bad(reason: str) -> Reply:
    return say(422, {"detail": reason})


def _since(text: str | None) -> int | None:
    """A time as microseconds since 1970; 0 when none was asked for, `None` when it cannot be read."""
    if not text:
        return 0
    try:
        found = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        return None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return (found - _EPOCH) // timedelta(microseconds=1)


def _bookings(tx: Tx, kind: str, service: str | None, since: int) -> list[dict[str, Any]]:
    rows = tx.execute(
        "SELECT service, key, amount, facts, booked_us FROM bookings"
        " WHERE kind = ?1 AND (?2 IS NULL OR service = ?2) AND booked_us BETWEEN ?3 AND ?4 ORDER BY booked_us, id",
        (kind, service, since, now_us()),
    ).fetchall()
    return [
        {"service": service, "key": key}
        | ({} if amount is None else {"amount": amount})
        | exact.loads(facts.encode())
        | {"booked_at": moment(booked)}
        for service, key, amount, facts, booked in rows
    ]


def _links(tx: Tx, base_url: str, since: int) -> list[dict[str, Any]]:
    rows = tx.execute(
        "SELECT token, payment_id, facts, state, made_us, decided_us FROM links WHERE made_us >= ? ORDER BY made_us",
        (since,),
    ).fetchall()
    return [
        {"payment_id": payment_id, "token": token, "payment_url": f"{base_url}/sandbox/pay/{token}", "state": state}
        | exact.loads(facts.encode())
        | {"booked_at": moment(made), "decided_at": moment(decided)}
        for token, payment_id, facts, state, made, decided in rows
    ]


def _webhooks(tx: Tx) -> list[dict[str, Any]]:
    rows = tx.execute("SELECT payment_id, status, attempts, last, told_us FROM webhooks ORDER BY id").fetchall()
    return [
        {"payment_id": payment_id, "status": status, "attempts": attempts, "last": last, "told_at": moment(told)}
        for payment_id, status, attempts, last, told in rows
    ]


def _calls(tx: Tx, service: str | None, since: int) -> list[dict[str, Any]]:
    rows = tx.execute(
        "SELECT id, service, act, method, path, key, request_id, behaviour, answered, at_us FROM calls"
        " WHERE (?1 IS NULL OR service = ?1) AND at_us >= ?2 ORDER BY id",
        (service, since),
    ).fetchall()
    names = ("id", "service", "act", "method", "path", "key", "request_id", "behaviour", "answered")
    return [dict(zip(names, row[:-1], strict=True)) | {"booked_at": moment(row[-1])} for row in rows]


def _stock(tx: Tx) -> list[dict[str, Any]]:
    names = ("product_id", "price", "product_stock", "inventory_stock")
    rows = tx.execute("SELECT id, price, product_stock, inventory_stock FROM products ORDER BY place").fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


def _amounts(tx: Tx, query: str, now: int) -> list[tuple[str, str | None, str, Decimal]]:
    rows = tx.execute(query, (now,)).fetchall()
    return [(service, key, ref, Decimal(amount or 0)) for service, key, ref, amount in rows]


def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    return {name: exact.text(value) if isinstance(value, Decimal) else value for name, value in row.items()}
