"""Redis, where there is one: a quicker way to what is known without it. Nothing becomes right or wrong by what it says.

A process has one `Redis`. Its commands share one connection, and the replies come in the order of the commands, so that a command
whose caller has left takes its reply with it. Every question has a time limit. When one was not answered Redis is left alone for a
second, then for longer, at most 5 s, and tried again aside: one that is frozen costs one time limit, however many ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.asyncio import Connection
from redis.asyncio.connection import parse_url
from redis.exceptions import NoScriptError, RedisError, ResponseError

from kassa.kit.figures import REDIS_UNANSWERED

log = logging.getLogger("kassa.redis")
TIMEOUT_S: Final = 0.05
CONNECT_S: Final = 1.0
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 5.0
_QUIET_S = 5.0
"""After so much silence of a channel its connection is tried; it is given up after as much again."""
_TURNS = 3
"""Turns of the event loop in which whatever has arrived is read and handed over."""
_FAILED = (RedisError, OSError, TimeoutError)

Part = str | bytes | int


class Script:
    """A script that Redis keeps under its hash once it has seen it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Redis:
    """The Redis at `url`. Nothing here raises because of Redis: an answer that does not come in `timeout_s` seconds is None.

    None is thus both *nothing there* and *not known*, and whoever asks must do well with either. Nobody waits for a connection:
    while there is none, nothing is known. `ValueError` when `url` is not an address of a Redis.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._new_connection()
        self._timeout_s = timeout_s
        self._pause = _Pause(clock)
        self._line: _Line | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False
        self.unanswered = 0
        """How often somebody asked in vain; those who were told at the same moment count as one."""

    async def open(self) -> None:
        """Connect before the first question; done or not, this takes 1 s at most."""
        self._connect_aside()
        if self._connecting is not None:
            await asyncio.wait([self._connecting])

    async def close(self) -> None:
        """Close the connection. Whoever still waits learns that nothing is known."""
        self._closed = True
        ending = [task for task in (self._connecting, self._line.cut() if self._line else None) if task is not None]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)

    async def ask(self, *command: Part) -> Any:
        """The reply to one command, None when there is none."""
        return _known(await self._ask(command))

    async def run(self, script: Script, keys: Sequence[str], *args: Part) -> Any:
        """What `script` returns, None when it did not answer."""
        reply = await self._ask(("EVALSHA", script.sha, len(keys), *keys, *args))
        if isinstance(reply, NoScriptError):
            reply = await self._ask(("EVAL", script.text, len(keys), *keys, *args))
        return _known(reply)

    async def follow(self, channel: str, hear: Callable[[bytes], None], *, listening: Callable[[], None] = lambda: None) -> None:
        """Call `hear` with whatever is published on `channel`, until this is cancelled.

        A connection that is lost, or says nothing when it is tried, is made anew, for ever and at most every 5 s. What was
        published meanwhile is lost: `listening` is called whenever the channel is followed, the first time and anew. Neither may
        wait or raise.
        """
        wait_s = 0.1
        while True:
            began = time.monotonic()
            with contextlib.suppress(*_FAILED):
                await self._follow(channel, hear, listening)
            wait_s = 0.1 if time.monotonic() - began > LONGEST_PAUSE_S else min(LONGEST_PAUSE_S, wait_s * 2)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311 - so that processes do not come back all at once

    async def _ask(self, command: Sequence[Part]) -> Any:
        line = self._line
        if line is None:
            self._connect_aside()
            return None
        try:
            reply = await line.exchange(command)
        except _FAILED:
            return None
        self._pause.answered()
        return reply

    def _connect_aside(self) -> None:
        if not self._closed and (self._connecting is None or self._connecting.done()) and self._pause.over():
            self._connecting = asyncio.get_running_loop().create_task(self._connect(), name="redis connecting")

    def _new_connection(self) -> Any:
        # The bounds of time and the ways to try again are ours.
        ours = {"socket_timeout": None, "socket_connect_timeout": CONNECT_S, "protocol": 2, "decode_responses": False}
        told: dict[str, Any] = {**parse_url(self._url), **ours}
        kind = told.pop("connection_class", Connection)
        try:
            return kind(**told)
        except TypeError:
            raise ValueError("not an address of a Redis") from None

    async def _connect(self) -> None:
        connection = self._new_connection()
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.connect()
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if not isinstance(error, Exception):
                raise
            self._give_up(error)
            return
        self._line = _Line(connection, self._timeout_s, self._ended)

    def _ended(self, line: _Line, error: BaseException | None) -> None:
        """A connection that ends while nobody waits is made anew with the next question."""
        if self._line is line:
            self._line = None
            if error is not None and not self._closed:
                self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        self.unanswered += 1
        REDIS_UNANSWERED.inc()
        if self._pause.begin() == FIRST_PAUSE_S:
            # The class tells an operator what it was; the text could hold a part of the address.
            log.warning("redis: %s; going on without it", type(error).__name__)

    async def _follow(self, channel: str, hear: Callable[[bytes], None], listening: Callable[[], None]) -> None:
        connection = self._new_connection()
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.connect()
                await connection.send_command("SUBSCRIBE", channel)
            tried = False
            while True:
                message: Any = await connection.read_response(timeout=_QUIET_S)
                if message is not None:
                    tried = False
                    if message[0] == b"message":
                        hear(message[2])
                    elif message[0] == b"subscribe":
                        listening()
                elif tried:
                    raise TimeoutError
                else:
                    await connection.send_command("PING")
                    tried = True
        finally:
            await connection.disconnect(nowait=True)


class _Line:
    """A connection. Each reply belongs to the oldest command without one, whether or not its caller still waits.

    It ends when a reply does not come in time, and then everybody who waits is told.
    """

    def __init__(self, connection: Any, timeout_s: float, ended: Callable[[_Line, BaseException | None], None]) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._sending = asyncio.Lock()
        self._watch: asyncio.TimerHandle | None = None
        self._refused = False
        self._over = False
        self._reading = self._loop.create_task(self._read(), name="redis replies")

    async def exchange(self, command: Sequence[Part]) -> Any:
        """The reply, which may be an error that Redis has sent. Raises an `OSError` when there is none."""
        async with self._sending:
            if self._over:
                raise ConnectionResetError
            reply = self._loop.create_future()
            self._waiting.append((reply, self._loop.time()))
            if self._watch is None:
                self._watch = self._loop.call_later(self._timeout_s, self._look)
            try:
                await self._connection.send_command(*command)
            except BaseException:
                # Nobody knows how much of the command has left.
                self.cut()
                raise
        return await reply

    def cut(self, error: type[OSError] = ConnectionResetError) -> asyncio.Task[None]:
        """End it; everybody who waits is told. The task is over when the connection is closed."""
        self._end(error)
        self._reading.cancel()
        return self._reading

    async def _read(self) -> None:
        try:
            while True:
                try:
                    reply: Any = await self._connection.read_response()
                except ResponseError as error:
                    reply = error
                    self._note(error)
                waiting, _ = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_result(reply)
        except (*_FAILED, IndexError):
            pass
        finally:
            self._end(ConnectionResetError)
            await self._connection.disconnect(nowait=True)

    def _look(self, turns: int = 0) -> None:
        """Whether the oldest command has waited too long. In a busy process its reply may have come and be unread yet."""
        self._watch = None
        if not self._waiting:
            return
        left_s = self._waiting[0][1] + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        elif turns < _TURNS:
            self._watch = self._loop.call_later(0, self._look, turns + 1)
        else:
            self.cut(TimeoutError)

    def _end(self, error: type[OSError]) -> None:
        self._over = True
        if self._watch is not None:
            self._watch.cancel()
        self._ended(self, error() if self._waiting else None)
        while self._waiting:
            waiting, _ = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(error())

    def _note(self, error: ResponseError) -> None:
        if not self._refused and not isinstance(error, NoScriptError):
            self._refused = True
            log.warning("redis: it refuses a command: %s", type(error).__name__)


class _Pause:
    """How long Redis is left alone: 1 s after a failure, twice as long after each that follows, until a question is answered."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._length_s = 0.0
        self._until = 0.0

    def over(self) -> bool:
        """Whether it may be tried."""
        return not self._length_s or self._clock() >= self._until

    def answered(self) -> None:
        """It answers."""
        if self._length_s:
            self._length_s = 0.0
            log.info("redis: it answers again")

    def begin(self) -> float:
        """It has failed. For how many seconds it is left alone now."""
        self._length_s = min(LONGEST_PAUSE_S, self._length_s * 2) or FIRST_PAUSE_S
        self._until = self._clock() + self._length_s
        return self._length_s


def _known(reply: Any) -> Any:
    return None if isinstance(reply, ResponseError) else reply
