"""Stock, prices and tokens that are wanted by many, and two wishes about one order (F28 to F34)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from tests import rig
from tests.crash.asking import Ask
from tests.crash.fault import RACES, fault
from tests.crash.field import Field, Run
from tests.crash.lines import Lines
from tests.crash.shop import Shop, accept, becomes, fills, opened, order_of, ordered, statuses
from tests.crash.stories import (
    merchant_of,
)

from kassa.kit.money import Money

# ── stock ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@fault(
    "F28",
    "The last unit and two hundred buyers",
    holds="3 4",
    passes="one is sold, 199 clean refusals, no charge without stock",
    quick=1,
)
def the_last_unit(field_: Field) -> None:
    shop = opened(field_)
    shop.stocks({f"last-{number}": 1 for number in range(field_.runs)})
    slow: list[float] = []

    async def one(run: Run, lines: Lines) -> None:
        product, buyers = f"last-{run.number}", [field_.buyer() for _ in range(200)]
        first = len(shop.history.ops)
        said = await lines.race(shop.servers, [buyer.buys((product, 1)) for buyer in buyers])
        run.check(statuses(said) == Counter({200: 1, 422: 199}), f"answered {statuses(said)}")
        took = sorted(op.ended - op.began for op in shop.history.ops[first:] if op.ended)
        slow.append(took[int(0.99 * len(took))])

    field_.each_of_a_crowd(one, shop.history, at_once=1)
    sold = shop.town.ask(
        """
        SELECT product_id, available, (SELECT count(*) FROM reservations r WHERE r.product_id = s.product_id AND r.state = 'held') AS held
          FROM stock_levels s WHERE product_id LIKE 'last-%'
        """
    )
    field_.check(all((row["available"], row["held"]) == (0, 0) for row in sold), f"stock left: {sold[:3]}")
    field_.measure("p99 of 200 at once", f"{max(slow):.1f} s")
    shop.judge()


@fault("F29", "Baskets in opposite orders", holds="4", passes="no deadlock reaches a caller", runs=200)
def opposite_baskets(field_: Field) -> None:
    shop = opened(field_)
    names = [f"box-{number}" for number in range(4)]
    shop.stocks(dict.fromkeys(names, 1_000_000))

    async def one(run: Run, lines: Lines) -> None:
        basket = run.chance.sample(names, 3)
        pairs = [(field_.buyer(), basket), (field_.buyer(), basket[::-1]), (field_.buyer(), run.chance.sample(names, 4))]
        said = await lines.race(shop.servers, [buyer.buys(*((name, 1) for name in each)) for buyer, each in pairs])
        run.check(statuses(said) == Counter({200: 3}), f"answered {statuses(said)}")

    field_.each_of_a_crowd(one, shop.history, at_once=20)
    for server in shop.servers:
        field_.check("deadlock" not in server.log_text().lower(), "a deadlock in the log")
    shop.judge()


# ── what changes meanwhile ───────────────────────────────────────────────────────────────────────────────────────────


@fault("F30", "Prices change between quote and order", holds="2 3", passes="the old quote or 409, never a mix", runs=200)
def prices_change(field_: Field) -> None:
    shop = opened(field_)
    shop.stocks({"one": 1_000_000, "two": 1_000_000}, Money(1_000, "INR"))
    over = asyncio.Event()
    total: Counter[int] = Counter()

    async def flip() -> None:
        price = 1_000
        while not over.is_set():
            price = 3_000 - price
            await asyncio.to_thread(
                rig.query, shop.town.dsn, "UPDATE products SET price_minor = $1 WHERE product_id IN ('one', 'two')", price
            )
            await asyncio.sleep(0.02)

    async def one(run: Run, lines: Lines) -> None:
        buyer = field_.buyer()
        if run.number % 2:
            said = await lines.insist(shop.servers, buyer.buys(("one", 1), ("two", 1)))
        else:
            await fills(lines, shop, buyer, ("one", 1), ("two", 1))
            await asyncio.sleep(run.chance.uniform(0, 0.05))
            said = await lines.insist(shop.servers, buyer.orders())
        run.check(said is not None and said.status in {200, 201, 409, 422}, f"answered {said}")

    async def with_flips(run: Run, lines: Lines) -> None:
        if run.number == 0:
            flipping = asyncio.create_task(flip())
            await asyncio.sleep(0)
            over.flipping = flipping  # type: ignore[attr-defined]
        await one(run, lines)

    field_.each_of_a_crowd(with_flips, shop.history, at_once=8)
    over.set()
    rows = shop.town.ask(
        """SELECT order_id, array_agg(DISTINCT order_lines.price_minor) AS prices, max(orders.total_minor) AS total, sum(order_lines.price_minor * quantity)::bigint AS lines
             FROM order_lines JOIN orders USING (merchant_id, order_id) GROUP BY order_id"""
    )
    for row in rows:
        total[row["prices"][0]] += 1
        field_.check(len(row["prices"]) == 1 and row["total"] == row["lines"], f"an order mixes prices: {row}")
    field_.measure("orders by price", dict(total))
    field_.check(len(total) == 2 or field_.runs < 20, "prices never changed under an order")
    shop.judge()


@fault(
    "F31", "The cart is edited after the payment link was issued", holds="2", passes="the link's sum is the frozen quote", runs=60
)
def cart_edited_after_the_link(field_: Field) -> None:
    shop = opened(field_, "link")

    async def one(run: Run, lines: Lines) -> None:
        buyer = field_.buyer()
        order = await ordered(lines, shop, buyer, "link:stripe", ("prod_004", 2))
        await fills(lines, shop, buyer, ("prod_007", 3))
        until = time.monotonic() + 20
        while not (link := (await order_of(lines, shop, buyer, order))["paymentUrl"]):
            assert time.monotonic() < until, "no link"
            await asyncio.sleep(0.05)
        await asyncio.gather(fills(lines, shop, buyer, ("prod_008", 1)), asyncio.to_thread(accept, link))
        end = await becomes(lines, shop, buyer, order, "paid", "processing")
        run.check(end["totalAmount"] in {25, "25.00"}, f"the order's total is {end['totalAmount']}")
        cart = await lines.insist(shop.servers, Ask("GET", "/api/cart", user=buyer.user))
        assert cart is not None
        held = {each["productId"]: each["quantity"] for each in cart.json["data"]["items"]}
        run.check(held == {"prod_007": 3, "prod_008": 1}, f"the cart holds {held}")

    field_.each_of_a_crowd(one, shop.history, at_once=6)
    assert shop.town.sandbox is not None
    wrong = [row for row in shop.town.sandbox.summary()["keys"] if str(row["net"]) not in {"25.00", "25"}]
    field_.check(not wrong, f"the provider took another sum: {wrong[:3]}")
    shop.judge()


# ── tokens, and two wishes about one order ───────────────────────────────────────────────────────────────────────────


@fault("F32", "Subscription tokens raced to zero: 500 calls for 100 tokens", holds="11", passes="exactly 100 are accepted", quick=1)
def tokens_raced_to_zero(field_: Field) -> None:
    shop = opened(field_, "link")
    shop.town.listen(field_.runs)

    async def one(run: Run, lines: Lines) -> None:
        merchant, secret = merchant_of(run.number)
        tokens, calls = (100, 500) if run.number % 10 == 0 else (20, 100)
        shop.town.ask(f"UPDATE subscriptions SET tokens_total = tokens_used + {tokens} WHERE merchant_id = '{merchant}'")
        asks = [
            Ask(
                "POST",
                "/api/v1/payments",
                {"order_id": f"T-{number}", "amount": 1, "price": "1.00", "alias": "stripe"},
                api_key=secret,
            )
            for number in range(calls)
        ]
        said = await lines.race(shop.servers, asks)
        run.check(statuses(said)[200] == tokens, f"{statuses(said)[200]} accepted of {tokens}: {statuses(said)}")
        run.check(not {0, 500, 502, 503} & set(statuses(said)), f"answered {statuses(said)}")

    field_.each_of_a_crowd(one, shop.history, at_once=1)
    left = shop.town.ask("SELECT count(*)::int AS n FROM subscriptions WHERE tokens_used > tokens_total")
    field_.check(left[0]["n"] == 0, "more tokens were used than there are")
    shop.judge()


@fault("F33", "A cancel races with shipping", holds="6", passes="one winner", runs=300)
def cancel_races_with_shipping(field_: Field) -> None:
    shop = opened(field_)
    ends: Counter[str] = Counter()

    async def one(run: Run, lines: Lines) -> None:
        buyer = field_.buyer()
        order = await ordered(lines, shop, buyer, "cash_on_delivery", ("prod_005", 1))
        await becomes(lines, shop, buyer, order, "processing", "paid")
        wishes = [buyer.moves(order, "shipped", "staff"), buyer.moves(order, "cancelled")]
        run.chance.shuffle(wishes)
        said = await lines.race(shop.servers, wishes)
        end = (await order_of(lines, shop, buyer, order))["status"]
        ends[end] += 1
        won = next(each for each, wish in zip(said, wishes, strict=True) if wish.body == {"status": "shipped"})
        run.check(set(statuses(said)) <= {200, 409}, f"answered {statuses(said)}")
        run.check(end in {"shipped", "cancelled"}, f"ended {end}")
        run.check(won is not None and (won.status == 200) is (end == "shipped"), f"ended {end}, shipping was told {won}")

    field_.each_of_a_crowd(one, shop.history, at_once=8)
    field_.measure("ends", dict(ends))
    shop.judge()


@fault(
    "F34",
    "A reservation expires at the moment of its capture, give or take 5 ms",
    holds="3 4",
    passes="captured and sold, or refunded",
    runs=RACES,
    quick=10,
)
def expiry_races_with_capture(field_: Field) -> None:
    shop = opened(field_, "link")
    shop.stocks({"raced": 1_000_000})
    ends: Counter[str] = Counter()

    async def one(run: Run, lines: Lines) -> None:
        buyer = field_.buyer()
        order = await ordered(lines, shop, buyer, "link:stripe", ("raced", 1))
        rows = await asyncio.to_thread(
            rig.query,
            shop.town.dsn,
            """UPDATE checkouts SET deadline = kassa_now() + interval '1 second', next_at = kassa_now() + interval '1 second'
                WHERE order_id = $1::uuid RETURNING payment_id""",
            order,
        )
        at = time.monotonic() + 1 + run.chance.uniform(-0.005, 0.005) + run.chance.choice((0, 0, 0.1, 0.3))
        report = Ask(
            "POST", "/api/v1/payments/webhook", {"payment_id": str(rows[0]["payment_id"]), "status": "finished"}, signed=True
        )
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        said = await lines.race(shop.servers, [report] * run.chance.randrange(1, 3))
        run.check(set(statuses(said)) <= {200}, f"the report was answered {statuses(said)}")
        end = await becomes(lines, shop, buyer, order, "paid", "processing", "cancelled")
        ends[end["status"]] += 1

    field_.each_of_a_crowd(one, shop.history, at_once=40)
    field_.measure("ends", dict(ends))
    field_.check(len(ends) == 2 or field_.runs < 100, f"only one side ever won: {ends}")
    field_.rest(shop.servers[0])
    rows = shop.town.ask(
        """SELECT o.status, p.status AS payment, p.captured_minor - p.refunded_minor AS net, count(*)::int AS n
             FROM orders o JOIN payments p USING (merchant_id, payment_id) GROUP BY 1, 2, 3"""
    )
    for row in rows:
        good = (row["status"] in {"paid", "processing"} and row["net"] > 0) or (row["status"] == "cancelled" and row["net"] == 0)
        field_.check(good, f"{row}")
    _judge_without_book(shop)


def _judge_without_book(shop: Shop) -> None:
    """Reports that we made ourselves are not in the sandbox's book: everything else is judged."""
    shop.town.sandbox, kept = None, shop.town.sandbox
    shop.judge()
    shop.town.sandbox = kept
