"""How long a request may take until its answer begins: whoever waits longer has left, and work for nobody holds what others need.

By default that is longer than all that is waited for on the way, each of which has its own time: a body, a connection, a
statement, a neighbour.
"""

from __future__ import annotations

import asyncio
from typing import Final

from kassa.api.dialect import Dialects
from kassa.api.errors import NotInTime, TookTooLong
from kassa.api.options import ASGIApp, Message, Receive, Scope, Send

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Patience:
    """Ends a request whose answer has not begun in time. What it had open is rolled back; work in the background goes on."""

    def __init__(self, inner: ASGIApp, dialects: Dialects, seconds: float) -> None:
        self._inner = inner
        self._dialects = dialects
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. An answer that has begun, such as a live stream, may take as long as it likes."""
        limit = asyncio.timeout(self._seconds)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                limit.reschedule(None)
            await send(message)

        try:
            async with limit:
                await self._inner(scope, receive, noting)
        except TimeoutError:
            if not limit.expired():
                raise
            error = NotInTime() if scope["method"] in _READS else TookTooLong()
            await self._dialects.at(scope["path"]).refuse(error)(scope, receive, send)
