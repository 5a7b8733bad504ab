"""A proxy before PostgreSQL that knows a commit when it sees one, and breaks the connection at the one that it is told.

A commit is the word itself, or a statement outside any transaction that writes: for a purchase is often one statement and nothing else. The
connection is reset either instead of sending it, or after PostgreSQL has answered it and before the answer is handed on. In both cases
whoever committed cannot know.
"""

from __future__ import annotations

import asyncio
import re
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .proxy import Proxy, _abort

_SSL = (80877103).to_bytes(4, "big")
_WRITES = re.compile(rb"\b(INSERT INTO|UPDATE|DELETE FROM|MERGE INTO)\b")


class CommitProxy(Proxy):
    """As `Proxy`; `arm` says which commit is broken next."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        super().__init__(dsn)
        assert parts.hostname, "PostgreSQL must listen on a port"
        self._left: int | None = None
        self._before = False
        self._lock = threading.Lock()
        self.fired = False
        """Whether the commit that was armed has come and was broken."""

    def arm(self, nth: int, *, before: bool) -> None:
        """Break the commit after `nth` others: `before` its bytes are sent on, else after it was answered."""
        with self._lock:
            self._left, self._before, self.fired = nth, before, False

    def comes(self) -> str | None:
        """Called for each commit: `before` or `after` where it is to be broken there."""
        with self._lock:
            if self._left is None:
                return None
            self._left -= 1
            if self._left >= 0:
                return None
            self._left, self.fired = None, True
            return "before" if self._before else "after"

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        try:
            there = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        except OSError:
            _abort(writer)
            return
        wire = _Wire(self, reader, writer, *there)
        self._links.add(wire)  # type: ignore[arg-type] - it can be reset as well
        try:
            await wire.live()
        except (OSError, asyncio.IncompleteReadError):
            pass  # it ended before it had begun
        finally:
            wire.reset()
            self._links.discard(wire)  # type: ignore[arg-type]


@dataclass(eq=False)
class _Wire:
    proxy: CommitProxy
    near: asyncio.StreamReader
    back: asyncio.StreamWriter
    far: asyncio.StreamReader
    on: asyncio.StreamWriter
    statements: dict[bytes, bytes] = field(default_factory=dict)
    begun: bool = False
    broken: bool = False

    async def live(self) -> None:
        """Hand messages up and answers down, until either side ends or the armed commit comes."""
        first = await self._greeting()
        while first[4:8] == _SSL:
            self.back.write(b"N")
            first = await self._greeting()
        self.on.write(first)
        tasks = [asyncio.create_task(self._up()), asyncio.create_task(self._down())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def reset(self) -> None:
        """Break it off with RST on both sides."""
        _abort(self.back)
        _abort(self.on)

    async def _greeting(self) -> bytes:
        size = await self.near.readexactly(4)
        return size + await self.near.readexactly(int.from_bytes(size, "big") - 4)

    async def _up(self) -> None:
        while True:
            head = await self.near.readexactly(5)
            body = await self.near.readexactly(int.from_bytes(head[1:], "big") - 4)
            moment = self.proxy.comes() if self._commits(head[:1], body) else None
            if moment == "before":
                return
            self.broken = self.broken or moment == "after"
            self.on.write(head + body)
            await self.on.drain()

    async def _down(self) -> None:
        while data := await self.far.read(65_536):
            if self.broken:
                return  # the answer is here, so it is done; nobody is told
            self.back.write(data)
            await self.back.drain()

    def _commits(self, kind: bytes, body: bytes) -> bool:
        if kind == b"Q":
            word = body.rstrip(b"\0").strip().upper()
            if word.startswith((b"BEGIN", b"START TRANSACTION")):
                self.begun = True
            elif word.startswith((b"COMMIT", b"ROLLBACK")):
                self.begun = False
            return word.startswith(b"COMMIT")
        if kind == b"P":
            name, sql, _ = body.split(b"\0", 2)
            self.statements[name] = sql
        if kind == b"B" and not self.begun:
            _, name, _ = body.split(b"\0", 2)
            return bool(_WRITES.search(self.statements.get(name, b"")))
        return False
