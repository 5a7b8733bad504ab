"""Ask for a payment over gRPC and look it up: first with the generated stubs, then with the typed client.

Start the server first (`make run`, or `python -m payments_service.server`), then:

    .venv/bin/python examples/grpc_client.py
    .venv/bin/python examples/grpc_client.py otherhost:7000
"""

from __future__ import annotations

import sys
import time
import uuid

import grpc

from payments_service.client import PaymentClient, Refused, Status
from payments_service.payments_pb2 import GetPaymentRequest, HealthRequest, RequestPaymentRequest
from payments_service.payments_pb2_grpc import PaymentServiceStub


def with_the_stubs(address: str) -> None:
    """The example of the service's README. Run twice it prints the same: a key gets one payment, for ever."""
    # Create channel
    channel = grpc.insecure_channel(address)
    client = PaymentServiceStub(channel)

    # Request payment
    request = RequestPaymentRequest(
        amount_minor=1250,  # $12.50 in cents
        currency="USD",
        order_id="order-123",
        idempotency_key="unique-key-12345678",
        metadata={"user_id": "user-789"},
    )

    response = client.RequestPayment(request)
    print(f"Payment ID: {response.payment_id}")
    print(f"Status: {response.status}")
    print(f"Message: {response.message}")

    # Get payment
    get_request = GetPaymentRequest(payment_id=response.payment_id)
    payment = client.GetPayment(get_request)
    print(f"Amount: ${payment.amount_minor / 100:.2f}")
    print(f"Currency: {payment.currency}")

    # Health check
    health_request = HealthRequest()
    health_response = client.Health(health_request)
    print(f"Health: {health_response.status}")
    channel.close()


def with_the_typed_client(address: str) -> None:
    """The same with dataclasses, deadlines and safe repetition; then a declined payment and a refused request."""
    with PaymentClient(address) as payments:
        order = f"order-{uuid.uuid4()}"
        made = payments.request(amount_minor=1250, currency="USD", order_id=order, key=f"{order}:1")
        again = payments.request(amount_minor=1250, currency="USD", order_id=order, key=f"{order}:1")
        print(f"{made.payment_id}: {made.message}; asked again it is the same one: {again.payment_id == made.payment_id}")

        declined = payments.request(amount_minor=1302, currency="EUR", order_id=order, key=f"{order}:2")
        for payment_id in (made.payment_id, declined.payment_id):
            while (payment := payments.get(payment_id)).status is Status.PENDING:
                time.sleep(0.1)
            print(f"{payment.payment_id}: {payment.message}")

        try:
            payments.request(amount_minor=1300, currency="USD", order_id=order, key=f"{order}:1")
        except Refused as refused:
            print(f"{refused.code.name}: {refused.message}")


if __name__ == "__main__":
    where = sys.argv[1] if len(sys.argv) > 1 else "localhost:7000"
    with_the_stubs(where)
    with_the_typed_client(where)
