"""The forms that values of settings must have. What is wrong is said in one line, never with the value."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

import iso4217
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from kassa.events.catalogue import is_pattern

SURFACES = ("orders", "checkout", "purchases", "payments", "grpc")
MIN_SECRET = 32
"""Bytes of a secret that production accepts."""
_LONGEST_BROKER_NAME = 240
"""Bytes: the broker allows 255, and the names of the dead letters are a little longer."""
_SIGNING_BYTES = (24, 64)
_LONGEST_PLAN = 20
_LONGEST_WAIT_S = 86400


def _items(value: object) -> object:
    """`a, b,c` as a tuple."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def secret_bytes(value: object) -> object:
    """The bytes that base64 text stands for; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        raw = base64.b64decode(value.strip().replace("-", "+").replace("_", "/") + "==", validate=False)
    except binascii.Error as error:
        raise ValueError("must be base64") from error
    if len(raw) < MIN_SECRET:
        raise ValueError("must be at least 32 random bytes in base64; make one with `openssl rand -base64 32`")
    return raw


def _database(value: str) -> str:
    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", value)
    if not plain.startswith("postgresql://"):
        raise ValueError("must begin with postgresql://; Kassa works with PostgreSQL 15 or newer")
    try:
        _ = urlsplit(plain).port
    except ValueError:
        raise ValueError("is not an address such as postgresql://user:password@host:5432/database") from None
    return plain


def _web_address(value: str) -> str:
    if not re.match(r"^https?://[^/\s]+", value):
        raise ValueError("must begin with http:// or https:// and name a host")
    return value.rstrip("/")


def _surfaces(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in SURFACES]
    if unknown or not names:
        raise ValueError(f"must name some of {', '.join(SURFACES)}")
    return names


def _rate(value: str) -> str:
    if value != "off" and not re.fullmatch(r"[1-9]\d*/(second|minute|hour|day)", value):
        raise ValueError("must be `off` or a rate such as 100/second")
    return value


def _currencies(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name != name.upper() or not _is_currency(name)]
    if unknown or not names:
        raise ValueError("must be ISO 4217 codes such as USD,EUR")
    return names


def _is_currency(name: str) -> bool:
    try:
        return bool(iso4217.Currency(name))
    except ValueError:
        return False


def _networks(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        try:
            ipaddress.ip_network(name, strict=False)
        except ValueError as error:
            raise ValueError("must be addresses or networks such as 10.0.0.0/8") from error
    return names


def _broker(value: str) -> str:
    if not re.match(r"^amqps?://[^/\s]+", value):
        raise ValueError("must begin with amqp:// or amqps:// and name a host")
    return value


def _redis(value: str) -> str:
    if not re.match(r"^(rediss?://[^/\s]|unix://)", value):
        raise ValueError("must begin with redis:// or rediss:// and name a host")
    return value


def _broker_name(value: str) -> str:
    if len(value.encode()) > _LONGEST_BROKER_NAME or value.startswith("amq."):
        raise ValueError(f"must have at most {_LONGEST_BROKER_NAME} bytes and not begin with amq.")
    return value


def _signing_secret(value: str) -> str:
    try:
        raw = base64.b64decode(value.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raw = b""
    if not value.startswith("whsec_") or not _SIGNING_BYTES[0] <= len(raw) <= _SIGNING_BYTES[1]:
        raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes; unset it, and one is made")
    return value


def _event_patterns(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or not all(is_pattern(name) for name in names):
        raise ValueError("must name types of events such as payment.paid, families such as payment.*, or *")
    return names


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,5}", part) for part in parts):
        raise ValueError("must be whole numbers of seconds with commas between them, such as 0,5,300")
    return tuple(map(int, parts))


def _plan(waits: tuple[int, ...]) -> tuple[int, ...]:
    if not 1 <= len(waits) <= _LONGEST_PLAN or max(waits) > _LONGEST_WAIT_S:
        raise ValueError(f"must be 1 to {_LONGEST_PLAN} numbers from 0 to {_LONGEST_WAIT_S}")
    return waits


def _sender(value: str) -> str:
    if not re.fullmatch(r"[^<>@\x00-\x1f]*<[^<>@\s]+@[^<>@\s]+>|[^<>@\s]+@[^<>@\s]+", value):
        raise ValueError("must be an e-mail address such as Shop <shop@example.com>")
    return value


Items = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items)]
Port = Annotated[int, Field(ge=1, le=65535)]
SecretBytes = Annotated[bytes, BeforeValidator(secret_bytes)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
DatabaseUrl = Annotated[str, AfterValidator(_database)]
Surfaces = Annotated[Items, AfterValidator(_surfaces)]
Networks = Annotated[Items, AfterValidator(_networks)]
Currencies = Annotated[Items, AfterValidator(_currencies)]
Rate = Annotated[str, AfterValidator(_rate)]
RedisUrl = Annotated[str, AfterValidator(_redis)]
BrokerUrl = Annotated[str, AfterValidator(_broker)]
BrokerName = Annotated[str, AfterValidator(_broker_name)]
SigningSecret = Annotated[str, AfterValidator(_signing_secret)]
EventPatterns = Annotated[Items, AfterValidator(_event_patterns)]
EmailSender = Annotated[str, AfterValidator(_sender)]
RetryPlan = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_seconds), AfterValidator(_plan)]
