"""The invariants (product.md, section 7) as plain functions over the tables, the strangers' book and what was answered.

`watch_out` holds at any moment; `judge` holds when all has come to rest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tests.factories import render_checkout, render_order

from kassa.checkout.wishes import Bought, Placed, Replayed
from kassa.collect import Refunded

if TYPE_CHECKING:
    from tests.histories.play import Asked
    from tests.histories.town import Town

Values = dict[str, Any]


def watch_out(town: Town) -> list[str]:
    """What is wrong at this moment, whatever else is going on."""
    found = list(town.book.faults)
    found += [f"I3: charged {charge.times} times: {key}" for key, charge in town.book.charges.items() if charge.times > 1]
    return [*found, *_balanced(town), *_stock(town), *_numbered(town)]


def judge(town: Town, asked: Sequence[Asked]) -> list[str]:
    """What is wrong now that nothing moves any more."""
    return [*watch_out(town), *_over(town), *_purchases(town), *_books(town), *_strangers(town), *_answers(town, asked)]


def _balanced(town: Town) -> Iterator[str]:
    """I1 and I2: what the ledger holds at a provider is what the payment says was captured and not given back."""
    held: Counter[Any] = Counter()
    entries = {row["entry_id"]: row for row in town.server.of("ledger_entries")}
    posted = Counter()
    for posting in town.server.of("ledger_postings"):
        entry = entries[posting["entry_id"]]
        posted[posting["entry_id"]] += 1
        sign = posting["debit"].startswith("provider:") - posting["credit"].startswith("provider:")
        held[entry["payment_id"]] += sign * posting["amount_minor"]
    yield from (f"I1: an entry without a posting: {entry}" for entry in entries if not posted[entry])
    for row in town.server.of("payments"):
        net = row["captured_minor"] - row["refunded_minor"]
        if held[row["payment_id"]] != net:
            yield f"I2: the ledger holds {held[row['payment_id']]}, the payment {net}: {row['payment_id']}"
    lines: Counter[Any] = Counter()
    for line in town.server.of("order_lines"):
        lines[line["order_id"]] += line["total_minor"]
    yield from (
        f"I2: lines are {lines[row['order_id']]}"
        for row in town.server.of("orders")
        if lines[row["order_id"]] != row["total_minor"]
    )


def _stock(town: Town) -> Iterator[str]:
    """I4: what can be had and what somebody holds is told by the journal."""
    held: Counter[str] = Counter()
    for row in town.server.of("reservations"):
        if row["state"] == "held" and row["source"] == "own":
            held[row["product_id"]] += row["quantity"]
    told: Counter[str] = Counter()
    for row in town.server.of("stock_journal"):
        told[row["product_id"]] += -row["quantity"] if row["kind"] == "sold" else row["quantity"]
    for row in town.server.of("stock_levels"):
        name = row["product_id"]
        if row["available"] + held[name] != told[name]:
            yield f"I4: {name}: {row['available']} to be had and {held[name]} held, {told[name]} told"


def _numbered(town: Town) -> Iterator[str]:
    """I6: numbers without gaps, in the timeline of each order and in the events of each subject."""
    numbers: defaultdict[Any, list[int]] = defaultdict(list)
    for row in town.server.of("order_timeline"):
        numbers[row["order_id"]].append(row["sequence"])
    last = {row["order_id"]: row["version"] for row in town.server.of("orders")}
    for row in town.server.of("events"):
        numbers[row["subject"]].append(row["sequence"])
    last |= {row["subject"]: row["last"] for row in town.server.of("event_counters")}
    for subject, found in numbers.items():
        if sorted(found) != list(range(1, last.get(subject, 0) + 1)):
            yield f"I6: {subject} has the numbers {sorted(found)}, the last is {last.get(subject)}"


def _over(town: Town) -> Iterator[str]:
    """I5: nothing is open, and what needs a person is in the list."""
    listed = {row["subject"] for row in town.server.of("cases") if row["closed_at"] is None}
    for row in town.server.of("checkouts"):
        if row["status"] not in {"completed", "undone", "parked"} or (row["status"] != "parked" and row["next_at"] is not None):
            yield f"I5: still {row['status']}, next at {row['next_at']}: {row['checkout_id']}"
        if row["status"] == "parked" and f"checkout:{row['checkout_id']}" not in listed:
            yield f"I5: parked and in no list: {row['checkout_id']}"
    for row in town.server.of("payments"):
        if row["status"] == "unknown" or (row["status"] == "opened" and row["provider"] != "cash_on_delivery"):
            yield f"I5: payment still {row['status']}: {row['payment_id']}"
    for row in town.server.of("refunds"):
        if row["status"] == "pending" or (row["status"] == "parked" and f"refund:{row['refund_id']}" not in listed):
            yield f"I5: refund still {row['status']}, next at {row['next_at']}: {row['refund_id']}"
    yield from (f"I4: still held: {row}" for row in town.server.of("reservations") if row["state"] == "held")


def _purchases(town: Town) -> Iterator[str]:
    """I3: an order stands if and only if its money does, and its pieces have left the shelf once."""
    orders, payments = _by(town, "orders", "order_id"), _by(town, "payments", "payment_id")
    carts: Counter[Any] = Counter()
    for row in town.server.of("checkouts"):
        if row["order_id"] is None:
            continue
        order, payment = orders[row["order_id"]], payments[row["payment_id"]]
        sold, net = _sold(row, order), payment["captured_minor"] - payment["refunded_minor"]
        if row["cart_id"] is not None:
            carts[row["cart_id"], row["cart_version"]] += 1
        if row["status"] == "parked":
            continue
        cash = payment["provider"] == "cash_on_delivery"
        if order["status"] == "pending" or (order["status"] == "cancelled") == sold:
            yield f"I3: the checkout is {row['status']}, the order {order['status']}: {row['checkout_id']}"
        if sold and not cash and payment["captured_minor"] != payment["amount_minor"]:
            yield f"I3: an order without its money: {row['checkout_id']}"
        if not sold and net and not _parked_refund(town, row["payment_id"]):
            yield f"I3: {net} kept without an order: {row['checkout_id']}"
        yield from _left_the_shelf(town, row, sold=sold)
    yield from (f"I3: a cart was ordered {times} times: {cart}" for cart, times in carts.items() if times > 1)


def _left_the_shelf(town: Town, checkout: Values, *, sold: bool) -> Iterator[str]:
    if town.kind != "own":
        return
    lines = Counter(
        {line["product_id"]: line["quantity"] for line in town.server.of("order_lines") if line["order_id"] == checkout["order_id"]}
    )
    left: Counter[str] = Counter()
    back: Counter[str] = Counter()
    for row in town.server.of("stock_journal"):
        if row["reference"].startswith(str(checkout["checkout_id"])):
            (left if row["kind"] == "sold" else back)[row["product_id"]] += row["quantity"]
    if left != (lines if checkout["status"] == "completed" else Counter()):
        yield f"I3: {dict(left)} left the shelf for {dict(lines)}: {checkout['checkout_id']}"
    if (not sold and checkout["status"] == "completed" and back != lines) or back - left:
        yield f"I4: {dict(back)} came back of {dict(left)}: {checkout['checkout_id']}"


def _books(town: Town) -> Iterator[str]:
    """I9: the provider's book and ours say the same, payment by payment."""
    known = set()
    for row in town.server.of("payments"):
        net = row["captured_minor"] - row["refunded_minor"]
        key = row["provider_key"] if row["provider"] == "card" else str(row["payment_id"])
        known.add(key)
        theirs = town.book.net(key) if row["provider"] == "card" else town.book.net_of_link(key)
        listed = row["status"] == "parked" or _parked_refund(town, row["payment_id"])
        if row["provider"] in {"card", "link"} and theirs != net and not listed:
            yield f"I9: the provider holds {theirs}, we {net}: {key} ({row['status']})"
    yield from (f"I9: a charge that we do not know: {key}" for key in town.book.charges if key not in known)


