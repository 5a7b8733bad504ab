"""`kassa dev`: one command, real processes, real signals. It stops in order, and comes back after anything."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests import rig
from tests.conftest import StartKassa
from tests.unit.shell.processes import refused, run, servers, until_gone

from kassa.kit import embedded

PRINTED_S = 30


@pytest.fixture
def alone(short_home: Path) -> Iterator[rig.Server]:
    """A `kassa dev` with nothing given: embedded PostgreSQL, secrets of its own. Not started yet."""
    server = rig.make_server(short_home, "", {"JWT_SECRET": "", "DATABASE_URL": ""})
    yield server
    server.kill()
    until_gone(short_home)


def test_from_nothing_to_a_shop_and_again_on_the_same_data(alone: rig.Server) -> None:
    alone.start()
    dsn = embedded.dsn_of_running(alone.home) or ""
    rig.query(dsn, "CREATE TABLE kept AS SELECT 1 AS one")
    assert alone.stop() == 0
    assert not servers(alone.home), "PostgreSQL was left behind"
    alone.start()
    assert rig.query(embedded.dsn_of_running(alone.home) or "", "SELECT one FROM kept") == [{"one": 1}]


def test_what_it_prints_works_when_it_is_pasted(alone: rig.Server) -> None:
    alone.start()
    deadline = time.monotonic() + PRINTED_S
    while "Ctrl-C stops it" not in alone.log_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    printed = alone.log_text()
    script = printed[printed.index("API=") : printed.index("The shop's side")]
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.count('"success":true') + done.stdout.count('"success": true') == 3, done.stdout
    staff = re.search(r"STAFF=(\S+)", printed)
    assert staff is not None
    answer = httpx2.get(f"{alone.url}/api/cart", headers={"Authorization": f"Bearer {staff[1]}"}, trust_env=False)
    assert answer.status_code == 200


def test_the_token_command_beside_it_makes_tokens_it_takes(alone: rig.Server) -> None:
    alone.start()
    done = run(alone.home, "token", "--user", "7")
    assert done.returncode == 0, done.stderr
    answer = httpx2.get(f"{alone.url}/api/cart", headers={"Authorization": f"Bearer {done.stdout.strip()}"}, trust_env=False)
    assert answer.json()["data"]["userId"] == 7


@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_and_fast(alone: rig.Server, wish: signal.Signals) -> None:
    alone.start()
    began = time.monotonic()
    os.kill(alone.pid, wish)
    assert alone.wait() == 0
    assert time.monotonic() - began < 5
    assert not servers(alone.home), "PostgreSQL was left behind"
    assert "Traceback" not in alone.log_text()


def test_it_starts_again_after_kill_9(alone: rig.Server) -> None:
    for _ in range(3):
        alone.start()
        rig.query(embedded.dsn_of_running(alone.home) or "", "SELECT 1")
        alone.kill()
    alone.start()
    assert alone.stop() == 0


def test_it_starts_again_after_kill_9_of_its_whole_group(alone: rig.Server) -> None:
    alone.start()
    os.killpg(alone.pid, signal.SIGKILL)
    alone.wait()
    alone.start()
    assert alone.stop() == 0


def test_when_postgresql_dies_under_it_it_says_so(alone: rig.Server) -> None:
    alone.start()
    for process in servers(alone.home):
        process.kill()
    assert alone.wait() == 2
    assert "the embedded PostgreSQL has ended" in alone.log_text()


def test_a_second_one_on_the_same_home_is_refused(alone: rig.Server) -> None:
    alone.start()
    assert f"another Kassa (process {alone.pid}) uses" in refused(run(alone.home, "dev"))


def test_a_taken_port_is_named(short_home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"HTTP_PORT: port {port} is taken" in refused(run(short_home, "dev", HTTP_PORT=str(port)))
    assert not (short_home / "postgres").exists(), "nothing was begun"


def test_a_home_that_cannot_be_used_is_named(short_home: Path) -> None:
    short_home.parent.mkdir(exist_ok=True)
    short_home.write_text("a file, not a folder")
    assert refused(run(short_home, "dev")).startswith("KASSA_HOME: ")


def test_it_is_never_production(short_home: Path) -> None:
    assert "PRODUCTION is true" in refused(run(short_home, "dev", PRODUCTION="true"))


@pytest.mark.parametrize("dsn", ["postgresql://me@127.0.0.1:1/shop", "postgresql://me@name.invalid/shop"])
def test_a_database_out_of_reach_is_named(short_home: Path, dsn: str) -> None:
    assert refused(run(short_home, "dev", DATABASE_URL=dsn)).startswith("DATABASE_URL: the database does not answer")


def test_a_schema_from_the_future_is_left_alone(short_home: Path, database_server: rig.DatabaseServer) -> None:
    dsn = database_server.fresh()
    rig.query(dsn, "UPDATE alembic_version SET version_num = '9999'")
    rig.query(dsn, "COMMENT ON TABLE alembic_version IS 'kassa: code of 9999 or later'")
    assert "the schema is at 9999" in refused(run(short_home, "dev", DATABASE_URL=dsn))


def test_an_old_schema_is_brought_up_to_date(start_kassa: StartKassa, database_server: rig.DatabaseServer) -> None:
    server = start_kassa(database=database_server.empty())
    assert server.sql("SELECT count(*) > 0 AS filled FROM products") == [{"filled": True}]


def test_a_given_database_is_used_and_outlives_it(start_kassa: StartKassa) -> None:
    server = start_kassa()
    assert not (server.home / "postgres").exists()
    products = server.sql("SELECT count(*) AS n FROM products")
    server.restart()
    assert server.sql("SELECT count(*) AS n FROM products") == products


def test_an_open_live_stream_does_not_hold_up_a_stop(start_kassa: StartKassa) -> None:
    server = start_kassa()
    with server.client(user=1, timeout=10) as client:
        client.post("/api/cart/items", json={"productId": "prod_001"}).raise_for_status()
        address = {"street": "1", "city": "Mumbai", "state": "MH", "postalCode": "400001", "country": "India"}
        order = client.post("/api/orders", json={"shippingAddress": address, "paymentMethod": "cash_on_delivery"}).json()["data"][
            "id"
        ]
        with client.stream("GET", f"/api/orders/{order}/events") as stream:
            next(stream.iter_lines())
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            assert server.wait() == 0
            assert time.monotonic() - began < 5
    assert "Traceback" not in server.log_text()
