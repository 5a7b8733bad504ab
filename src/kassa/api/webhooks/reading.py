"""How requests about webhooks are read: ids in the path, bodies that may be left out, cursors, and keys."""

from __future__ import annotations

import base64
import binascii
import hmac
import uuid
from collections.abc import Mapping
from typing import Any

from kassa.api.body import read_json
from kassa.api.call import Call, whole
from kassa.api.describe import parameter
from kassa.api.errors import InvalidInput
from kassa.api.keys import MONTH, given_key, key_of
from kassa.kit import ids, once
from kassa.kit.secrets import Keys
from kassa.webhooks.model import DeliveryMissing, EndpointMissing

SCOPE = "webhooks:manage"
ENDPOINT_ID = parameter("path", "endpoint_id", "The endpoint's id.")
DELIVERY_ID = parameter("path", "delivery_id", "The delivery's id.")
_SEAL = 12
_LONGEST_CURSOR = 64


def endpoint_of(call: Call) -> uuid.UUID:
    """The endpoint in the path. Raises `EndpointMissing` for what is no id."""
    found = ids.parse(call.in_path["endpoint_id"])
    if found is None:
        raise EndpointMissing
    return found


def delivery_of(call: Call) -> uuid.UUID:
    """The delivery in the path. Raises `DeliveryMissing` for what is no id."""
    found = ids.parse(call.in_path["delivery_id"])
    if found is None:
        raise DeliveryMissing
    return found


async def read_or_nothing(call: Call) -> dict[str, Any]:
    """The body as a JSON object, or an empty one where nothing was sent."""
    sent = call.header(b"content-length") not in {None, "0"} or call.header(b"transfer-encoding") is not None
    return await read_json(call) if sent else {}


def key_in(call: Call, merchant_id: str, data: Mapping[str, Any]) -> once.Key | None:
    """The key of the header for what was asked, or None. Raises `InvalidKey`."""
    return key_of(call, given_key(call), lambda _: ("merchant", dict(data)), MONTH, merchant_id)


def asked_once(asked: Mapping[str, list[str]], *names: str) -> dict[str, str]:
    """The members of a query that may stand once. Raises `InvalidInput`."""
    for name in names:
        if len(asked.get(name, [])) > 1:
            raise InvalidInput.at("query", name, problem="must be named once", kind="twice")
    return {name: asked[name][0] for name in names if name in asked}


def limit_of(asked: Mapping[str, str], default: int, largest: int) -> int:
    """How many rows a page may have. Raises `InvalidInput`."""
    return whole(asked, "limit", default, largest)


def cursor_of(keys: Keys, merchant_id: str, endpoint_id: uuid.UUID, last: uuid.UUID) -> str:
    """Where a page of deliveries ended, sealed for this endpoint of this merchant."""
    return base64.urlsafe_b64encode(last.bytes + _seal(keys, merchant_id, endpoint_id, last.bytes)).decode().rstrip("=")


def place_of(keys: Keys, merchant_id: str, endpoint_id: uuid.UUID, cursor: str | None) -> uuid.UUID | None:
    """Where a cursor points; None for none and for an empty one. Raises `InvalidInput` for one that is not of this list."""
    if not cursor:
        return None
    try:
        fits = cursor.isascii() and len(cursor) <= _LONGEST_CURSOR
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)) if fits else b""
    except (binascii.Error, ValueError):
        raw = b""
    data, seal = raw[:-_SEAL], raw[-_SEAL:]
    known = [keys, *([keys.before] if keys.before else [])]
    if len(raw) != 16 + _SEAL or not any(hmac.compare_digest(seal, _seal(each, merchant_id, endpoint_id, data)) for each in known):
        raise InvalidInput.at("query", "cursor", problem="is not a cursor of this list", kind="cursor")
    return uuid.UUID(bytes=data)


def _seal(keys: Keys, merchant_id: str, endpoint_id: uuid.UUID, data: bytes) -> bytes:
    return keys.fingerprint(b"cursor of deliveries\x00" + merchant_id.encode() + b"\x00" + endpoint_id.bytes + data)[:_SEAL]
