"""The other ways to start it: in production, beside others on one database, and alone."""

from __future__ import annotations

import functools
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tests import rig
from tests.contracts.grpc.callers import Caller, an_order, at_once, http, ordered, refused, report, settled
from tests.contracts.grpc.conftest import Meet
from tests.contracts.grpc.contract import FAILED, PENDING, SUCCEEDED
from tests.contracts.grpc.processes import Alone, a_secret, alone, certificate
from tests.rig import Server

WAITING = (PENDING, "Payment initiated")
PAID = (SUCCEEDED, "Payment succeeded")
REQUIRED = (StatusCode.UNAUTHENTICATED, "API key required")
SECRET = a_secret()


@pytest.fixture(scope="module")
def beside(start_kassa: Callable[..., Server]) -> Server:
    """A `kassa dev` on the database that the process in production uses."""
    return start_kassa(KASSA_SECRET=SECRET)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def production(beside: Server, trusted: tuple[Path, Path, bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """`kassa rpc` as it comes: production, with TLS, on `PORT`."""
    port = rig.free_port()
    process = alone(
        tmp_path_factory.mktemp("production"),
        port,
        "kassa",
        "rpc",
        credentials=grpc.ssl_channel_credentials(trusted[2]),
        DATABASE_URL=beside.dsn,
        KASSA_SECRET=SECRET,
        PORT=str(port),
        GRPC_TLS_CERT=str(trusted[0]),
        GRPC_TLS_KEY=str(trusted[1]),
    )
    with rig.stopping([process]):
        process.start()
        yield process
        assert process.stop() == 0, process.log_text()
        assert "Traceback" not in process.log_text()


@pytest.fixture(scope="module")
def single(database_server: rig.DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """`python -m payments_service.server`, with one worker; `GRPC_PORT` wins over `PORT`."""
    port, other = rig.free_port(), rig.free_port()
    process = alone(
        tmp_path_factory.mktemp("single"),
        port,
        "payments_service.server",
        DATABASE_URL=database_server.fresh(),
        GRPC_PORT=str(port),
        PORT=str(other),
        MAX_WORKERS="1",
    )
    with rig.stopping([process]):
        process.start()
        yield process
        assert process.stop() == 0, process.log_text()
        assert "Traceback" not in process.log_text()


@pytest.fixture(scope="module")
def key(beside: Server) -> str:
    """A real key of merchant 2, for both."""
    with http(beside, "sk_demo_2") as merchant:
        body = {"name": "till", "scopes": ["payments:write", "payments:read"]}
        made = merchant.post("/api/v1/api-keys", json=body)
    assert made.status_code == 201, made.text
    found = str(made.json()["key"])
    assert re.fullmatch(r"sk_[A-Za-z0-9_-]{43}", found)
    return found


@pytest.fixture
def till(production: Alone, key: str, meet: Meet) -> Caller:
    return meet(production.address, credentials=production.credentials, x_api_key=key)


@pytest.fixture
def neighbour(beside: Server, key: str, meet: Meet) -> Caller:
    """The same merchant at the other process."""
    return meet(beside.grpc, x_api_key=key)


# In production


def test_in_production_a_key_is_required(production: Alone, meet: Meet) -> None:
    nobody = meet(production.address, credentials=production.credentials)
    assert refused(nobody.pay) == REQUIRED
    assert refused(nobody.look, "abc") == REQUIRED
    assert nobody.health() == "ok"


def test_in_production_a_header_alone_is_not_believed(production: Alone, meet: Meet) -> None:
    caller = meet(production.address, credentials=production.credentials, x_merchant_id="2")
    assert refused(caller.pay) == REQUIRED


def test_in_production_nothing_is_simulated(beside: Server, till: Caller, neighbour: Caller) -> None:
    orders = [{}, {"amount_minor": 1302}, {"metadata": {"simulate": "decline"}}]
    waiting = [till.pay(**order).payment_id for order in orders]
    for _ in range(3):
        assert settled(neighbour, neighbour.pay().payment_id) == PAID, "what was asked for beside it is simulated"
        assert [till.state(payment) for payment in waiting] == [WAITING] * 3
    assert report(beside, waiting[0], "finished").status_code == 200
    assert report(beside, waiting[1], "failed").status_code == 200
    assert [till.state(payment) for payment in waiting] == [PAID, (FAILED, "Payment declined"), WAITING]


def test_in_production_there_is_no_reflection(production: Alone, meet: Meet) -> None:
    caller = meet(production.address, credentials=production.credentials)
    assert refused(lambda: list(ProtoReflectionDescriptorDatabase(caller.channel).get_services()))[0] == StatusCode.UNIMPLEMENTED


def test_with_tls_nobody_comes_in_without(production: Alone, meet: Meet, tmp_path: Path) -> None:
    assert refused(meet(production.address).health)[0] == StatusCode.UNAVAILABLE
    stranger = grpc.ssl_channel_credentials(certificate(tmp_path / "other")[2])
    assert refused(meet(production.address, credentials=stranger).health)[0] == StatusCode.UNAVAILABLE
    assert meet(production.address, credentials=production.credentials).health() == "ok"


def test_in_production_it_answers_over_ipv6_too(production: Alone, meet: Meet) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = production.address.rpartition(":")[2]
    assert meet(f"[::1]:{port}", credentials=production.credentials).health() == "ok"


# Two processes on one database


def test_what_one_process_wrote_the_other_reads_at_once(till: Caller, neighbour: Caller) -> None:
    for writer, reader in ((till, neighbour), (neighbour, till)) * 5:
        order = an_order(metadata={"simulate": "wait"})
        payment = writer.pay(**order).payment_id
        assert reader.look(payment).order_id == order["order_id"]


def test_a_key_is_known_to_both(till: Caller, neighbour: Caller) -> None:
    for writer, reader in ((till, neighbour), (neighbour, till)):
        order = an_order(metadata={"note": "a\x00b"})
        first = writer.pay(**order)
        repeat = reader.pay(**order)
        assert (repeat.data, repeat.replayed) == (first.data, "true")
        assert refused(reader.pay, **{**order, "metadata": {}})[0] == StatusCode.ALREADY_EXISTS


def test_fifty_at_two_processes_at_once_are_one_payment(beside: Server, till: Caller, neighbour: Caller) -> None:
    order = an_order()
    answers = at_once(functools.partial((till, neighbour)[n % 2].pay, **order) for n in range(50))
    assert len({answer.data for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(None) == 1
    assert ordered(beside, order, "sk_demo_2") == [answers[0].payment_id]


# Alone


def test_alone_it_is_development_and_takes_the_readmes_calls(single: Alone, meet: Meet) -> None:
    caller = meet(single.address)
    paid, declined = caller.pay(), caller.pay(amount_minor=1302)
    assert settled(caller, paid.payment_id) == PAID
    assert settled(caller, declined.payment_id) == (FAILED, "Payment declined")
    services = set(ProtoReflectionDescriptorDatabase(caller.channel).get_services())
    assert "payments.v1.PaymentService" in services


def test_alone_it_knows_the_demo_merchants(single: Alone, meet: Meet) -> None:
    payment = meet(single.address, x_api_key="sk_demo_2").pay().payment_id
    assert meet(single.address, x_merchant_id="2").look(payment).payment_id == payment
    assert refused(meet(single.address, x_merchant_id="3").look, payment)[0] == StatusCode.NOT_FOUND


def test_more_calls_than_workers_wait_their_turn(single: Alone, meet: Meet) -> None:
    callers = [meet(single.address) for _ in range(4)]
    orders = [an_order() for _ in range(40)]
    answers = at_once(functools.partial(callers[n % 4].pay, **order) for n, order in enumerate(orders))
    assert len({answer.payment_id for answer in answers}) == 40


def test_nothing_else_is_served_where_it_runs_alone(single: Alone) -> None:
    for name in ("PORT", "GRPC_PORT"):
        assert not rig.answers(f"http://127.0.0.1:{single.environment[name]}/health")


def test_what_it_answered_is_there_after_a_power_cut(single: Alone, meet: Meet) -> None:
    order = an_order()
    first = meet(single.address).pay(**order)
    single.kill()
    single.restart()
    caller = meet(single.address)
    assert caller.pay(**order).data == first.data
    assert settled(caller, first.payment_id) == PAID


@pytest.mark.parametrize(
    "module", [("payments_service.server",), ("kassa", "rpc"), ("kassa", "serve")], ids=["module", "rpc", "serve"]
)
def test_port_is_the_grpc_port_when_it_runs_alone(beside: Server, tmp_path: Path, meet: Meet, module: tuple[str, ...]) -> None:
    port = rig.free_port()
    process = alone(
        tmp_path,
        port,
        *module,
        **{"SURFACES": "grpc"} if "serve" in module else {},
        DATABASE_URL=beside.dsn,
        KASSA_SECRET=SECRET,
        PRODUCTION="false",
        PORT=str(port),
        MAX_WORKERS="1000",
    )
    with rig.stopping([process]):
        process.start()
        assert meet(process.address).health() == "ok"
        assert process.stop() == 0
