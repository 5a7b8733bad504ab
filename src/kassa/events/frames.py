"""What the broker and we say to each other about messages, as bytes (AMQP 0-9-1). Pure: no I/O.

A client library knows all of AMQP and makes an object of each part of a message; that is half of what an event costs. Here is what
is said for each message and nothing else: published, confirmed, returned, delivered, settled. Numbers are big-endian.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from struct import Struct, error
from typing import Final

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
HEARTBEAT: Final = 8
END: Final = 0xCE
"""The last byte of each frame."""
AROUND: Final = 8
"""Bytes of a frame besides what it carries."""
head: Final = Struct(">BHI").unpack_from
"""Of bytes and an offset: kind, channel and size of the frame that begins there."""
method: Final = Struct(">I").unpack_from
"""Of bytes and an offset: which method it is."""

_BASIC: Final = 60
PUBLISH: Final = _BASIC << 16 | 40
RETURN: Final = _BASIC << 16 | 50
DELIVER: Final = _BASIC << 16 | 60
ACK: Final = _BASIC << 16 | 80
REJECT: Final = _BASIC << 16 | 90
NACK: Final = _BASIC << 16 | 120
_MANDATORY: Final = b"\x01"
_PERSISTENT: Final = b"\x02"
_FLAGS: Final = 0x8000 | 0x2000 | 0x1000 | 0x0080 | 0x0020
"""That a message says its content type, headers, whether it is persistent, its id and its type: in this order."""
_JSON: Final = b"\x10application/json"
_SIZES: Final = {b"V": 0, **dict.fromkeys((b"t", b"b", b"B"), 1), b"s": 2, b"u": 2, **dict.fromkeys((b"I", b"i", b"f"), 4), b"D": 5,
                 **dict.fromkeys((b"l", b"L", b"d", b"T"), 8)}  # fmt: skip
"""How long a value of a table is. The other kinds begin with their length."""
_SETTLE = Struct(">BHIIQBB").pack
_CONFIRM = Struct(">QB").unpack_from
_HEAD = Struct(">BHI").pack
_LENGTH = Struct(">I")
_LONG = Struct(">q").pack
_BEGINS = Struct(">HHQH")
_TAG = Struct(">Q").unpack_from


@dataclass(frozen=True, slots=True)
class Message:
    """What is published: JSON bytes, kept by the broker over a restart."""

    routing_key: str
    message_id: str
    type: str
    body: bytes
    headers: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Properties:
    """What is read of a message that arrives. Of `headers` texts are text, everything else is bytes that nobody has looked at."""

    body_size: int
    message_id: str | None
    headers: Mapping[str, str | bytes]


# ── what we say ──────────────────────────────────────────────────────────────────────────────────────────────────────


def opening(channel: int, exchange: str, routing_key: str) -> bytes:
    """The frame that begins each message that is published under this key. Raises `ValueError` for a name over 255 bytes."""
    return _frame(METHOD, channel, _LENGTH.pack(PUBLISH) + b"\0\0" + _short(exchange) + _short(routing_key) + _MANDATORY)


def content(channel: int, message: Message, frame_max: int) -> bytes:
    """The frames that follow the one which begins a message. Raises `ValueError` for an id or a header's name over 255 bytes."""
    body, table = message.body, b"".join([_short(name) + _value(value) for name, value in message.headers.items()])
    properties = b"".join((
        _BEGINS.pack(_BASIC, 0, len(body), _FLAGS),
        _JSON, _LENGTH.pack(len(table)), table, _PERSISTENT, _short(message.message_id), _short(message.type),
    ))  # fmt: skip
    most = frame_max - AROUND
    parts = [_frame(BODY, channel, body[at : at + most]) for at in range(0, len(body), most)]
    return _frame(HEADER, channel, properties) + b"".join(parts)


def acknowledged(channel: int, tag: int) -> bytes:
    """A delivery needs nobody any more."""
    return _SETTLE(METHOD, channel, 13, ACK, tag, 0, END)


def rejected(channel: int, tag: int) -> bytes:
    """A delivery can never be done: to the dead letters."""
    return _SETTLE(METHOD, channel, 13, REJECT, tag, 0, END)


def given_back(channel: int, tag: int) -> bytes:
    """Somebody may try a delivery again."""
    return _SETTLE(METHOD, channel, 13, REJECT, tag, 1, END)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _HEAD(kind, channel, len(payload)) + payload + b"\xce"


def _short(text: str) -> bytes:
    data = text.encode()
    return bytes((len(data),)) + data


def _value(value: str | int) -> bytes:
    if isinstance(value, int):
        return b"l" + _LONG(value)
    data = value.encode()
    return b"S" + _LENGTH.pack(len(data)) + data


# ── what the broker says ─────────────────────────────────────────────────────────────────────────────────────────────


def read_confirm(data: bytes, at: int) -> tuple[int, bool]:
    """Of an ack or a nack: up to which message, and whether it is about all before it, too."""
    tag, bits = _CONFIRM(data, at + 4)
    return tag, bool(bits & 1)


def read_deliver(data: bytes, at: int) -> tuple[int, str]:
    """The tag under which a delivery is settled, and its routing key."""
    at += 5 + data[at + 4]  # behind the consumer's name
    [tag] = _TAG(data, at)
    at += 9
    at += 1 + data[at]  # behind the exchange's
    return tag, data[at + 1 : at + 1 + data[at]].decode(errors="replace")


def read_properties(data: bytes, at: int, end: int) -> Properties:
    """What a message says of itself. What cannot be understood, as strangers may publish it, is as if it were not there."""
    _, _, size, flags = _BEGINS.unpack_from(data, at)
    at += _BEGINS.size
    try:
        for each in (0x8000, 0x4000):  # content type and encoding
            at += 1 + data[at] if flags & each else 0
        headers: dict[str, str | bytes] = {}
        if flags & 0x2000:
            [length] = _LENGTH.unpack_from(data, at)
            headers = dict(_table(data, at + 4, at + 4 + length))
            at += 4 + length
        at += bool(flags & 0x1000) + bool(flags & 0x0800)  # delivery mode and priority
        for each in (0x0400, 0x0200, 0x0100):  # correlation id, reply to and expiration
            at += 1 + data[at] if flags & each else 0
        message_id = data[at + 1 : at + 1 + data[at]].decode() if flags & 0x0080 else None
        at += 1 + data[at] if flags & 0x0080 else 0
    except (IndexError, KeyError, UnicodeDecodeError, error):
        return Properties(size, None, {})
    return Properties(size, message_id, headers) if at <= end else Properties(size, None, {})


def _table(data: bytes, at: int, end: int) -> Iterator[tuple[str, str | bytes]]:
    while at < end:
        begins = at + 1 + data[at]
        name, kind = data[at + 1 : begins].decode(), data[begins : begins + 1]
        begins += 1
        if kind in _SIZES:
            at = begins + _SIZES[kind]
        elif kind in b"SxAF":
            begins, at = begins + 4, begins + 4 + _LENGTH.unpack_from(data, begins)[0]
        else:
            raise KeyError(kind)
        if at > end:
            raise IndexError(at)
        yield name, _text(data[begins:at]) if kind == b"S" else data[begins:at]


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
