"""Callers by the hundred in one thread: what `asking.py` does for one caller, for as many as a race wants."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from types import TracebackType

import aiohttp
from tests import rig

from .asking import Ask, Said, headers_of, is_final
from .history import History, Op


class Lines:
    """Connections to servers, and a history of everything that is said over them. Use it as an async context manager."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Lines:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=20)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(self, server: rig.Server, ask: Ask, timeout_s: float = 30) -> Said | None:
        """Ask once; None when there was no answer."""
        assert self._session is not None
        op = Op(ask, time.monotonic())
        self.history.ops.append(op)
        body = json.dumps(ask.body).encode() if ask.body is not None else None
        try:
            async with self._session.request(
                ask.method,
                server.url + ask.path,
                data=body,
                headers=headers_of(server, ask, body),
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as answer:
                raw = await answer.read()
                op.said = Said(answer.status, raw, answer.headers.get("Idempotent-Replayed") == "true")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        finally:
            op.ended = time.monotonic()
        return op.said

    async def insist(self, servers: Sequence[rig.Server], ask: Ask, within_s: float = 30) -> Said | None:
        """Ask, of one server after the other, until there is a final answer; None when there was none in time."""
        until, turn = time.monotonic() + within_s, 0
        while time.monotonic() < until:
            said = await self.ask(servers[turn % len(servers)], ask)
            if said is not None and is_final(said, ask.good):
                return said
            turn += 1
            await asyncio.sleep(0.02)
        return None

    async def race(self, servers: Sequence[rig.Server], asks: Sequence[Ask]) -> list[Said | None]:
        """Ask everything at the same moment, of one server after the other; answers in the order of the questions."""
        return list(await asyncio.gather(*(self.ask(servers[place % len(servers)], ask) for place, ask in enumerate(asks))))
