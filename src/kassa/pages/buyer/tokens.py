"""The token in a link to an order or a payment: it opens that one page for whoever was given the link, and nothing else.

It is a keyed hash of merchant, kind and id, so it need not be stored, and an id alone opens nothing. While `KASSA_SECRET` is being
replaced, links made under the old one still open.
"""

from __future__ import annotations

import base64
import hmac
import uuid
from typing import Final

from kassa.kit.secrets import Keys

ORDER: Final = "order"
PAYMENT: Final = "payment"

_LENGTH = 24
"""Bytes of the hash that a token shows: 192 bits, 32 characters."""


def make(keys: Keys, kind: str, merchant_id: str, subject_id: uuid.UUID | str) -> str:
    """The token of an order or a payment: 32 characters that fit into a link. `kind` is `ORDER` or `PAYMENT`."""
    # Lengths stand before the parts, so that no two triples are the same text.
    said = "".join(f"{len(part)}:{part}" for part in (kind, merchant_id, str(subject_id)))
    return base64.urlsafe_b64encode(keys.fingerprint(f"link:{said}".encode())[:_LENGTH]).decode()


def is_good(keys: Keys, kind: str, merchant_id: str, subject_id: uuid.UUID | str, shown: str) -> bool:
    """Whether `shown` is that token, under the present secret or the one that it replaces; in constant time."""
    given = shown.encode("utf-8", "replace")
    known = [make(each, kind, merchant_id, subject_id).encode() for each in (keys, keys.before) if each is not None]
    found = [hmac.compare_digest(each, given) for each in known]
    return any(found)
