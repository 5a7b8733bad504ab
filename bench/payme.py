"""How long Payme waits for an answer: `python -m bench.payme`.

Each method of the Merchant API against a bare handler with one indexed read and one write, one call after the other, in turn; a
ratio of the 99th percentiles, which must not be above five.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import statistics
import sys
import time
from collections import defaultdict
from typing import Any

from bench.report import head
from bench.simple import INDEX
from bench.town import Town, town

MUST = 5.0
KEY = "bench-key-of-a-cashbox-of-36-letters"
CASHBOX = {"PAYME_ID": "650000000000000000000001", "PAYME_KEY": KEY}
METHODS = ("CheckPerformTransaction", "CreateTransaction", "PerformTransaction", "CheckTransaction", "CancelTransaction")
_CATALOGUE = (
    "INSERT INTO merchants (merchant_id, name) VALUES ('1', 'Bench') ON CONFLICT DO NOTHING",
    "INSERT INTO channels (merchant_id, channel, currency, methods) VALUES ('1', 'ambassadors', 'UZS', '{payme}')",
    """INSERT INTO products (merchant_id, channel, product_id, sku, name, price_minor, currency)
       SELECT '1', 'ambassadors', n, n, n, 5000000, 'UZS' FROM generate_series(1, 100) n""",
)


class Line:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, authorization: str, body: Any = None) -> tuple[dict[str, Any], float]:
        """The answer, and how many milliseconds it took. Without `authorization` it is asked as merchant 1."""
        raw = None if body is None else json.dumps(body).encode()
        began = time.perf_counter()
        self._http.request(method, path, raw, _headers(authorization))
        read = self._http.getresponse().read()
        took_ms = (time.perf_counter() - began) * 1000
        found: dict[str, Any] = json.loads(read)
        return found, took_ms


def _headers(authorization: str) -> dict[str, str]:
    who = {"Authorization": authorization} if authorization else {"X-Merchant-Id": "1"}
    return {**who, "Content-Type": "application/json"}


def main() -> int:
    """Measure and print; 1 when a ratio is above five, an answer was wrong, or the books are."""
    parser = argparse.ArgumentParser(prog="python -m bench.payme", description=__doc__)
    parser.add_argument("--orders", type=int, default=400, help="orders paid and given back in a pair (default 400)")
    parser.add_argument("--pairs", type=int, default=3, help="how often the two sides are measured in turn (default 3)")
    given = parser.parse_args()
    with town() as place:
        dsn = place.another("kassa_payme")
        stock(place, dsn)
        settings = {"DATABASE_URL": dsn, "SURFACES": "purchases", **CASHBOX}
        with place.serving(settings) as port, place.simple() as bare:
            place.ask(place.yard, INDEX)
            _pair(place, port, bare, 50, 0)
            pairs = [_pair(place, port, bare, given.orders, pair + 1) for pair in range(given.pairs)]
        good = place.verify(settings)
        machine = head(place)
    print("  ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"\n{'':26}{'p50 ms':>8}{'p99 ms':>8}{'bare p99':>10}{'ratio':>8}{'spread':>15}   must be at most {MUST:.0f}")
    worst = 0.0
    for method in METHODS:
        ratios = [ours[method][1] / theirs[1] for ours, theirs in pairs]
        p50, p99 = (statistics.median(ours[method][place_of] for ours, _ in pairs) for place_of in (0, 1))
        bare_p99 = statistics.median(theirs[1] for _, theirs in pairs)
        spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
        print(f"{method:26}{p50:8.1f}{p99:8.1f}{bare_p99:10.1f}{statistics.median(ratios):8.1f}{spread:>15}")
        worst = max(worst, statistics.median(ratios))
    print(f"\n{'ok ' if good else 'NOT'} kassa verify is clean")
    return 0 if good and worst <= MUST else 1


def _pair(place: Town, port: int, bare: int, orders: int, pair: int) -> tuple[dict[str, tuple[float, float]], tuple[float, float]]:
    """50th and 99th percentiles of each method, and of the bare handler."""
    buyers = range(pair * 100_000, pair * 100_000 + orders)
    purchases = _purchases(place, port, buyers)
    basic = _basic()
    line, times = Line(port), defaultdict[str, list[float]](list)
    for number, (order_id, amount) in zip(buyers, purchases, strict=True):
        for method in METHODS:
            body = {"method": method, "id": number, "params": _params(method, f"{number:024d}", order_id, amount)}
            answer, took_ms = line.ask("POST", "/payme/webhook", basic, body)
            if "result" not in answer:
                raise RuntimeError(f"{method}: {answer}")
            times[method].append(took_ms)
    simple = Line(bare)
    body = {"method": "CreateTransaction", "id": 1, "params": _params("CreateTransaction", "", purchases[0][0], 5_000_000)}
    theirs = []
    for number in range(orders * len(METHODS)):
        body["params"]["id"] = f"{pair}-{number}"  # type: ignore[index]
        theirs.append(simple.ask("POST", "/payme/webhook", basic, body)[1])
    print(f"  pair {pair}: {orders} orders", file=sys.stderr, flush=True)
    return {method: _percentiles(times[method]) for method in METHODS}, _percentiles(theirs)


def _purchases(place: Town, port: int, buyers: range) -> list[tuple[str, int]]:
    """A purchase of three ambassadors for each buyer."""
    line, found = Line(port), []
    for buyer in buyers:
        bearer = f"Bearer {place.token_of(buyer + 1)}"
        for ambassador_id in (1, 2, 3):
            line.ask("POST", "/cart/items", bearer, {"ambassador_id": ambassador_id})
        purchase, _ = line.ask("POST", "/checkout", bearer)
        found.append((purchase["purchase_id"], purchase["amount"]))
    return found


def stock(place: Town, dsn: str) -> None:
    """A shop of ambassadors in the database at `dsn`."""
    for sql in _CATALOGUE:
        place.ask(dsn, sql)


def buy(place: Town, port: int, many: int, first: int) -> None:
    """So many purchases by buyers whose numbers begin at `first`, paid at Payme."""
    basic, line = _basic(), Line(port)
    buyers = range(first, first + many)
    for number, (order_id, amount) in zip(buyers, _purchases(place, port, buyers), strict=True):
        for method in ("CreateTransaction", "PerformTransaction"):
            body = {"method": method, "id": number, "params": _params(method, f"{number:024d}", order_id, amount)}
            if "result" not in line.ask("POST", "/payme/webhook", basic, body)[0]:
                raise RuntimeError(method)


def statement(line: Line, from_ms: int, to_ms: int) -> tuple[dict[str, Any], float]:
    """What Payme is told of this time, and how many milliseconds it took."""
    body = {"method": "GetStatement", "id": 1, "params": {"from": from_ms, "to": to_ms}}
    return line.ask("POST", "/payme/webhook", _basic(), body)


def _basic() -> str:
    return "Basic " + base64.b64encode(f"Paycom:{KEY}".encode()).decode()


def _params(method: str, payme_id: str, order_id: str, amount: int) -> dict[str, Any]:
    account = {"order_id": order_id}
    match method:
        case "CheckPerformTransaction":
            return {"amount": amount, "account": account}
        case "CreateTransaction":
            return {"id": payme_id, "time": int(time.time() * 1000), "amount": amount, "account": account}
        case "CancelTransaction":
            return {"id": payme_id, "reason": 5}
        case _:
            return {"id": payme_id}


def _percentiles(times: list[float]) -> tuple[float, float]:
    cut = statistics.quantiles(times, n=100)
    return cut[49], cut[98]


if __name__ == "__main__":
    sys.exit(main())
