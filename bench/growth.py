"""How things are with none, a million and ten million orders: `python -m bench.growth`, `--orders 0,200000` for less.

One database grows from size to size. At each of them: checkouts against an empty database, one hot product against many, the time
of reads, and what `kassa verify` takes. Ten million take an hour or two and some 100 GB; `--record` writes docs/bench.md anew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bench import page, payme, rows
from bench.fill import fill
from bench.full import TEMPLATES, buy_some, in_turn, look_for_room
from bench.payme import Line
from bench.report import head
from bench.town import Town, town

SIZES = "0,1000000,10000000"
READS = 300
BY_PAYME = 4
"""Of the purchases that are repeated."""
OFFERED = {
    "SURFACES": "orders,checkout,purchases,payments",
    "TRUST_MERCHANT_HEADER": "true",
    "PROVIDER_URL": "http://127.0.0.1:9",
    "PROVIDER_WEBHOOK_SECRET": "nobody-reports-anything-to-this-shop-of-the-bench",
    **payme.CASHBOX,
}
"""Every contract; of providers nobody is asked."""
_SOME = """
    SELECT buyer_id, order_id::text, payment_id::text FROM orders
     WHERE merchant_id = '1' AND channel = 'shop'
       AND order_number = ANY(SELECT 'FILL-' || floor(random() * $1)::bigint FROM generate_series(1, $2))
"""
_BOUGHT = "SELECT buyer_id, order_id::text, payment_id::text FROM orders WHERE merchant_id = '1' AND channel = 'shop' LIMIT $1"
_SIZE = "SELECT pg_size_pretty(pg_database_size(current_database()))"


def main() -> int:
    """Measure and print; 1 when an answer was wrong or the books are."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--orders", default=SIZES, help=f"the sizes, rising (default {SIZES})")
    parser.add_argument("--pairs", type=int, default=3, help="how often two sides are measured in turn (default 3)")
    parser.add_argument("--seconds", type=int, default=6, help="how long each measurement takes (default 6)")
    parser.add_argument("--record", action="store_true", help="write docs/bench.json, docs/bench.md and docs/bench.svg too")
    given = parser.parse_args()
    sizes: list[dict[str, Any]] = []
    right = True
    with town() as place:
        machine, dsn, empty = head(place), place.stocked("kassa_grown"), place.stocked("kassa_small")
        payme.stock(place, dsn)
        grown = replace(place, dsn=dsn, environment=place.environment | OFFERED | {"DATABASE_URL": dsn})
        stands = 0
        look_for_room(place, max(map(int, given.orders.split(","))))
        for orders in map(int, given.orders.split(",")):
            found: dict[str, Any] = {}
            if orders > stands:
                say(f"from {stands:,} to {orders:,} orders")
                found[f"filling, from {stands:,}"] = f"{_fill(grown, orders - stands, stands):.0f} s"
                stands = orders
            right &= _measure(grown, empty, orders, given, found)
            sizes.append({"orders": orders, "found": found})
    wide = {what: None for size in sizes for what in size["found"]}
    sizes = [{"orders": size["orders"], "found": {what: size["found"].get(what, "") for what in wide}} for size in sizes]
    notes = ["Row 1 at a size is its ratio above times that of row 4: pgbench would leave books behind that are not in order"]
    result = {"at": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine, "sizes": sizes, "notes": notes}
    if given.record:
        page.record_growth(result)
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return 0 if right else 1


def say(text: str) -> None:
    """Progress goes to standard error."""
    print(text, file=sys.stderr, flush=True)


def _fill(place: Town, more: int, stands: int) -> float:
    """Seconds that it took."""
    buy_some(place, place.dsn)
    with place.serving({}) as port:
        payme.buy(place, port, BY_PAYME, 900_000 + stands)
    began = time.monotonic()
    asyncio.run(fill(place.dsn, more, templates=TEMPLATES + BY_PAYME))
    return time.monotonic() - began


