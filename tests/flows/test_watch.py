"""`kassa verify` and its watch, as processes: what they print and show, and a process that dies while it looks."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from tests import rig
from tests.conftest import StartKassa
from tests.unit.shell.processes import refused, run

T = TypeVar("T")
INVARIANTS = {"1", "2", "3", "4", "5", "6", "7", "8", "11", "12"}
SPOIL = "UPDATE stock_levels SET available = available + $1 WHERE merchant_id = '1' AND product_id = 'prod_001'"


@pytest.fixture(scope="module")
def shop(start_kassa: StartKassa) -> rig.Server:
    return start_kassa()


def verify(server: rig.Server, *words: str) -> subprocess.CompletedProcess[str]:
    return run(
        server.home, "verify", *words, DATABASE_URL=server.dsn, PRODUCTION="false", PROVIDER_WEBHOOK_SECRET=rig.WEBHOOK_SECRET
    )


@pytest.fixture
def spoilt(shop: rig.Server) -> Iterator[rig.Server]:
    """The demo shop, whose stock of one product somebody has changed by hand."""
    shop.sql(SPOIL, 1)
    yield shop
    shop.sql(SPOIL, -1)


def watching(server: rig.Server, folder: Path, **more: str) -> subprocess.Popen[bytes]:
    """`kassa verify --watch` beside a server, a look every second; its log is `log` in `folder`."""
    home = folder / "k"
    home.mkdir(exist_ok=True)
    own = {
        "DATABASE_URL": server.dsn,
        "PRODUCTION": "false",
        "KASSA_HOME": str(home),
        "PROVIDER_WEBHOOK_SECRET": rig.WEBHOOK_SECRET,
    }
    command = [sys.executable, "-m", "kassa", "verify", "--watch", "--every", "1s"]
    with (folder / "log").open("a") as log:
        return subprocess.Popen(command, env=rig.clean_environment(**own, **more), stderr=log, cwd=folder)


def figures(server: rig.Server) -> dict[str, dict[str, float]]:
    """Gauges of the watch by name and invariant."""
    with server.client() as http:
        page = http.get("/metrics").text
    found: dict[str, dict[str, float]] = {}
    for name, number, value in re.findall(r'^(kassa_invariant_\w+)\{invariant="(\d+)"\} (\S+)$', page, re.MULTILINE):
        found.setdefault(name, {})[number] = float(value)
    return found


def eventually(look: Callable[[], T], within_s: float = 150) -> T:
    until = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.1)
    return found


def test_json_has_the_breaches_and_what_each_invariant_took(shop: rig.Server) -> None:
    done = verify(shop, "--json")
    assert done.returncode == 0
    content = json.loads(done.stdout)
    assert content["breaches"] == []
    assert {str(row["invariant"]) for row in content["invariants"]} == INVARIANTS
    assert all(row["breaches"] == 0 and row["seconds"] > 0 and row["says"] for row in content["invariants"])


def test_some_invariants_are_looked_at_alone(spoilt: rig.Server) -> None:
    found = json.loads(verify(spoilt, "--json", "--only", "3, 4").stdout)
    assert [row["invariant"] for row in found["invariants"]] == [3, 4]
    assert [(breach["invariant"], breach["subject"]) for breach in found["breaches"]] == [(4, "product:shop/prod_001")]
    assert verify(spoilt, "--only", "4").returncode == 1
    assert verify(spoilt, "--only", "1,2,12", "--pace", "0.5").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--only", "13"), "'13' is no invariant that tables can tell"),
        (("--only", "9"), "'9' is no invariant that tables can tell"),
        (("--only", "all"), "'all' is no invariant that tables can tell"),
        (("--watch", "--every", "soon"), "'soon' is no time"),
        (("--watch", "--every", "2d"), "'2d' is no time"),
        (("--watch", "--json"), "--watch looks at everything"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_in_one_line(shop: rig.Server, words: tuple[str, ...], said: str) -> None:
    assert said in refused(verify(shop, *words))


def test_the_watch_shows_what_is_broken_at_the_metrics_of_another_process(shop: rig.Server, tmp_path: Path) -> None:
    """As in a deployment: one process serves, another one looks."""
    assert figures(shop) == {}
    watcher = watching(shop, tmp_path)
    try:
        seen: dict[str, Any] = eventually(lambda: figures(shop))
        assert set(seen) == {"kassa_invariant_breaches", "kassa_invariant_age_seconds", "kassa_invariant_look_seconds"}
        assert all(set(by_number) == INVARIANTS for by_number in seen.values())
        assert set(seen["kassa_invariant_breaches"].values()) == {0.0}
        shop.sql(SPOIL, 1)
        eventually(lambda: figures(shop)["kassa_invariant_breaches"]["4"] == 1)
        [case] = shop.sql(
            "SELECT merchant_id, subject, last_answer FROM cases WHERE kind = 'invariant_broken' AND closed_at IS NULL"
        )
        assert (case["merchant_id"], case["subject"]) == ("1", "invariant:4")
        assert "product:shop/prod_001" in case["last_answer"]
        doubt = run(
            shop.home, "payments", "doubt", DATABASE_URL=shop.dsn, PRODUCTION="false", PROVIDER_WEBHOOK_SECRET=rig.WEBHOOK_SECRET
        )
        assert "kassa verify --only 4" in doubt.stdout
        shop.sql(SPOIL, -1)
        eventually(lambda: figures(shop)["kassa_invariant_breaches"]["4"] == 0)
    finally:
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(20) == 0
    said = (tmp_path / "log").read_text()
    assert said.count("invariant 4 is broken") == 1
    assert said.count("not found any more") == 1


@pytest.mark.parametrize("point", ["verify.take", "verify.note"])
@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
def test_whoever_dies_while_it_looks_is_followed_by_another(shop: rig.Server, tmp_path: Path, point: str, moment: str) -> None:
    shop.sql("UPDATE verify_look SET next_at = '-infinity', lease_until = '-infinity', place = NULL, began_at = NULL")
    shop.sql("DELETE FROM verify_found")
    dies = watching(shop, tmp_path, KASSA_CRASH_AT=f"{point}:{moment}")
    assert dies.wait(60) == -signal.SIGKILL
    [left] = shop.sql("SELECT lease_until > now() AS held FROM verify_look")
    assert left["held"] == ((point, moment) in {("verify.take", "after_commit"), ("verify.note", "before_commit")})
    # As if the lease of the dead were over; and a look that it had ended is looked once more.
    shop.sql("UPDATE verify_look SET lease_until = least(lease_until, now()), next_at = '-infinity'")
    shop.sql("DELETE FROM verify_found")
    follows = watching(shop, tmp_path)
    try:
        eventually(lambda: set(figures(shop).get("kassa_invariant_age_seconds", ())) == INVARIANTS)
        assert shop.sql("SELECT count(*)::int AS n FROM verify_found WHERE breaches > 0")[0]["n"] == 0
    finally:
        follows.send_signal(signal.SIGTERM)
        assert follows.wait(20) == 0


def test_in_development_nobody_looks_unless_it_is_wanted(shop: rig.Server) -> None:
    assert httpx2.get(f"{shop.url}/ready", trust_env=False).status_code == 200
    from kassa.settings import Settings

    assert Settings.load(True, need=()).verify_every_s == 0