def _strangers(town: Town) -> Iterator[str]:
    """I3 at the neighbours: what they have given is what was sold."""
    orders = _by(town, "orders", "order_id")
    placed = Counter(town.book.orders.values()) - Counter(town.book.orders[name] for name in town.book.cancelled)
    for row in town.server.of("checkouts"):
        if row["order_id"] is None or row["status"] == "parked" or _stuck(town, row):
            continue
        sold = _sold(row, orders[row["order_id"]])
        wanted = Counter(
            {
                line["product_id"]: line["quantity"]
                for line in town.server.of("order_lines")
                if line["order_id"] == row["order_id"] and sold
            }
        )
        if "inventory" in row["acts"] and +town.book.taken.get(str(row["checkout_id"]), Counter()) != wanted:
            yield f"I3: the inventory gave {town.book.taken.get(str(row['checkout_id']))} for {dict(wanted)}: {row['checkout_id']}"
        if any(act.startswith("take:") for act in row["acts"]) and +town.book.taken.get(str(row["order_id"]), Counter()) != wanted:
            yield f"I3: the product service gave {town.book.taken.get(str(row['order_id']))} for {dict(wanted)}: {row['checkout_id']}"
        if "order_service" in row["acts"] and placed[str(row["checkout_id"])] != int(sold):
            yield f"I3: the order service has {placed[str(row['checkout_id'])]} orders of {row['checkout_id']}"


