"""`make bench-peer`: install the engine from the npm registry into a scratch folder, and drive row 3's journey there.

Needs `node` (20 or newer) and `npm`. What it reaches is left in `bench/results/peer.json`, where `make bench` finds it. The journey
is made as cheap for the engine as its API allows: two calls for the cart, and all steps from the address to the payment in a third.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp

from bench import page
from bench.peer import AT_ONCE, MEASURED, whole_journey
from bench.report import head, table
from bench.town import Town, town

ENGINE = ("@vendure/core@3", "pg@8")
PUBLISHED_BEFORE = "2026-08-01"
"""So that everybody gets the same versions of it and of all that it needs."""
GOODS = 100
PATIENCE_S = 300
_COLUMNS = (
    "name,slug,description,assets,facets,optionGroups,optionValues,sku,price,taxCategory,stockOnHand,trackInventory,"
    "variantAssets,variantFacets"
)
_ADD = "mutation($id: ID!) { addItemToOrder(productVariantId: $id, quantity: 1) { __typename ... on Order { id } } }"
_ORDER = """
mutation {
  setCustomerForOrder(input: {firstName: "A", lastName: "Buyer", emailAddress: "%s"}) { __typename }
  setOrderShippingAddress(
    input: {fullName: "A Buyer", streetLine1: "1 Hill Road", city: "Pune", postalCode: "411001", countryCode: "IN"}
  ) { __typename }
  setOrderShippingMethod(shippingMethodId: ["1"]) { __typename }
  transitionOrderToState(state: "ArrangingPayment") { __typename }
  addPaymentToOrder(input: {method: "card", metadata: {}}) { __typename ... on Order { state } }
}
"""


def main() -> int:
    """Measure both sides in turn, print, and keep the engine's rates; 1 when a check failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the engine is installed, and stays (default: a folder that is removed)")
    parser.add_argument("--pairs", type=int, default=5, help="how often the two sides are measured in turn (default 5)")
    parser.add_argument("--seconds", type=int, default=10, help="how long each measurement takes (default 10)")
    parser.add_argument("--record", action="store_true", help="write docs/bench.json, docs/bench.md and docs/bench.svg too")
    given = parser.parse_args()
    if not (shutil.which("node") and shutil.which("npm")):
        parser.error("node and npm are needed, and were not found")
    with town() as place, contextlib.ExitStack() as held:
        scratch = given.folder or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="kassa-engine-")))
        version = _install(scratch)
        environment = _prepared(place, scratch)
        _run(["node", "shop.cjs", "populate"], scratch, environment)
        with _serving(scratch, environment) as drive:
            machine = head(place) | {"node": _version_of_node()}
            drive(5)
            row = whole_journey(place, given.pairs, given.seconds, say, lambda: drive(given.seconds))
    name = f"a commerce engine on Node (Vendure {version})"
    row = replace(row, against=name)
    says = f"`make bench-peer` has measured it: one process of @vendure/core {version} on the same PostgreSQL, {AT_ONCE} at once"
    MEASURED.parent.mkdir(exist_ok=True)
    kept = {"name": name, "per_s": [round(rate, 2) for rate in row.theirs], "says": says}
    MEASURED.write_text(json.dumps(kept, indent=2) + "\n")
    if given.record:
        page.record({"at": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine, "rows": [row.as_json()]})
    print(table(machine, [row]))
    return 0 if row.correct else 1


def say(text: str) -> None:
    """Progress goes to standard error."""
    print(text, file=sys.stderr, flush=True)


