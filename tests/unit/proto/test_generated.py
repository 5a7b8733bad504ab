"""The generated modules are what the compiler makes of the proto today, and the proto is what callers have built against."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from payments_service import payments_pb2 as pb

ROOT = Path(__file__).resolve().parents[3]
MADE = ("payments_pb2.py", "payments_pb2.pyi", "payments_pb2_grpc.py")


@pytest.fixture(scope="module")
def anew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proto")
    done = subprocess.run([ROOT / "scripts" / "proto", folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "payments_service"


@pytest.mark.parametrize("name", MADE)
def test_a_generated_module_is_current(anew: Path, name: str) -> None:
    assert (ROOT / "src" / "payments_service" / name).read_bytes() == (anew / name).read_bytes(), "run `make proto`"


def test_nothing_else_is_generated(anew: Path) -> None:
    assert {path.name for path in anew.iterdir()} == set(MADE)


def test_fields_keep_their_numbers() -> None:
    numbers = {
        message.name: {field.name: field.number for field in message.fields}
        for message in pb.DESCRIPTOR.message_types_by_name.values()
    }
    assert numbers == {
        "RequestPaymentRequest": {"amount_minor": 1, "currency": 2, "order_id": 3, "idempotency_key": 4, "metadata": 5},
        "RequestPaymentResponse": {"payment_id": 1, "status": 2, "message": 3, "idempotency_key": 4, "created_at": 5},
        "GetPaymentRequest": {"payment_id": 1},
        "GetPaymentResponse": {
            "payment_id": 1,
            "status": 2,
            "amount_minor": 3,
            "currency": 4,
            "order_id": 5,
            "idempotency_key": 6,
            "created_at": 7,
            "message": 8,
        },
        "HealthRequest": {},
        "HealthResponse": {"status": 1},
    }
    assert dict(pb.PaymentStatus.items()) == {
        "PAYMENT_STATUS_UNSPECIFIED": 0,
        "PAYMENT_STATUS_PENDING": 1,
        "PAYMENT_STATUS_SUCCEEDED": 2,
        "PAYMENT_STATUS_FAILED": 3,
    }
