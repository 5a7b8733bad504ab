"""Cursors of lists: where a page ended, sealed by a keyed hash, so that they work for the merchant who got them and nobody else."""

from __future__ import annotations

import base64
import binascii
import hmac
import uuid
from datetime import UTC, datetime, timedelta

from kassa.api.errors import InvalidInput
from kassa.kit.secrets import Keys
from kassa.payments.model import Payment, Place

_SEAL = 12
_LENGTH = 8 + 16 + _SEAL
_START = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def cursor_of(keys: Keys, payment: Payment) -> str:
    """The cursor behind `payment`."""
    data = ((payment.created_at - _START) // _MICROSECOND).to_bytes(8, "big") + payment.payment_id.bytes
    return base64.urlsafe_b64encode(data + _seal(keys, payment.merchant_id, data)).decode().rstrip("=")


def place_of(keys: Keys, merchant_id: str, cursor: str) -> Place:
    """Where a cursor points. Raises `InvalidInput` for a broken one, and for one of another merchant."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)) if cursor.isascii() and len(cursor) <= 64 else b""
    except (binascii.Error, ValueError):
        raw = b""
    data, seal = raw[:-_SEAL], raw[-_SEAL:]
    known = [keys, *([keys.before] if keys.before else [])]
    if len(raw) != _LENGTH or not any(hmac.compare_digest(seal, _seal(each, merchant_id, data)) for each in known):
        raise InvalidInput.at("query", "cursor", problem="is not a cursor of this list", kind="cursor")
    return Place(_START + int.from_bytes(data[:8], "big") * _MICROSECOND, uuid.UUID(bytes=data[8:]))


def _seal(keys: Keys, merchant_id: str, data: bytes) -> bytes:
    return keys.fingerprint(b"cursor of payments\x00" + merchant_id.encode() + b"\x00" + data)[:_SEAL]
