"""Messages to the broker, many at a time, and the books of what it has confirmed.

One channel of one connection. Each message is mandatory, persistent and confirmed: the broker confirms them by number, one or all
up to one, in any order. A message that no queue wants is returned, and confirmed behind that; a return names it by its id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from kassa.events import frames
from kassa.events.frames import ACK, NACK, RETURN, Message, Properties

DEADLINE_S: Final = 5.0
"""Seconds within which a publish is confirmed, a question answered and a connection made; after that the connection is dead."""
_IN_TURN = 8
"""Whoever publishes many lets others in between after so many: what arrives together is then of many merchants, and they are served
side by side."""
_OPEN, _CONFIRMED, _REFUSED, _RETURNED = range(4)
log = logging.getLogger("kassa.broker")


class Publisher:
    """A channel that confirms what is published on it. `write` sends whole frames; `give_up` throws the connection away."""

    def __init__(
        self, channel: int, exchange: str, frame_max: int, write: Callable[[bytes], None], give_up: Callable[[], None]
    ) -> None:
        self._channel = channel
        self._exchange = exchange
        self._frame_max = frame_max
        self._write = write
        self._give_up = give_up
        self._openings: dict[str, bytes] = {}
        self._sent = 0
        self._looked = 0
        """All up to this number has been settled or looked at by a confirmation of many."""
        self._books: dict[int, tuple[_Flight, int]] = {}
        """Of each message that waits for its confirmation, by its number: whose it is, and which of his."""
        self._over = False

    async def publish(self, messages: Sequence[Message]) -> int:
        """Publish in this order, and wait; returns how many of the leading ones the broker has confirmed."""
        flight = _Flight(messages)
        for at in range(0, len(messages), _IN_TURN):
            if at:
                await asyncio.sleep(0)
            if self._over:
                break
            self._send(flight, at, messages[at : at + _IN_TURN])
        if not self._over and not flight.ended.done():
            await asyncio.wait((flight.ended,), timeout=DEADLINE_S)
        confirmed = flight.confirmed()
        if confirmed < len(messages):
            self._note_failure(flight.states[confirmed])
        return confirmed

    def begin(self, method: int, data: bytes, at: int) -> bool | None:
        """Take what the broker says of what was published: see `Taker`."""
        if method in (ACK, NACK):
            tag, many = frames.read_confirm(data, at)
            self._settle(tag, _CONFIRMED if method == ACK else _REFUSED, many=many)
            return False
        return True if method == RETURN else None

    def whole(self, message: Properties) -> None:
        """It came back. All that is under way with this id counts as returned: that leads to one more message at worst."""
        for flight, n in self._books.values():
            if flight.messages[n].message_id == message.message_id:
                flight.states[n] = _RETURNED

    def lost(self) -> None:
        """Nothing will be confirmed any more."""
        self._over = True
        for flight, _ in self._books.values():
            flight.end()
        self._books.clear()

    def _send(self, flight: _Flight, at: int, messages: Sequence[Message]) -> None:
        parts: list[bytes] = []
        for message in messages:
            key = message.routing_key
            if key not in self._openings:
                self._openings[key] = frames.opening(self._channel, self._exchange, key)
            parts += (self._openings[key], frames.content(self._channel, message, self._frame_max))
        for n in range(at, at + len(messages)):
            self._sent += 1
            self._books[self._sent] = flight, n
        self._write(b"".join(parts))

    def _settle(self, tag: int, state: int, *, many: bool) -> None:
        first = self._looked + 1 if many else tag
        for number in range(first, tag + 1):
            found = self._books.pop(number, None)
            if found is not None:
                found[0].settle(found[1], state)
        if many:
            self._looked = max(self._looked, tag)

    def _note_failure(self, state: int) -> None:
        """A refusal leaves the connection as it is. A return says that the queue has gone, silence that the connection is dead."""
        why = "connection lost" if self._over and state == _OPEN else _SAID[state]
        log.warning("broker: not confirmed: %s", why)
        if state != _REFUSED:
            self._give_up()


class _Flight:
    """Messages that were published together."""

    __slots__ = ("_missing", "ended", "messages", "states")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.states = bytearray(len(messages))
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._missing = len(messages)

    def settle(self, n: int, state: int) -> None:
        """The broker has spoken of one of them."""
        if self.states[n] == _OPEN:
            self.states[n] = state
        self._missing -= 1
        if not self._missing:
            self.end()

    def end(self) -> None:
        """Nothing more will be heard of them."""
        if not self.ended.done():
            self.ended.set_result(None)

    def confirmed(self) -> int:
        """How many of the leading ones are confirmed."""
        return len(self.states) - len(self.states.lstrip(bytes((_CONFIRMED,))))


_SAID = {_OPEN: "no answer", _REFUSED: "refused", _RETURNED: "returned"}
