"""The surface in real processes: the typed client, the examples, what is logged, and what stops a start."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from tests import rig

from payments_service.client import AsyncPaymentClient, PaymentClient, Refused, Status

MODULES = [("payments_service.server",), ("payments_service",), ("kassa", "dev"), ("kassa", "rpc")]


def test_the_typed_client_pays_once_and_sees_it_settled(server: rig.Server) -> None:
    with PaymentClient(server.grpc) as payments:
        assert payments.health() == "ok"
        made, again = (
            payments.request(amount_minor=1250, currency="usd", order_id="typed", key="typed-client:1") for _ in range(2)
        )
        assert (made.replayed, again.replayed) == (False, True)
        assert (again.payment_id, again.created_at) == (made.payment_id, made.created_at)
        until = time.monotonic() + 5
        while (payment := payments.get(made.payment_id)).status is Status.PENDING:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert (payment.status, payment.amount_minor, payment.currency) == (Status.SUCCEEDED, 1250, "USD")
        with pytest.raises(Refused) as refused:
            payments.request(amount_minor=1300, currency="usd", order_id="typed", key="typed-client:1")
        assert refused.value.code is grpc.StatusCode.ALREADY_EXISTS


async def test_the_asynchronous_client_pays_too(server: rig.Server) -> None:
    async with AsyncPaymentClient(server.grpc) as payments:
        made = await payments.request(amount_minor=1302, currency="JPY", order_id="typed", key="typed-client:2")
        assert (await payments.get(made.payment_id)).amount_minor == 1302
        assert await payments.health() == "ok"


def test_the_examples_run_twice(server: rig.Server) -> None:
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, rig.ROOT / "examples" / "grpc_client.py", server.grpc],
            env=rig.clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[1:6] == ["Status: 1", "Message: Payment initiated", "Amount: $12.50", "Currency: USD", "Health: ok"]
        assert [line.partition(": ")[2] for line in lines[7:9]] == ["Payment succeeded", "Payment declined"]
        assert lines[9] == "ALREADY_EXISTS: Idempotency key already used with another payload"


def test_a_call_is_logged_without_anything_of_its_caller(server: rig.Server) -> None:
    before = len(server.log_text())
    with grpc.insecure_channel(server.grpc) as channel:
        ask = channel.unary_unary("/payments.v1.PaymentService/GetPayment")
        with pytest.raises(grpc.RpcError):
            ask(b"\x0a\x06secret", timeout=10, metadata=(("x-request-id", "the-one"),))
    until = time.monotonic() + 5
    while "the-one" not in (told := server.log_text()[before:]):
        assert time.monotonic() < until
        time.sleep(0.02)
    line = next(line for line in told.splitlines() if "the-one" in line)
    assert all(word in line for word in ("GetPayment", "NOT_FOUND", "ms")), line
    assert "secret" not in told


@pytest.mark.parametrize("module", MODULES)
def test_a_taken_port_is_named_in_one_line(kassa_dsn: str, tmp_path: Path, module: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"DATABASE_URL": kassa_dsn, "PRODUCTION": "false", "GRPC_PORT": str(port), "HTTP_PORT": str(rig.free_port())}
        done = subprocess.run(
            [sys.executable, "-m", *module],
            env=rig.clean_environment(KASSA_HOME=str(tmp_path), **settings),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout) == (2, "")
    expected = f"kassa: GRPC_PORT: port {port} is taken by another program; choose another one, such as GRPC_PORT="
    assert done.stderr.startswith(expected), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_certificate_that_is_none_stops_the_start(database_server: rig.DatabaseServer, tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("GRPC_TLS_CERT", "GRPC_TLS_KEY")}
    for path in files.values():
        Path(path).write_text("not PEM")
    done = subprocess.run(
        [sys.executable, "-m", "kassa", "rpc", "--port", str(rig.free_port())],
        env=rig.clean_environment(KASSA_HOME=str(tmp_path), DATABASE_URL=database_server.fresh(), PRODUCTION="false", **files),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "kassa: GRPC_TLS_CERT and GRPC_TLS_KEY are not a certificate and its key, in PEM"
    assert "Traceback" not in done.stderr


def test_surfaces_without_grpc_leave_its_port_alone(start_kassa: rig.Any) -> None:
    kassa: rig.Server = start_kassa(SURFACES="orders,checkout")
    host, _, port = kassa.grpc.rpartition(":")
    with pytest.raises(ConnectionRefusedError), socket.create_connection((host, int(port)), timeout=5):
        pass


def test_in_production_an_old_schema_stops_the_start(database_server: rig.DatabaseServer, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": database_server.empty(), "KASSA_SECRET": "bm90LXRoZS1zZWNyZXQtb2YtYW55Ym9keS1idXQtdGVzdHM="}
    done = subprocess.run(
        [sys.executable, "-m", "kassa", "rpc", "--port", str(rig.free_port())],
        env=rig.clean_environment(KASSA_HOME=str(tmp_path), **settings),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("kassa: "), json.dumps(done.stderr)
    assert "kassa migrate" in done.stderr
