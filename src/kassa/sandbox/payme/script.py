"""The script of a rehearsal: every step with what is sent and what must come back, in the order in which Payme would play it.

A step names the steps that it stands on; the robot leaves it out when one of them went wrong. Nothing here sends or prints.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kassa.sandbox.payme.judge import Expect, Memory
from kassa.sandbox.payme.wire import Endpoint, Message, now_ms

Say = Callable[[Memory], Sequence[Message]]

ORDERS = 4
"""How many fresh orders a whole rehearsal uses up: one ends unpaid, the others are paid and given back."""
_NAMES = ("first", "second", "third", "fourth")


@dataclass(frozen=True, slots=True)
class Order:
    """An order that waits to be paid: the value of the account's field, and the amount in tiyin."""

    order_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What is rehearsed. `quick` leaves out what needs waiting; times are milliseconds.

    `busy_code`: the answer for a busy order (5.2.1). `timeout_ms`: how long a transaction may stay in state 1. `slack_ms`: how far
    the merchant's clock may be from ours. `late_ms`: how much of its life a transaction that is to time out is left. `most_bytes`:
    the longest body that the merchant reads.
    """

    orders: tuple[Order, ...] = ()
    busy_code: int = -31051
    timeout_ms: int = 43_200_000
    slack_ms: int = 600_000
    late_ms: int = 2500
    most_bytes: int = 65_536
    quick: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `name` is its own; `sent` is for people; `missing` says why it cannot be played at all."""

    name: str
    sent: str
    say: Say
    expect: Expect
    needs: tuple[str, ...] = ()
    pause_ms: int = 0
    missing: str = ""

    @property
    def scenario(self) -> str:
        """The first word of the name, before the colon."""
        return self.name.partition(":")[0]


@dataclass(slots=True)
class Sheet:
    """The script while it is being written. `missing` holds for every step added while it is set."""

    endpoint: Endpoint
    wish: Wish
    began_ms: int = field(default_factory=now_ms)
    steps: list[Step] = field(default_factory=list)
    missing: str = ""
    ids: dict[str, list[str]] = field(default_factory=dict)
    """The transactions that each scenario may create."""

    def add(
        self,
        name: str,
        messages: Message | Sequence[Message] | Say,
        expect: Expect,
        *,
        needs: Sequence[str] = (),
        sent: str,
        pause_ms: int = 0,
    ) -> str:
        """Put a step behind the others; `messages` may be made when its turn comes. Returns its name."""
        say = messages if callable(messages) else _always(messages)
        self.steps.append(Step(name, sent, say, expect, tuple(needs), pause_ms, self.missing))
        return name

    def order(self, place: int) -> Order:
        """The order at this place, from 0; when there is none, a stand-in, and the steps to come are marked as missing."""
        if place < len(self.wish.orders):
            self.missing = ""
            return self.wish.orders[place]
        self.missing = f"needs a {_NAMES[place]} fresh order"
        return Order(str(uuid.uuid4()), 1000)


def _always(messages: Message | Sequence[Message]) -> Say:
    fixed = (messages,) if isinstance(messages, Message) else tuple(messages)
    return lambda _memory: fixed
