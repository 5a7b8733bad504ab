"""Whether this process can work: the database answers, and its schema is that of this code."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from kassa.kit.database import Database

_log = logging.getLogger("kassa")
_WITHIN_S = 2.0
_SCHEMA_STAYS_S = 10.0


class Readiness:
    """What `/ready` and the gRPC health service ask.

    The database is asked every time. That the schema is current is remembered for 10 s, that it is not never is.
    """

    def __init__(self, schema_is_current: Callable[[], Awaitable[bool]]) -> None:
        self._schema_is_current = schema_is_current
        self._known_until = 0.0
        self._leaving = False

    def leave(self) -> None:
        """Not ready from now on: this process is to stop. A second time changes nothing."""
        self._leaving = True

    async def look(self, db: Database) -> bool:
        """Look, for at most 2 s."""
        if self._leaving:
            return False
        try:
            async with asyncio.timeout(_WITHIN_S):
                await db.value("SELECT 1")
                return await self._schema()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing can be served
            _log.warning("not ready: %s", type(error).__name__)
            return False

    async def _schema(self) -> bool:
        if time.monotonic() < self._known_until:
            return True
        current = await self._schema_is_current()
        self._known_until = time.monotonic() + _SCHEMA_STAYS_S if current else 0.0
        return current
