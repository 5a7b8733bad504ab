"""The nouns of the sandbox: an act of a neighbour, a call of it, the reply, and how the reply is played."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kassa.sandbox import exact

Tx = sqlite3.Connection
"""One open transaction of the book. Whoever gets it is part of it and never commits."""

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it is sent. `keep`: it is a verdict, and the key's answer for ever."""

    status: int
    body: bytes
    keep: bool = True
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Script:
    """What one call of a neighbour is to suffer. Times are seconds."""

    id: int
    behaviour: str
    seconds: float | None = None
    status: int | None = None
    error: str | None = None
    message: str | None = None
    form: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request as a neighbour sees it. `body` may hold a card: it is never printed, booked or logged."""

    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes = field(repr=False)
    body: Any = field(repr=False)
    base_url: str
    key: str | None
    now_us: int = 0
    script: Script | None = None

    @property
    def fields(self) -> Mapping[str, Any]:
        """The members of the body; none when it is not an object."""
        return self.body if isinstance(self.body, dict) else {}

    @property
    def asked_key(self) -> str | None:
        """The key of the call, or the key that it asks about."""
        return self.key or self.params.get("key")

    @property
    def booked_us(self) -> int:
        """When the effect of this call stands in the book, in microseconds: now, or later when it is scripted late."""
        return self.now_us + (0 if self.script is None else late_us(self.script))

    def suffers(self, behaviour: str) -> bool:
        """Whether this call is scripted to meet this behaviour."""
        return self.script is not None and self.script.behaviour == behaviour


@dataclass(frozen=True, slots=True)
class Act:
    """One thing a neighbour does.

    `do` books and answers inside the transaction. `decline` makes the neighbour's clean *no* from an error word and a
    message; acts without one cannot be declined. `busy` answers a repetition while the first is still worked on.
    `same_body`: another body under a used key is refused.
    """

    service: str
    name: str
    method: str
    path: str
    do: Callable[[Tx, Call], Reply]
    decline: Callable[[str, str], dict[str, Any]] | None = None
    keyed: bool = False
    busy: int = 503
    same_body: bool = True


@dataclass(frozen=True, slots=True)
class Played:
    """What goes over the wire: the reply after `wait` seconds, `gap` seconds between its bytes; or a cut."""

    reply: Reply
    call_id: int
    wait: float = 0.0
    gap: float = 0.0
    cut: bool = False


def say(status: int, value: Any, *, keep: bool = True, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """A JSON reply."""
    return Reply(status, exact.dumps(value), keep, headers)


def late_us(script: Script) -> int:
    """How much later than the call its effect is booked, in microseconds. Only `late` and a slow `decline` do that."""
    if script.behaviour not in {"late", "decline"} or script.seconds is None:
        return 0
    return round(script.seconds * MICROSECONDS)
