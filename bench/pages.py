"""`python -m bench.pages`: how long pages take with 10,000 orders in the database, one reader after the other and ten at once."""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

from bench.full import fill_up
from bench.report import head
from bench.town import Town, town
from kassa.kit.secrets import Keys
from kassa.pages.buyer.track import tracking_address

ORDERS = 10_000
READS = 300
AT_MOST_MS = 50.0
"""Of the first answer, p95, one reader at a time."""
_SOME = "SELECT merchant_id, order_id, payment_id FROM orders WHERE order_number LIKE 'FILL-%' ORDER BY random() LIMIT 300"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill, read, and say; 1 when a page is slower than it may be."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"how many stand in the database (default {ORDERS:,})")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    given = parser.parse_args(arguments)
    with town() as place:
        dsn = place.stocked("kassa_pages")
        fill_up(place, dsn, given.orders)
        with place.serving({"DATABASE_URL": dsn, "PAGES": "shop,buyer,office"}) as port:
            found = _measure(place, dsn, port)
        machine = "  ".join(f"{name} {version}" for name, version in head(place).items())
    if given.json:
        print(json.dumps({"machine": machine, "orders": given.orders, "pages": found}, indent=2))
    else:
        print(f"{machine}\n{given.orders:,} orders\n\n{'page':<28}{'p50':>8}{'p95':>8}{'p95, ten at once':>18}{'bytes':>9}")
        for name, each in found.items():
            print(f"{name:<28}{each['p50']:>5.1f} ms{each['p95']:>5.1f} ms{each['p95_at_once']:>15.1f} ms{each['bytes']:>9,}")
    return 1 if any(each["p95"] > AT_MOST_MS for each in found.values()) else 0


def _measure(place: Town, dsn: str, port: int) -> dict[str, dict[str, float]]:
    rows = place.ask(dsn, _SOME)
    keys = Keys(b64decode(place.environment["KASSA_SECRET"]))
    office = _signed_in(place, dsn, port)
    pages: dict[str, tuple[list[str], str]] = {
        "the shop": (["/shop"], ""),
        "an order's tracking": ([tracking_address(keys, row["merchant_id"], row["order_id"]) for row in rows], ""),
        "today's money": (["/office"], office),
        "money in doubt": (["/office/doubt"], office),
        "the list of orders": (["/office/orders"], office),
        "an order at the office": ([f"/office/orders/{row['order_id']}" for row in rows], office),
        "a payment at the office": ([f"/office/payments/{row['payment_id']}" for row in rows], office),
        "the system": (["/office/system"], office),
    }
    return {name: _times(port, paths, cookie) for name, (paths, cookie) in pages.items()}


def _times(port: int, paths: Sequence[str], cookie: str) -> dict[str, float]:
    read = _read(port, paths[:20], cookie)  # a process's first answers compile its templates
    read = _read(port, [random.choice(paths) for _ in range(READS)], cookie)
    with ThreadPoolExecutor(10) as pool:
        shares = pool.map(lambda _: _read(port, [random.choice(paths) for _ in range(READS // 10)], cookie), range(10))
        at_once = [took for share in shares for took, _ in share]
    alone = statistics.quantiles([took for took, _ in read], n=100)
    return {
        "p50": alone[49],
        "p95": alone[94],
        "p95_at_once": statistics.quantiles(at_once, n=100)[94],
        "bytes": max(size for _, size in read),
    }


def _read(port: int, paths: Sequence[str], cookie: str) -> list[tuple[float, int]]:
    """Milliseconds and bytes of each page, over one connection."""
    line, found = http.client.HTTPConnection("127.0.0.1", port), []
    for path in paths:
        began = time.perf_counter()
        line.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = line.getresponse()
        size = len(answer.read())
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{path}: {answer.status}")
        found.append(((time.perf_counter() - began) * 1000, size))
    line.close()
    return found


def _signed_in(place: Town, dsn: str, port: int) -> str:
    """The cookie of a member of staff, whose account is made for this."""
    password = "only for a look around here"
    command = ["staff", "add", "bench", "--email", "bench@example.com", "--role", "admin", "--why", "bench", "--password-stdin"]
    environment = place.environment | {"DATABASE_URL": dsn}
    subprocess.run(
        [sys.executable, "-m", "kassa", *command], env=environment, input=password, text=True, check=True, stdout=subprocess.DEVNULL
    )
    line = http.client.HTTPConnection("127.0.0.1", port)
    form = urlencode({"name": "bench", "password": password, "next": "/office"})
    line.request("POST", "/office/sign-in", form, {"Content-Type": "application/x-www-form-urlencoded"})
    answer = line.getresponse()
    answer.read()
    return "; ".join(each.split(";")[0] for name, each in answer.getheaders() if name.lower() == "set-cookie")


if __name__ == "__main__":
    sys.exit(main())