def _version_of_node() -> str:
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def _install(scratch: Path) -> str:
    """The version that was installed."""
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "package.json").write_text(json.dumps({"name": "kassa-bench-engine", "private": True}))
    shutil.copy(Path(__file__).with_name("shop.cjs"), scratch)
    installed = scratch / "node_modules" / "@vendure" / "core" / "package.json"
    if not installed.exists():
        print(f"installing {ENGINE[0]} …", file=sys.stderr, flush=True)
        options = ["--before", PUBLISHED_BEFORE, "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(["npm", "install", *options, *ENGINE], cwd=scratch, check=True)
    return str(json.loads(installed.read_text())["version"])


def _prepared(place: Town, scratch: Path) -> dict[str, str]:
    """A database and goods for the engine; the environment that names them."""
    place.ask(place.dsn, "CREATE DATABASE kassa_peer")
    goods = scratch / "goods.csv"
    lines = [f"Thing {n},thing-{n},A thing,,,,,p{n},1.00,standard,100000000,true,," for n in range(1, GOODS + 1)]
    goods.write_text("\n".join([_COLUMNS, *lines]) + "\n")
    parts = urlsplit(place.dsn)
    return {
        **{name: place.environment[name] for name in ("PATH", "HOME") if name in place.environment},
        "NODE_ENV": "production",
        "PORT": str(place.free_port()),
        "DB_HOST": parse_qs(parts.query)["host"][0],
        "DB_USER": unquote(parts.username or ""),
        "DB_PASSWORD": unquote(parts.password or ""),
        "DB_NAME": "kassa_peer",
        "GOODS": str(goods),
    }


def _run(command: list[str], scratch: Path, environment: dict[str, str]) -> None:
    subprocess.run(command, cwd=scratch, env=environment, check=True, timeout=PATIENCE_S, stdout=sys.stderr)


@contextlib.contextmanager
def _serving(scratch: Path, environment: dict[str, str]) -> Iterator[Callable[[float], float]]:
    """Gives what drives the engine for so many seconds. It is stopped otherwise: after its last answer it has jobs of its own."""
    port = int(environment["PORT"])
    process = subprocess.Popen(["node", "shop.cjs", "serve"], cwd=scratch, env=environment, stdout=sys.stderr)

    def drive(seconds: float) -> float:
        process.send_signal(signal.SIGCONT)
        try:
            return asyncio.run(_drive(port, seconds))
        finally:
            process.send_signal(signal.SIGSTOP)

    try:
        asyncio.run(asyncio.wait_for(_until_it_answers(port), PATIENCE_S))
        yield drive
    finally:
        process.terminate()
        process.send_signal(signal.SIGCONT)
        process.wait(30)


async def _until_it_answers(port: int) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{port}/health") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.2)


async def _drive(port: int, seconds: float) -> float:
    """Journeys per second. Raises `RuntimeError` when one of them did not end with a paid order."""
    began, made, wrong = time.perf_counter(), 0, 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def shop(number: int) -> None:
            nonlocal made, wrong
            while time.perf_counter() - began < seconds:
                number += AT_ONCE
                state = await _journey(session, f"http://127.0.0.1:{port}/shop-api", number)
                made += state == "PaymentSettled"
                wrong += state != "PaymentSettled"

        await asyncio.gather(*(shop(number) for number in range(AT_ONCE)))
    took = time.perf_counter() - began
    if wrong:
        raise RuntimeError(f"{wrong} journeys at the engine did not end with a paid order")
    return made / took


async def _journey(session: aiohttp.ClientSession, url: str, number: int) -> str:
    """Two cart calls and an order, by a guest; the state in which the order is."""
    headers: dict[str, str] = {}
    for product in (number % GOODS + 1, (number + 13) % GOODS + 1):
        body = {"query": _ADD, "variables": {"id": str(product)}}
        async with session.post(url, json=body, headers=headers) as answer:
            await answer.read()
            if token := answer.headers.get("vendure-auth-token"):
                headers = {"Authorization": f"Bearer {token}"}
    async with session.post(url, json={"query": _ORDER % f"buyer{number}@example.com"}, headers=headers) as answer:
        found: Any = await answer.json()
    ended = (found.get("data") or {}).get("addPaymentToOrder") or {}
    if ended.get("state") != "PaymentSettled":
        print(f"  {json.dumps(found)[:400]}", file=sys.stderr)
    return str(ended.get("state"))


if __name__ == "__main__":
    sys.exit(main())
