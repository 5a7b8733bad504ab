"""The generated modules are what the compiler makes of the protos today, and the protos are what others have built against."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ambassador_service import ambassador_pb2
from payments_service import payments_pb2 as pb

ROOT = Path(__file__).resolve().parents[3]
MADE = {
    "payments_service": ("payments_pb2.py", "payments_pb2.pyi", "payments_pb2_grpc.py", "payments.proto"),
    "ambassador_service": ("ambassador_pb2.py", "ambassador_pb2.pyi", "ambassador_pb2_grpc.py", "ambassador.proto"),
}


@pytest.fixture(scope="module")
def anew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("proto")
    done = subprocess.run([ROOT / "scripts" / "proto", folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(("package", "name"), [(package, name) for package, names in MADE.items() for name in names])
def test_a_generated_module_is_current(anew: Path, package: str, name: str) -> None:
    assert (ROOT / "src" / package / name).read_bytes() == (anew / package / name).read_bytes(), "run `make proto`"


def test_nothing_else_is_generated(anew: Path) -> None:
    made = {package.name: {path.name for path in package.iterdir()} for package in anew.iterdir()}
    assert made == {package: set(names) for package, names in MADE.items()}


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


def test_an_ambassadors_service_understands_what_is_sent() -> None:
    """Byte by byte what a service makes of the contract's proto, whose words need not be ours."""
    assert ambassador_pb2.ValidateRequest(ambassador_ids=[1, 300, 2**63 - 1]).SerializeToString() == (
        b"\x0a\x0c\x01\xac\x02\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
    )
    told = ambassador_pb2.ValidateResponse.FromString(b"\x0a\x07\x08\x01\x10\xc0\x96\xb1\x02\x12\x02\x07\x09")
    assert [(each.ambassador_id, each.price) for each in told.valid_ambassadors] == [(1, 5000000)]
    assert list(told.invalid_ids) == [7, 9]
    service = ambassador_pb2.DESCRIPTOR.services_by_name["AmbassadorValidation"]
    assert [method.full_name for method in service.methods] == ["ambassador.AmbassadorValidation.ValidateAmbassadors"]