def _measure(place: Town, empty: str, orders: int, given: argparse.Namespace, found: dict[str, Any]) -> bool:
    """Everything at one size; whether all was right."""
    found["database"] = place.ask(place.dsn, _SIZE)[0][0]
    with place.serving({}) as port, place.serving({"DATABASE_URL": empty}) as other:
        ours, theirs, right = in_turn(place, (port, other), given.pairs, given.seconds, say)
        ratios = [mine / small for mine, small in zip(ours, theirs, strict=True)]
        found["row 4: checkouts against an empty database"] = f"{statistics.median(ratios):.2f}"
        hot = rows.one_hot_product(replace(place, port=port), given.pairs, given.seconds, say)
        found["row 5: one product against many"] = f"{hot.ratio:.2f}"
        _read(place, port, orders, found)
    took_s, memory_mb, clean = _verify(place)
    found["kassa verify"] = f"{took_s:.0f} s"
    found["its memory at most"] = f"{memory_mb:.0f} MB"
    say(f"  {found}")
    return right and hot.correct and clean


def _read(place: Town, port: int, orders: int, found: dict[str, Any]) -> None:
    """The time of reads: of buyers with one order, and of one who has bought ever since the measuring began."""
    some = place.ask(place.dsn, _SOME, orders, READS) if orders else place.ask(place.dsn, _BOUGHT, READS)
    heavy = f"Bearer {place.token}"
    reads: dict[str, Callable[[Any], tuple[str, str]]] = {
        "a cart": lambda row: ("/api/cart", _bearer(place, row["buyer_id"])),
        "an order": lambda row: (f"/api/orders/{row['order_id']}", _bearer(place, row["buyer_id"])),
        "its tracking": lambda row: (f"/api/orders/{row['order_id']}/tracking", _bearer(place, row["buyer_id"])),
        "orders of a buyer with one": lambda row: ("/api/orders?limit=20", _bearer(place, row["buyer_id"])),
        "orders of a buyer with thousands": lambda _: (f"/api/orders?limit=20&page={random.randint(1, 20)}", heavy),
        "a payment's ledger": lambda row: (f"/api/v1/payments/{row['payment_id']}/ledger", ""),
        "the merchant's payments": lambda _: ("/api/v1/payments?limit=50", ""),
        "the merchant's events": lambda _: ("/api/v1/events?limit=50", ""),
    }
    line = Line(port)
    _read_statements(line, found)
    for name, of in reads.items():
        times = []
        for row in some:
            path, bearer = of(row)
            answer, took_ms = line.ask("GET", path, bearer)
            if answer.get("success") is False or "code" in answer:
                raise RuntimeError(f"{path}: {answer}")
            times.append(took_ms)
        cut = statistics.quantiles(times, n=100)
        found[name] = f"{cut[49]:.1f} ms, p99 {cut[98]:.1f}"


def _read_statements(line: Line, found: dict[str, Any]) -> None:
    """What Payme is told of an hour, somewhere in the last eighty days."""
    now, hour, times, rows_told = int(time.time() * 1000), 3_600_000, [], 0
    for _ in range(READS // 10):
        begin = now - random.randrange(80 * 24) * hour
        answer, took_ms = payme.statement(line, begin - hour, begin)
        rows_told += len(answer["result"]["transactions"])
        times.append(took_ms)
    found["Payme's statement of an hour"] = f"{statistics.median(times):.1f} ms ({rows_told * 10 // READS} attempts)"


def _bearer(place: Town, buyer: str | None) -> str:
    return f"Bearer {place.token_of(buyer)}" if buyer else ""


def _verify(place: Town) -> tuple[float, float, bool]:
    """Seconds, megabytes at the most, and whether everything is in order."""
    began = time.monotonic()
    command = [sys.executable, "-m", "kassa", "verify", "--json"]
    process = subprocess.Popen(command, env=place.environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - began, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3), process.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