def _answers(town: Town, asked: Sequence[Asked]) -> Iterator[str]:
    """I6 and I8: what was answered is still true, and one key was answered one thing."""
    checkouts, orders = _by(town, "checkouts", "checkout_id"), _by(town, "orders", "order_id")
    refunds = _by(town, "refunds", "refund_id")
    told: defaultdict[tuple[str, str], set[tuple[int, bytes]]] = defaultdict(set)
    begun: defaultdict[str, set[Any]] = defaultdict(set)
    for each in asked:
        match each.answer():
            case Bought(view=view, final=final):
                row = checkouts.get(view.checkout_id)
                if row is None:
                    yield f"I6: an answered checkout is not there: {view.checkout_id}"
                elif final and (view.status == "completed") != (row["status"] == "completed") and row["status"] != "parked":
                    yield f"I6: was told {view.status}, and is {row['status']}: {view.checkout_id}"
                begun[each.key or ""].add(view.checkout_id)
                if final and view.status in {"completed", "failed"}:
                    told[each.what, each.key or ""].add(render_checkout(view))
            case Replayed(status=status, body=body):
                told[each.what, each.key or ""].add((status, body))
            case Placed(order=order) as placed:
                if order.order_id not in orders:
                    yield f"I6: an answered order is not there: {order.order_id}"
                elif each.what == "cancel" and orders[order.order_id]["status"] != "cancelled":
                    yield f"I6: a cancelled order is {orders[order.order_id]['status']}: {order.order_id}"
                elif each.key is not None:
                    told[each.what, each.key].add(render_order(placed))
            case Refunded(refund=refund):
                if refund.refund_id not in refunds or (refund.status == "succeeded" != refunds[refund.refund_id]["status"]):
                    yield f"I6: an answered refund is {refunds.get(refund.refund_id)}"
    yield from (f"I8: {key} was answered {found}" for key, found in told.items() if len(found) > 1)
    yield from (f"I8: {key} began {found}" for key, found in begun.items() if key and len(found) > 1)


def _sold(checkout: Values, order: Values) -> bool:
    return checkout["status"] == "completed" and order["status"] != "cancelled"


def _parked_refund(town: Town, payment_id: Any) -> bool:
    return any(row["payment_id"] == payment_id and row["status"] == "parked" for row in town.server.of("refunds"))


def _stuck(town: Town, checkout: Values) -> bool:
    """An act that a person must see to: it is in the list, and nothing is known of it."""
    listed = {row["subject"] for row in town.server.of("cases") if row["closed_at"] is None}
    steps: Iterable[Values] = town.server.of("checkout_steps")
    stuck = any(row["checkout_id"] == checkout["checkout_id"] and row["status"] == "stuck" for row in steps)
    return stuck and f"checkout:{checkout['checkout_id']}" in listed


def _by(town: Town, table: str, column: str) -> dict[Any, Values]:
    return {row[column]: row for row in town.server.of(table)}
