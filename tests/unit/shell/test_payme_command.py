"""`kassa payme replay`: what it prints and with which code it ends, against a small merchant and without one."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

from tests import rig
from tests.conftest import StartKassa
from tests.unit.sandbox.merchant_of_payme import KEY, Merchant, OverwritesTheReason, served
from tests.unit.shell.processes import refused, run


async def replay(home: Path, merchant: Merchant, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command against the merchant, with all its orders and without waiting."""
    home.mkdir(exist_ok=True)
    (home / "key").write_text(KEY + "\n")
    given = [word for one in merchant.orders for word in ("--order", one.order_id, "--amount", str(one.amount))]
    async with served(merchant):
        command = ["payme", "replay", "--url", merchant.url, "--key-file", str(home / "key"), "--quick", *given, *words]
        return await asyncio.to_thread(run, home, *command)


async def test_a_right_merchant_ends_with_zero(short_home: Path) -> None:
    merchant = Merchant(orders=4)
    done = await replay(short_home, merchant, "--json")
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    assert (shown["failed"], shown["left_open"], shown["passed"] + shown["skipped"]) == (0, [], len(shown["steps"]))
    assert shown["orders"] == [{"order_id": one.order_id, "amount": one.amount} for one in merchant.orders]
    step = next(one for one in shown["steps"] if one["step"] == "perform: Perform")
    assert (step["scenario"], step["sent"], step["expected"], step["got"]) == (
        "perform",
        "PerformTransaction",
        "state 2",
        "state 2",
    )
    assert (step["result"], step["why"]) == ("pass", "")
    assert step["ms"] > 0
    assert KEY not in done.stdout + done.stderr


async def test_a_wrong_merchant_ends_with_one_and_a_table_that_says_why(short_home: Path) -> None:
    done = await replay(short_home, OverwritesTheReason(orders=2))
    assert done.returncode == 1, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("Cancel: CheckTransaction"))
    assert line.split("  ")[0] == "Cancel: CheckTransaction"
    assert "reason must be 3" in line
    assert "FAIL" in line
    assert "needs a third fresh order" in done.stdout
    assert "needs waiting, and it was to be quick" in done.stdout
    assert KEY not in done.stdout + done.stderr


async def test_the_login_and_the_field_can_be_given(short_home: Path) -> None:
    class Other(Merchant):
        login, field = "Merchant", "purchase_id"

    done = await replay(short_home, Other(orders=1), "--login", "Merchant", "--account-field", "purchase_id", "--json")
    assert done.returncode == 0, done.stdout
    done = await replay(short_home, Other(orders=1), "--json")
    assert done.returncode == 1


async def test_what_cannot_be_begun_is_one_line(short_home: Path) -> None:
    async with served(Merchant()) as merchant:
        url = merchant.url
        words = ("payme", "replay", "--url", url)
        one = ("--order", "019b76da-a800-7c3e-9f51-2d8e6a4b7c10")
        lines = [
            await asyncio.to_thread(run, short_home, *words, *one),
            await asyncio.to_thread(run, short_home, *words, *one * 2, "--amount", "1", "--amount", "1"),
            await asyncio.to_thread(run, short_home, "payme", "replay", "--url", "shop.example.com"),
            await asyncio.to_thread(run, short_home, *words, PRODUCTION="true"),
            await asyncio.to_thread(
                run, short_home, *words, PRODUCTION="true", PAYME_ID="650000000000000000000009", PAYME_KEY="k" * 36
            ),
        ]
    lines.append(await asyncio.to_thread(run, short_home, *words))
    said = [refused(done) for done in lines]
    assert said[0] == "each --order needs its --amount, in the same order"
    assert said[1] == "give up to 4 different orders"
    assert said[2].startswith("--url must be the whole address")
    assert said[3] == "PAYME_KEY is not set, and no --key-file is given"
    assert said[4].startswith("give --order and --amount")
    assert said[5].startswith(f"nobody answers at {url} (")


def test_it_explains_itself_with_an_example(short_home: Path) -> None:
    done = run(short_home, "payme", "replay", "--help")
    assert done.returncode == 0
    assert "kassa payme replay" in done.stdout


async def test_a_server_without_ambassadors_cannot_be_bought_from(short_home: Path) -> None:
    async with served(Merchant()) as merchant:
        done = await asyncio.to_thread(run, short_home, "payme", "replay", "--url", merchant.url, JWT_SECRET=rig.JWT_SECRET)
    assert refused(done).startswith("no order could be made: ")


def test_a_development_server_passes_with_orders_of_its_own(start_kassa: StartKassa) -> None:
    server = start_kassa()
    url = f"{server.url}/payme/webhook"
    # KASSA_HOME is the server's, so the key is the one that it made for itself.
    done = run(server.home, "payme", "replay", "--url", url, "--json", JWT_SECRET=rig.JWT_SECRET)
    assert done.returncode == 0, done.stdout
    shown = json.loads(done.stdout)
    assert (shown["failed"], shown["skipped"], len(shown["orders"])) == (0, 0, 4)
    again = run(server.home, "verify", "--json", DATABASE_URL=server.dsn)
    assert (again.returncode, json.loads(again.stdout)["breaches"]) == (0, [])
