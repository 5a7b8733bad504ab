"""Signatures that merchants can check (Standard Webhooks 1.0.0), and secrets as they are stored: sealed, each for its endpoint."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets as random_bytes
import uuid
from collections.abc import Sequence
from functools import lru_cache

from kassa.kit.reseal import Sealed
from kassa.kit.secrets import Keys
from kassa.webhooks.model import SecretLost

PREFIX = "whsec_"
_BYTES = 32
_KEPT = 1024
"""Opened secrets that a process remembers, so that a busy endpoint costs one decryption and not one for each request."""


def new_secret() -> str:
    """A new secret: `whsec_` and the base64 of 32 random bytes."""
    return PREFIX + base64.b64encode(random_bytes.token_bytes(_BYTES)).decode()


def key_of(text: str) -> bytes:
    """The key in a secret: what the part after `whsec_` decodes to. Raises `ValueError` for anything else."""
    if not text.startswith(PREFIX):
        raise ValueError("a secret begins with whsec_")
    try:
        return base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise ValueError("a secret is whsec_ and base64") from None


def sign(secrets: Sequence[bytes], webhook_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one `v1,<base64>` for each key, in their order, the newest first."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in secrets)


def seal(keys: Keys, endpoint_id: uuid.UUID, text: str) -> bytes:
    """A secret as it is stored; it opens for this endpoint alone."""
    return keys.seal(text.encode(), _about(endpoint_id))


def open_secret(keys: Keys, endpoint_id: uuid.UUID, sealed: bytes) -> str:
    """The secret that was sealed. Raises `SecretLost` when no present key opens it."""
    return _opened(keys, endpoint_id, bytes(sealed))


@lru_cache(maxsize=_KEPT)
def _opened(keys: Keys, endpoint_id: uuid.UUID, sealed: bytes) -> str:
    text = keys.unseal(sealed, _about(endpoint_id))
    if text is None:
        raise SecretLost
    return text.decode()


def _about(endpoint_id: uuid.UUID) -> bytes:
    return b"webhook endpoint " + endpoint_id.bytes


_ROW = (("merchant_id", "text"), ("endpoint_id", "uuid"))
ENDPOINT_SECRETS = tuple(
    Sealed("endpoints", column, _ROW, lambda row: _about(row["endpoint_id"])) for column in ("secret", "old_secret")
)
"""Where secrets of endpoints are sealed."""
