"""One cart, one key, and callers who do with them what they like (F21 to F27)."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter

from tests.crash import merchants
from tests.crash.asking import Ask
from tests.crash.fault import RACES, fault
from tests.crash.field import Field, Run
from tests.crash.lines import Lines
from tests.crash.playing import Chapter
from tests.crash.shop import accept, again, fills, opened, statuses
from tests.crash.stories import (
    EITHER,
    UNDONE,
    Buyer,
    Story,
    around,
    buyer_cancels_a_link,
    buyer_cancels_what_is_paid,
    guest_buys,
    merchant_of,
)


@fault(
    "F21",
    "Two to twenty tabs pay one cart, each with a key of its own",
    holds="3",
    passes="one order, one capture; the others get the same order or 409",
    runs=RACES,
    quick=20,
)
def tabs_pay_one_cart(field_: Field) -> None:
    shop = opened(field_)

    async def one(run: Run, lines: Lines) -> None:
        buyer = field_.buyer()
        await fills(lines, shop, buyer, ("prod_005", 1))
        tabs = 20 if run.number % 50 == 0 else run.chance.randrange(2, 5)
        said = await lines.race(shop.servers, [again(buyer.orders(), str(tab)) for tab in range(tabs)])
        ids = {each.json["data"]["id"] for each in said if each is not None and each.status in {200, 201}}
        run.check(len(ids) == 1, f"{len(ids)} orders of {tabs} tabs: {statuses(said)}")
        run.check(set(statuses(said)) <= {200, 201, 409}, f"answered {statuses(said)}")
        run.check(statuses(said)[201] == 1, f"made {statuses(said)[201]} times")

    field_.each_of_a_crowd(one, shop.history, at_once=10)
    shop.judge()


@fault("F22", "The same key at once, up to fifty times", holds="8", passes="one execution, one answer", runs=RACES, quick=20)
def one_key_at_once(field_: Field) -> None:
    shop = opened(field_)

    async def one(run: Run, lines: Lines) -> None:
        buyer, times = field_.buyer(), 50 if run.number % 50 == 0 else 4
        ask = buyer.buys(("prod_005", 1))
        if run.number % 2:
            await fills(lines, shop, buyer, ("prod_005", 1))
            ask = buyer.orders()
        said = await lines.race(shop.servers, [ask] * times)
        said += [await lines.insist(shop.servers, ask) for each in said if each is None or each.status == 409]
        good = [each for each in said if each is not None and each.status in {200, 201}]
        run.check(len({each.raw for each in good}) == 1, f"{len({each.raw for each in good})} answers to one key: {statuses(said)}")
        run.check(set(statuses(said)) <= {200, 201, 409}, f"answered {statuses(said)}")
        run.check(sum(not each.replayed for each in good) == 1, f"executed {sum(not each.replayed for each in good)} times")

    field_.each_of_a_crowd(one, shop.history, at_once=10)
    shop.judge()


@fault(
    "F23",
    "The same key with another body, before, beside and after the first",
    holds="8",
    passes="422, no effect",
    runs=200,
    quick=20,
)
def one_key_two_bodies(field_: Field) -> None:
    shop = opened(field_)

    async def one(run: Run, lines: Lines) -> None:
        buyer = field_.buyer()
        first, other = buyer.buys(("prod_005", 1)), buyer.buys(("prod_005", 2))
        if run.number % 2:
            said = await lines.race(shop.servers, [first, other])
            run.check(sorted(statuses(said)) in ([200, 422], [200, 409]), f"answered {statuses(said)}")
        else:
            said = [await lines.insist(shop.servers, first)]
        told = await lines.insist(shop.servers, first), await lines.insist(shop.servers, other)
        run.check(sorted(statuses(told)) == [200, 422], f"afterwards {statuses(told)}")

    field_.each_of_a_crowd(one, shop.history, at_once=10)
    rows = shop.town.ask("SELECT idempotency->>'key' AS key FROM checkouts")
    field_.check(len(rows) == len({row["key"] for row in rows}), "a key has two checkouts")
    shop.field.judge(shop.town, shop.servers[0])


@fault(
    "F24", "The caller hangs up at every moment of a request", holds="3 6", passes="nothing left open, nothing half done", runs=300
)
def callers_hang_up(field_: Field) -> None:
    shop = opened(field_)

    async def one(run: Run, lines: Lines) -> None:
        buyer = field_.buyer()
        ask = buyer.buys(("prod_005", 1))
        if run.number % 3 == 1:
            await fills(lines, shop, buyer, ("prod_005", 1))
            ask = buyer.orders()
        if run.number % 3 == 2:
            ask = buyer.puts("prod_005", 1)
        await lines.ask(run.chance.choice(shop.servers), ask, timeout_s=0.0005 + (run.number % 60) * 0.0005)
        said = await lines.insist(shop.servers, ask)
        run.check(said is not None and said.status in {200, 201}, f"asked again: {said}")

    field_.each_of_a_crowd(one, shop.history, at_once=6)
    hung = sum(op.said is None for op in shop.history.ops)
    field_.measure("hung up", hung)
    field_.check(hung > field_.runs / 10, f"only {hung} callers hung up before their answer")
    shop.judge()
    idle = shop.town.ask(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
    )
    field_.check(idle[0]["n"] == 0, f"{idle[0]['n']} transactions are left open")


@fault(
    "F25",
    "The process is killed after the work, before its answer went out or was kept",
    holds="8",
    passes="the repeat gets the same object",
    quick=4,
)
def killed_before_the_answer(field_: Field) -> None:
    """Before and after the commits that decide and that keep the answer; then the same question under the same key."""
    town = field_.town("link")
    points = around("checkout.settle", "checkout.answer", "orders.move")
    stories = [
        Story("a guest buys", guest_buys, points[:2]),
        Story("a buyer orders by link", buyer_cancels_a_link, points[2:4], UNDONE),
        Story("a buyer cancels", buyer_cancels_what_is_paid, points[4:], EITHER),
    ]
    chapter = Chapter(town)
    chapter.play([each for each in stories for _ in range(-(-field_.runs // 6))])
    field_.result.runs += len(chapter.played)
    field_.result.wrong += chapter.wrong
    field_.result.recovered_s.append(chapter.took_s)


@fault("F26", "The same key from another buyer, and from another merchant", holds="8 10", passes="independent", runs=100)
def one_key_two_callers(field_: Field) -> None:
    shop = opened(field_, "link")
    shop.town.listen(2)
    keys = [secret for _, secret in map(merchant_of, range(2))]

    async def one(run: Run, lines: Lines) -> None:
        key = f"shared-key-{run.number:05d}"
        one, other = field_.buyer(), field_.buyer()
        for each in (one, other):
            await fills(lines, shop, each, ("prod_005", 1))
        said = await lines.race(shop.servers, [dataclasses.replace(each.orders(), key=key) for each in (one, other)])
        run.check(statuses(said) == Counter({201: 2}), f"buyers: {statuses(said)}")
        run.check(len({each.json["data"]["id"] for each in said if each}) == 2, "two buyers got one order")
        body = {"order_id": f"K-{run.number}", "amount": 1, "price": "10.00", "alias": "stripe"}
        said = await lines.race(shop.servers, [Ask("POST", "/api/v1/payments", body, key, api_key=each) for each in keys])
        run.check(statuses(said) == Counter({200: 2}), f"merchants: {statuses(said)} {[each.raw for each in said if each]}")
        run.check(len({each.json["payment_id"] for each in said if each}) == 2, "two merchants got one payment")

    field_.each_of_a_crowd(one, shop.history, at_once=6)
    shop.judge()


@fault(
    "F27",
    "A key is used again when its time is over",
    holds="3",
    passes="the domain's own key still forbids a second charge",
    runs=100,
)
def keys_are_forgotten(field_: Field) -> None:
    shop = opened(field_, "link")
    asked: list[tuple[Buyer, str]] = []

    async def pays(run: Run, lines: Lines) -> None:
        buyer = field_.buyer()
        said = await lines.insist(shop.servers, merchants.asks(buyer))
        assert said is not None
        assert said.status == 200, said.raw
        await asyncio.to_thread(accept, said.json["payment_url"])
        until = time.monotonic() + 20
        while (await lines.insist(shop.servers, merchants.shown(said.json["payment_id"]))).json["status"] != 2:  # type: ignore[union-attr]
            assert time.monotonic() < until, "not paid"
            await asyncio.sleep(0.05)
        asked.append((buyer, said.json["payment_id"]))

    async def asks_again(run: Run, lines: Lines) -> None:
        buyer, payment = asked[run.number % len(asked)]
        said = await lines.insist(shop.servers, merchants.asks(buyer))
        assert said is not None
        run.check(not said.replayed, "the key is still known")
        run.check(said.status == 400, f"answered {said.status} {said.raw!r}")
        run.check(said.json["payment_id"] == payment, "there is a second payment")

    field_.each_of_a_crowd(pays, shop.history, at_once=6)
    shop.town.ask("SELECT kassa_move_clock(interval '31 days')")
    before = shop.history.ops
    shop.history.ops = []
    field_.each_of_a_crowd(asks_again, shop.history, at_once=6)
    assert before
    rows = shop.town.ask("SELECT ref FROM payments WHERE ref_kind = 'outside' AND status = 'paid' GROUP BY ref HAVING count(*) > 1")
    field_.check(not rows, f"charged twice: {rows}")
    field_.judge(shop.town, shop.servers[0])
