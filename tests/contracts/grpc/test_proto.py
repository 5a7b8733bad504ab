"""What clients are made from: the packaged proto, the generated modules, the README's client, and reflection."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tests import rig
from tests.contracts.grpc.callers import Caller, an_order, eventually, ordered, settled
from tests.contracts.grpc.contract import PENDING, PROTO, SERVICE, SUCCEEDED, compiled

README_CLIENT = """\
import grpc
from payments_service.payments_pb2 import RequestPaymentRequest
from payments_service.payments_pb2_grpc import PaymentServiceStub

# Create channel
channel = grpc.insecure_channel('localhost:7000')
client = PaymentServiceStub(channel)

# Request payment
request = RequestPaymentRequest(
    amount_minor=1250,  # $12.50 in cents
    currency="USD",
    order_id="order-123",
    idempotency_key="unique-key-12345678",
    metadata={"user_id": "user-789"}
)

response = client.RequestPayment(request)
print(f"Payment ID: {response.payment_id}")
print(f"Status: {response.status}")
print(f"Message: {response.message}")

# Get payment
from payments_service.payments_pb2 import GetPaymentRequest

get_request = GetPaymentRequest(payment_id=response.payment_id)
payment = client.GetPayment(get_request)
print(f"Amount: ${payment.amount_minor / 100:.2f}")
print(f"Currency: {payment.currency}")

# Health check
from payments_service.payments_pb2 import HealthRequest

health_request = HealthRequest()
health_response = client.Health(health_request)
print(f"Health: {health_response.status}")
"""


def shape(file: descriptor_pb2.FileDescriptorProto) -> dict[str, Any]:
    """Every service, method, message, field and value of a proto, with its number and its type."""
    found: dict[str, Any] = {"package": file.package, "syntax": file.syntax, "imports": list(file.dependency)}
    for enum in file.enum_type:
        found[enum.name] = {value.name: value.number for value in enum.value}
    for service in file.service:
        found[service.name] = {
            method.name: (method.input_type, method.output_type, method.client_streaming, method.server_streaming)
            for method in service.method
        }
    for each in file.message_type:
        found[each.name] = _fields(each)
    return found


def _fields(each: descriptor_pb2.DescriptorProto) -> dict[str, Any]:
    fields: dict[str, Any] = {field.name: (field.number, field.type, field.label, field.type_name) for field in each.field}
    return fields | {nested.name: (_fields(nested), nested.options.map_entry) for nested in each.nested_type}


CONTRACT = shape(compiled(PROTO).file[-1])


def test_the_packaged_proto_is_the_contracts() -> None:
    assert shape(compiled((rig.ROOT / "proto" / "payments.proto").read_text()).file[-1]) == CONTRACT


def test_the_generated_modules_are_the_contracts() -> None:
    from payments_service import payments_pb2, payments_pb2_grpc

    file = descriptor_pb2.FileDescriptorProto.FromString(payments_pb2.DESCRIPTOR.serialized_pb)
    assert shape(file) == CONTRACT
    assert payments_pb2.RequestPaymentRequest(amount_minor=1250).SerializeToString() == b"\x08\xe2\x09"
    names = {"PaymentServiceStub", "PaymentServiceServicer", "add_PaymentServiceServicer_to_server"}
    assert names <= set(vars(payments_pb2_grpc))


def test_the_readmes_client_works_unchanged(server: rig.Server) -> None:
    script = README_CLIENT.replace("localhost:7000", server.grpc)
    environment = {name: value for name, value in rig.clean_environment().items() if not name.lower().endswith("_proxy")}
    printed = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.splitlines())
    first, second = printed
    assert re.fullmatch(r"Payment ID: [0-9a-f-]{36}", first[0])
    assert first[1:] == ["Status: 1", "Message: Payment initiated", "Amount: $12.50", "Currency: USD", "Health: ok"]
    assert second == first, "the same again: the same answer"


def test_a_client_that_knows_nothing_but_reflection_can_call_everything(server: rig.Server, nobody: Caller) -> None:
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(nobody.channel))
    methods = pool.FindServiceByName(SERVICE).methods_by_name

    def call(name: str, **fields: Any) -> Any:
        method = methods[name]
        stub = nobody.channel.unary_unary(
            f"/{SERVICE}/{name}", response_deserializer=message_factory.GetMessageClass(method.output_type).FromString
        )
        return stub(message_factory.GetMessageClass(method.input_type)(**fields).SerializeToString(), timeout=20)

    assert set(methods) == {"RequestPayment", "GetPayment", "Health"}
    assert call("Health").status == "ok"
    order = an_order(metadata={"user_id": "user-789"})
    response = call("RequestPayment", **order)
    assert (response.status, response.message, response.idempotency_key) == (PENDING, "Payment initiated", order["idempotency_key"])
    payment = eventually(lambda: call("GetPayment", payment_id=response.payment_id))
    assert (payment.amount_minor, payment.currency, payment.order_id) == (1250, "USD", order["order_id"])
    assert payment.created_at.ToMicroseconds() == response.created_at.ToMicroseconds() > 0
    assert settled(nobody, response.payment_id) == (SUCCEEDED, "Payment succeeded")
    assert ordered(server, order) == [response.payment_id]


def test_reflection_tells_the_contracts_proto(nobody: Caller) -> None:
    told = ProtoReflectionDescriptorDatabase(nobody.channel).FindFileContainingSymbol(SERVICE)
    assert shape(told) == CONTRACT


@pytest.mark.parametrize("target", ["install", "proto", "run", "test", "format", "lint", "typecheck"])
def test_the_readmes_make_targets_are_there(target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=rig.ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
