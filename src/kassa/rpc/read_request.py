"""What a request asks for, judged by the rows of the contract's table in their order (gRPC contract, section 2).

Characters are Unicode code points and nothing is trimmed. What was sent is never repeated in a message, except the id that was
looked for, cut and cleaned.
"""

from __future__ import annotations

import re
import uuid
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from kassa.collect import KeyedWish
from kassa.kit import ids
from kassa.kit.errors import Invalid, NotFound
from kassa.kit.money import Money
from payments_service.payments_pb2 import RequestPaymentRequest

M = TypeVar("M", bound=Message)

MAX_AMOUNT = 10**15 - 1
SHORTEST_KEY = 8
LONGEST = 255
"""Characters of a key and of an order id."""
MOST_METADATA, LONGEST_NAME, LONGEST_VALUE = 50, 64, 512
_SHOWN_OF_ID = 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class InvalidRequest(Invalid):
    """The request breaks a row of the table; the message says which."""

    code = "invalid_request"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"Validation error: Invalid {what}: {why}")


class BrokenMessage(Invalid):
    """Validation error: Invalid message: it cannot be read"""  # noqa: D400 - as the other texts, without a full stop

    code = "broken_message"


class UnknownPayment(NotFound):
    """There is no such payment for this caller; the message names the id that was given."""

    code = "payment_not_found"

    def __init__(self, given: str) -> None:
        super().__init__(f"Payment not found: {_CONTROL.sub('?', given[:_SHOWN_OF_ID])}")


def parse(kind: type[M], data: bytes) -> M:
    """The message in `data`. Raises `BrokenMessage` when it is none, or a text in it is not UTF-8."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise BrokenMessage from None


def wish_of(merchant_id: str, request: RequestPaymentRequest, currencies: tuple[str, ...]) -> KeyedWish:
    """The payment that a merchant asks for. Raises `InvalidRequest` for the first row that does not hold.

    `currencies` are ISO 4217 codes in the order in which the message names them.
    """
    amount, currency = request.amount_minor, request.currency.upper()
    if amount <= 0:
        raise InvalidRequest("amount", "amount_minor must be positive")
    if amount > MAX_AMOUNT:
        raise InvalidRequest("amount", "amount_minor is too large")
    # Some letters beyond ASCII have an ASCII capital: a long s would pass for an S.
    if currency not in currencies or not request.currency.isascii():
        raise InvalidRequest("currency", f"must be one of {', '.join(currencies)}")
    key, order_id = request.idempotency_key, request.order_id
    if len(key) < SHORTEST_KEY:
        raise InvalidRequest("idempotency key", "must be at least 8 characters")
    _check_text("idempotency key", key)
    if not order_id or order_id.isspace():
        raise InvalidRequest("order id", "must not be empty")
    _check_text("order id", order_id)
    metadata = dict(request.metadata)
    if metadata:
        _check_metadata(metadata)
    return KeyedWish(merchant_id, Money(amount, currency), order_id, key, metadata)


def _check_text(what: str, text: str) -> None:
    if len(text) > LONGEST:
        raise InvalidRequest(what, "must be at most 255 characters")
    if _CONTROL.search(text):
        raise InvalidRequest(what, "must not hold control characters")


def _check_metadata(metadata: dict[str, str]) -> None:
    names = all(0 < len(name) <= LONGEST_NAME for name in metadata)
    values = all(len(value) <= LONGEST_VALUE for value in metadata.values())
    if len(metadata) > MOST_METADATA or not names or not values:
        raise InvalidRequest("metadata", "at most 50 entries, keys of 1 to 64 and values of at most 512 characters")


def payment_id_of(given: str) -> uuid.UUID:
    """The id that `given` writes. Raises `UnknownPayment` for what is no UUID: nobody has a payment of that name."""
    found = ids.parse(given)
    if found is None:
        raise UnknownPayment(given)
    return found
