"""The typed client against a service that plays a script: when it repeats, with which key, and when it gives up."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from payments_service import payments_pb2 as pb
from payments_service.client import REPEATED, AsyncPaymentClient, Patience, PaymentClient, Refused, Status, Unanswered
from payments_service.payments_pb2_grpc import PaymentServiceServicer, add_PaymentServiceServicer_to_server

QUICK = Patience(attempt_s=0.5, total_s=3, pause_s=0.001, longest_pause_s=0.002)
ORDER: dict[str, Any] = {"amount_minor": 1250, "currency": "USD", "order_id": "order-123", "key": "order-123:1"}
FINAL = sorted(set(StatusCode) - REPEATED - {StatusCode.OK}, key=lambda code: code.name)


class Service(PaymentServiceServicer):
    """Fails with each code of its script in turn, then answers. None in a script is silence."""

    def __init__(self) -> None:
        self.script: list[StatusCode | None] = []
        self.seen: list[tuple[bytes, dict[str, str]]] = []

    def RequestPayment(self, request: pb.RequestPaymentRequest, context: Any) -> pb.RequestPaymentResponse:
        self._play(request, context)
        if len(self.seen) > 1:
            context.set_trailing_metadata((("idempotent-replayed", "true"),))
        answer = pb.RequestPaymentResponse(
            payment_id="p1", status=pb.PAYMENT_STATUS_PENDING, message="Payment initiated", idempotency_key=request.idempotency_key
        )
        answer.created_at.FromJsonString("2026-01-01T00:00:00.451007Z")
        return answer

    def GetPayment(self, request: pb.GetPaymentRequest, context: Any) -> pb.GetPaymentResponse:
        self._play(request, context)
        return pb.GetPaymentResponse(payment_id=request.payment_id, status=pb.PAYMENT_STATUS_FAILED, message="Payment declined")

    def _play(self, request: Any, context: Any) -> None:
        said = {name: value for name, value in context.invocation_metadata() if name.startswith("x-")}
        self.seen.append((request.SerializeToString(deterministic=True), said))
        if self.script:
            code = self.script.pop(0)
            if code is None:
                time.sleep(0.7)
            else:
                context.abort(code, f"the words of {code.name}")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def address(service: Service) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    add_PaymentServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def client(address: str) -> Iterator[PaymentClient]:
    with PaymentClient(address, api_key="sk_1", patience=QUICK) as client:
        yield client


def test_an_answer_comes_with_types(client: PaymentClient, service: Service) -> None:
    made = client.request(**ORDER, metadata={"user_id": "7"})
    assert (made.payment_id, made.status, made.message) == ("p1", Status.PENDING, "Payment initiated")
    assert (made.key, made.created_at.isoformat(), made.replayed) == ("order-123:1", "2026-01-01T00:00:00.451007+00:00", False)
    sent = pb.RequestPaymentRequest.FromString(service.seen[0][0])
    assert (sent.amount_minor, sent.currency, sent.order_id, dict(sent.metadata)) == (1250, "USD", "order-123", {"user_id": "7"})
    assert service.seen[0][1] == {"x-api-key": "sk_1"}
    assert client.get("p7").status is Status.FAILED


@pytest.mark.parametrize("code", sorted(REPEATED, key=lambda code: code.name))
def test_what_is_not_known_is_asked_again_with_the_same_key(client: PaymentClient, service: Service, code: StatusCode) -> None:
    service.script = [code, code]
    assert client.request(**ORDER).replayed
    assert len(service.seen) == 3
    assert len({data for data, _ in service.seen}) == 1, "the same request each time"


def test_silence_is_asked_again(client: PaymentClient, service: Service) -> None:
    service.script = [None]
    assert client.request(**ORDER).payment_id == "p1"
    assert len(service.seen) == 2


@pytest.mark.parametrize("code", FINAL)
def test_anything_else_is_final(client: PaymentClient, service: Service, code: StatusCode) -> None:
    service.script = [code]
    with pytest.raises(Refused) as refused:
        client.request(**ORDER)
    assert (refused.value.code, refused.value.message) == (code, f"the words of {code.name}")
    assert len(service.seen) == 1


def test_it_gives_up_when_its_time_is_over(address: str, service: Service) -> None:
    service.script = [StatusCode.ABORTED] * 10_000
    with PaymentClient(address, patience=Patience(5, 1.5, 0.01, 0.02)) as client, pytest.raises(Unanswered) as given_up:
        client.request(**ORDER)
    assert given_up.value.code is StatusCode.ABORTED
    assert len(service.seen) > 5


def test_where_nobody_listens_it_keeps_trying_and_then_gives_up() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        began = time.monotonic()
        with PaymentClient(address, patience=Patience(0.2, 0.5, 0.05, 0.1)) as client, pytest.raises(Unanswered):
            client.get("p1")
        assert time.monotonic() - began < 2


def test_pauses_double_up_to_the_longest() -> None:
    pauses = Patience(pause_s=1, longest_pause_s=5).pauses()
    for most in (1, 2, 4, 5, 5):
        assert most / 2 <= next(pauses) <= most


async def test_the_asynchronous_one_does_the_same(address: str, service: Service) -> None:
    async with AsyncPaymentClient(address, merchant_id="2", patience=QUICK) as client:
        service.script = [StatusCode.UNAVAILABLE, StatusCode.ABORTED]
        made = await client.request(**ORDER)
        assert (made.payment_id, made.replayed, len(service.seen)) == ("p1", True, 3)
        assert service.seen[0][1] == {"x-merchant-id": "2"}
        assert (await client.get("p1")).message == "Payment declined"
        service.script = [StatusCode.NOT_FOUND]
        with pytest.raises(Refused):
            await client.get("p1")
        with pytest.raises(Refused):
            await client.health()
