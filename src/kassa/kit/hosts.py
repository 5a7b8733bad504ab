"""Where the database is: at one address, or at several of which one takes writes (`postgresql://user@db1,db2/kassa`).

With several, a connection goes to the one that takes writes. The last good one is asked first, and one that does not answer is
given up after two seconds, so that a dead machine does not stand in the way of its successor. A server whose timeline is smaller
than one that this process has seen is an old primary that came back, and is never written to.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

WITHIN_S = 2.0
"""How long one of several addresses may take to answer."""
_ALONE_WITHIN_S = 5.0
_WRITES = SessionAttribute.read_write
_TIMELINE = "SELECT ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int"
_NEXT = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
)
log = logging.getLogger("kassa.database")


class Superseded(OSError):
    """A server that was primary before another one became it."""


def each_of(dsn: str) -> list[str]:
    """A DSN for each host that is named."""
    parts = urlsplit(dsn)
    account, _, places = parts.netloc.rpartition("@")
    before = f"{account}@" if account else ""
    return [urlunsplit(parts._replace(netloc=before + place)) for place in places.split(",")]


class Hosts:
    """The addresses of one database, and which of them is the present one."""

    def __init__(self, dsn: str) -> None:
        self._dsns = each_of(dsn)
        self._timeline = 0

    async def connect(self, *_: Any, within_s: float | None = None, **options: Any) -> Any:
        """Connect to where writes are taken. Raises what the last address did, when there is none.

        Each address may take `within_s` seconds; when nothing is said two, and five where there is one address alone.
        """
        if len(self._dsns) == 1:
            return await asyncpg.connect(self._dsns[0], timeout=within_s or _ALONE_WITHIN_S, **options)
        last: Exception | None = None
        for dsn in tuple(self._dsns):
            try:
                found = await asyncpg.connect(dsn, timeout=within_s or WITHIN_S, target_session_attrs=_WRITES, **options)
                await self._accept(found)
            except _NEXT as error:
                last = error
                continue
            if dsn != self._dsns[0]:
                log.warning("database: another address takes writes now")
                self._dsns = [dsn, *(each for each in self._dsns if each != dsn)]
            return found
        raise last or OSError("no address")

    async def look(self, *, within_s: float) -> Any:
        """A connection beside the others, to where writes are taken now. Raises as `connect` does.

        With several addresses all are asked, because a primary that was replaced may live on, and take writes that nobody confirms.
        Raises `Superseded`, once, when another one has come: what leads to the former is to be left.
        """
        if len(self._dsns) == 1:
            return await self.connect(within_s=within_s)
        known = self._timeline
        found = await asyncio.gather(*(self._newer(dsn, known, within_s) for dsn in self._dsns[1:]))
        if any(found):
            log.error("database: another address has become the primary, and the one before it still takes writes: end it")
            raise Superseded("superseded")
        return await self.connect(within_s=within_s)

    async def _newer(self, dsn: str, known: int, within_s: float) -> bool:
        """Whether a server takes writes there that became primary after all that were seen; it counts as seen from then on."""
        try:
            found = await asyncpg.connect(dsn, timeout=within_s, target_session_attrs=_WRITES)
            await self._accept(found)
        except (*_NEXT, TimeoutError):
            return False
        found.terminate()
        return self._timeline > known

    async def _accept(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        try:
            timeline = await connection.fetchval(_TIMELINE, timeout=WITHIN_S)
            if timeline < self._timeline:
                log.error("database: an address takes writes that was primary before another one: it is not used; end it")
                raise Superseded("superseded")
        except BaseException:
            connection.terminate()
            raise
        self._timeline = timeline
