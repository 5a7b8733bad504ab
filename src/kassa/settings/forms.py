"""The forms that values of settings must have. What is wrong is said in one line, never with the value."""

from __future__ import annotations

import base64
import binascii
import html
import ipaddress
import re
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit

import iso4217
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from kassa.cardwatch import CardLimits
from kassa.events.catalogue import is_pattern
from kassa.kit.money import InvalidMoney, from_major

SURFACES = ("orders", "checkout", "purchases", "payments", "grpc")
PAGES = ("shop", "buyer", "office", "develop")
MIN_SECRET = 32
"""Bytes of a secret that production accepts."""
_LONGEST_BROKER_NAME = 240
"""Bytes: the broker allows 255, and the names of the dead letters are a little longer."""
_SIGNING_BYTES = (24, 64)
_LONGEST_PLAN = 20
_LONGEST_WAIT_S = 86400
_HIGHEST_PORT = 65535
_BUSY_CODES = (-31051, -31008)
_PAYME_SERVERS = tuple(
    map(str, ipaddress.summarize_address_range(*map(ipaddress.IPv4Address, ("185.234.113.1", "185.234.113.15"))))
)
"""Where Payme calls from, by its own documentation."""
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#[0-9]+|#[xX][0-9A-Fa-f]+);")
_ORIGIN = re.compile(r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")


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
        places = urlsplit(plain).netloc.rpartition("@")[2]
        _ = [urlsplit(f"//{place}").port for place in places.split(",")]  # several: where the one that takes writes may be
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


def _pages(names: tuple[str, ...]) -> tuple[str, ...]:
    if names == ("off",):
        return ()
    if not names or any(name not in PAGES for name in names):
        raise ValueError(f"must be off, or name some of {', '.join(PAGES)}")
    return names


def _rate(value: str) -> str:
    if value != "off" and not re.fullmatch(r"[1-9]\d*/(second|minute|hour|day)", value):
        raise ValueError("must be `off` or a rate such as 100/second")
    return value


def _card_limits(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value in {"on", "off"}:
        return CardLimits(on=value == "on")
    parts = [part.strip() for part in value.split(",")]
    if not all(re.fullmatch(r"(card|buyer|address|shop)=[1-9][0-9]{0,5}", part) for part in parts):
        raise ValueError("must be on, off, or numbers such as card=5,buyer=5,address=6,shop=300")
    numbers: dict[str, Any] = {name: int(number) for name, _, number in (part.partition("=") for part in parts)}
    return CardLimits(**numbers)


def _amounts(value: object) -> object:
    """`INR=5000, USD=100.50`: amounts in major units, as minor units by currency."""
    if isinstance(value, dict | None):
        return value
    found: dict[str, int] = {}
    for part in str(value).split(","):
        match = re.fullmatch(r"([A-Z]{3})=([0-9]{1,15}(?:\.[0-9]{1,4})?)", part.strip())
        if match is None or match[1] in found or not _is_currency(match[1]):
            raise ValueError("must be amounts in major units by currency, such as INR=50000,USD=600.50")
        try:
            found[match[1]] = from_major(Decimal(match[2]), match[1]).minor
        except InvalidMoney:
            raise ValueError(f"has an amount that {match[1]} cannot have") from None
    return found


def _origins(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        found = _ORIGIN.fullmatch(name)
        if found is None or int(found[1] or 0) > _HIGHEST_PORT:
            raise ValueError("must be whole origins as browsers write them, such as https://shop.example; `*` is none")
    return names


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


def _no_blanks_around(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def pasted(value: object) -> object:
    """A key as its owner meant it: pages and shop modules show `&` as `&amp;`. Only whole entities: a key may hold `&lt` itself."""
    return _ENTITY.sub(lambda found: html.unescape(found[0]), value).strip() if isinstance(value, str) else value


def _payme_key(value: str) -> str:
    if not value:
        raise ValueError("is empty")
    if len(value) > 255 or not value.isprintable() or " " in value:
        raise ValueError("must be the key of the cashbox, without blanks inside")
    return value


def _payme_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", value):
        raise ValueError("must be the id of the cashbox: 24 letters and digits")
    return value


def _payme_login(value: str) -> str:
    if not re.fullmatch(r"[^:\x00-\x20\x7f]{1,64}", value):
        raise ValueError("must have 1 to 64 characters, no colon and no blank")
    return value


def _account_field(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]{1,32}", value):
        raise ValueError("must be 1 to 32 letters, digits and underscores")
    return value


def _busy_code(value: int) -> int:
    if value not in _BUSY_CODES:
        raise ValueError(f"must be {' or '.join(map(str, _BUSY_CODES))}")
    return value


def _payme_networks(names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return _networks(tuple(each for name in names for each in (_PAYME_SERVERS if name == "payme" else (name,))))
    except ValueError:
        raise ValueError("must be addresses, networks such as 10.0.0.0/8, or the word payme") from None


def _return_address(value: str) -> str:
    if len(value) > 2048 or not re.fullmatch(r"https?://[^/\s]+\S*", value) or not value.isprintable():
        raise ValueError("must begin with http:// or https:// and name a host")
    return value


def _host(value: str) -> str:
    try:
        return str(ipaddress.IPv6Address(value.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    if not _HOST.fullmatch(value):
        raise ValueError("must be a host name or an address, without http:// and without a port")
    return value


Items = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items)]
Port = Annotated[int, Field(ge=1, le=65535)]
SecretBytes = Annotated[bytes, BeforeValidator(secret_bytes)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
DatabaseUrl = Annotated[str, AfterValidator(_database)]
Surfaces = Annotated[Items, AfterValidator(_surfaces)]
PageGroups = Annotated[Items, AfterValidator(_pages)]
Networks = Annotated[Items, AfterValidator(_networks)]
Currencies = Annotated[Items, AfterValidator(_currencies)]
Rate = Annotated[str, AfterValidator(_rate)]
Amounts = Annotated[dict[str, int], NoDecode, BeforeValidator(_amounts)]
Origins = Annotated[Items, AfterValidator(_origins)]
CardLimit = Annotated[CardLimits, NoDecode, BeforeValidator(_card_limits)]
RedisUrl = Annotated[str, AfterValidator(_redis)]
BrokerUrl = Annotated[str, AfterValidator(_broker)]
BrokerName = Annotated[str, AfterValidator(_broker_name)]
SigningSecret = Annotated[str, AfterValidator(_signing_secret)]
EventPatterns = Annotated[Items, AfterValidator(_event_patterns)]
EmailSender = Annotated[str, AfterValidator(_sender)]
RetryPlan = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_seconds), AfterValidator(_plan)]
PaymeId = Annotated[str, BeforeValidator(_no_blanks_around), AfterValidator(_payme_id)]
PaymeKey = Annotated[str, BeforeValidator(pasted), AfterValidator(_payme_key)]
PaymeLogin = Annotated[str, BeforeValidator(_no_blanks_around), AfterValidator(_payme_login)]
AccountField = Annotated[str, AfterValidator(_account_field)]
BusyCode = Annotated[int, AfterValidator(_busy_code)]
PaymeNetworks = Annotated[Items, AfterValidator(_payme_networks)]
ReturnAddress = Annotated[str, BeforeValidator(_no_blanks_around), AfterValidator(_return_address)]
Host = Annotated[str, BeforeValidator(_no_blanks_around), AfterValidator(_host)]
