"""One table from errors to codes and messages, one from states to statuses; and what of a call's metadata is believed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from grpc import StatusCode

from kassa.collect import Keyed
from kassa.collect.model import PaymentMissing
from kassa.kit import once
from kassa.kit.database import CommitUnknown, DatabaseAway
from kassa.kit.errors import Conflict, Refused, Unknown
from kassa.merchants.model import InsufficientScope, InvalidApiKey, MerchantMismatch, Unauthorized, UnknownMerchant
from kassa.payments.model import MOVES
from kassa.rpc.callers import read_metadata
from kassa.rpc.problems import RateLimited, problem_of
from kassa.rpc.read_request import InvalidRequest, UnknownPayment
from kassa.rpc.shapes import SHOWN, requested
from payments_service import payments_pb2 as pb


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InvalidRequest("amount", "amount_minor must be positive"), "INVALID_ARGUMENT", None),
        (UnknownPayment("abc"), "NOT_FOUND", "Payment not found: abc"),
        (InvalidApiKey(), "UNAUTHENTICATED", "Invalid API key"),
        (Unauthorized(), "UNAUTHENTICATED", "API key required"),
        (UnknownMerchant(), "UNAUTHENTICATED", "Unknown merchant"),
        (MerchantMismatch(), "PERMISSION_DENIED", "Merchant mismatch"),
        (InsufficientScope("payments:write"), "PERMISSION_DENIED", "Insufficient scope"),
        (once.KeyReused(), "ALREADY_EXISTS", "Idempotency key already used with another payload"),
        (once.InProgress(), "ABORTED", "Request with this idempotency key is still running"),
        (RateLimited(), "RESOURCE_EXHAUSTED", "Rate limit exceeded"),
        (DatabaseAway("The database is busy; try again."), "UNAVAILABLE", "Service unavailable"),
        (CommitUnknown(), "UNAVAILABLE", "Service unavailable"),
    ],
)
def test_an_error_has_its_code_and_its_words(error: Exception, code: str, message: str | None) -> None:
    assert problem_of(error) == (StatusCode[code], str(error) if message is None else message)


@pytest.mark.parametrize("error", [ValueError("4111"), KeyError(), Conflict(), Refused(), Unknown(), TimeoutError()])
def test_any_other_error_is_ours_alone(error: Exception) -> None:
    assert problem_of(error) is None


def test_a_missing_payment_is_never_an_error_of_ours() -> None:
    assert problem_of(PaymentMissing()) == (StatusCode.NOT_FOUND, str(PaymentMissing()))


def test_every_state_of_a_payment_is_shown() -> None:
    assert set(SHOWN) == MOVES.statuses()
    assert {status for status, _ in SHOWN.values()} == {1, 2, 3}
    assert all(message.startswith("Payment ") for _, message in SHOWN.values())


def test_the_answer_to_a_key_is_the_same_bytes_whatever_has_happened() -> None:
    moment = datetime(2026, 1, 1, 0, 0, 0, 451007, tzinfo=UTC)
    one, two = (requested(Keyed(uuid.UUID(int=7), moment, replayed), "key-12345678") for replayed in (False, True))
    assert one == two
    told = pb.RequestPaymentResponse.FromString(one)
    assert (told.status, told.message, told.idempotency_key) == (pb.PAYMENT_STATUS_PENDING, "Payment initiated", "key-12345678")
    assert (told.created_at.seconds, told.created_at.nanos) == (1767225600, 451007000)


def test_metadata_are_read_by_name() -> None:
    said = read_metadata((("user-agent", "x"), ("x-api-key", "sk_1"), ("x-merchant-id", "2"), ("x-request-id", "abc")))
    assert (said.api_key, said.merchant_id, said.request_id) == ("sk_1", "2", "abc")
    assert said.trailing == [("x-request-id", "abc")]
    assert read_metadata(()).api_key is None


def test_a_header_that_is_said_twice_fits_nobody() -> None:
    said = read_metadata((("x-merchant-id", "1"), ("x-merchant-id", "2"), ("x-api-key", "sk_1"), ("x-api-key", "sk_1")))
    assert (said.merchant_id, said.api_key) == ("1, 2", "sk_1, sk_1")


@pytest.mark.parametrize("sent", ["", "with blank", "x" * 129, "\u00e9"])
def test_a_request_id_that_is_none_is_replaced(sent: str) -> None:
    made = read_metadata((("x-request-id", sent),)).request_id
    assert str(uuid.UUID(made)) == made
