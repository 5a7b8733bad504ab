"""What readers were shown of a merchant's own products, kept in Redis for a moment; only for looking, nothing is sold by it.

Each merchant's shelf has a token, and whatever lies on it names the token under which it was read. A committed change of products
or stock gives the shelf another token, so that what lies there counts no more. Should a change not reach Redis, what lies there is
gone after 5 s, and this process reads from the database meanwhile. Without Redis nothing is kept: a process cannot see what others
change.

A page of 20 took 45 µs from here and 380 µs from the database with 17 products, 3,700 µs with 20,000, because pages are counted.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from typing import Final

from kassa.kit.database import Tx
from kassa.kit.redis import Redis

KEPT_S: Final = 5.0
_TOKEN_S: Final = 86_400
_AGAIN_S = 0.1
_GONE_S = KEPT_S + 1
"""What was read before a change may have been put there a moment after it."""


class Shelf:
    """The port that bootstrap fills where there is a Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._untold_at: dict[str, float] = {}
        self._telling: asyncio.Task[None] | None = None

    async def take(self, merchant_id: str, what: str) -> tuple[bytes | None, bytes | None]:
        """What lies there, if anything that still counts, and the token under which to `put` what is read instead, if any."""
        if merchant_id in self._untold_at:
            return None, None
        found = await self._redis.ask("MGET", _token_key(merchant_id), _key(merchant_id, what))
        if found is None or merchant_id in self._untold_at:
            return None, None
        token, kept = found
        if token is None:
            self.changed(merchant_id)
            return None, None
        if kept is not None and kept.startswith(token):
            return kept[len(token) :], token
        return None, token

    async def put(self, merchant_id: str, what: str, token: bytes, body: bytes) -> None:
        """Keep what was read after `token` was taken."""
        await self._redis.ask("SET", _key(merchant_id, what), token + body, "PX", round(KEPT_S * 1000))

    def changed(self, merchant_id: str) -> None:
        """Whatever lies on this merchant's shelf counts no more. It neither waits nor fails."""
        self._untold_at[merchant_id] = time.monotonic()
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell(), name="shelf")

    async def close(self) -> None:
        """Say what is still to be said, once."""
        if self._telling is not None:
            await asyncio.wait([self._telling], timeout=_AGAIN_S)
            self._telling.cancel()
            await asyncio.wait([self._telling])

    async def _tell(self) -> None:
        """Until Redis knows of every change, or what lies there has gone by itself."""
        while self._untold_at:
            for merchant_id, at in list(self._untold_at.items()):
                if await self._renew(merchant_id) or time.monotonic() - at > _GONE_S:
                    # A change that came meanwhile is told by another token.
                    if self._untold_at[merchant_id] == at:
                        del self._untold_at[merchant_id]
                else:
                    await asyncio.sleep(_AGAIN_S)

    async def _renew(self, merchant_id: str) -> bool:
        token = secrets.token_bytes(16)
        return await self._redis.ask("SET", _token_key(merchant_id), token, "EX", _TOKEN_S) is not None


def changed(tx: Tx, merchant_id: str) -> None:
    """Readers are to see what `tx` changes of the merchant's products or stock as soon as it is committed."""
    shelf = tx.port(Shelf)
    if shelf is not None:
        tx.after_commit((Shelf, merchant_id), lambda: shelf.changed(merchant_id))
        # A commit whose outcome is not known may have happened.
        tx.if_undone((Shelf, merchant_id), lambda: shelf.changed(merchant_id))


def _token_key(merchant_id: str) -> str:
    return f"kassa:shelf:{{{merchant_id}}}"


def _key(merchant_id: str, what: str) -> str:
    return f"{_token_key(merchant_id)}:{hashlib.blake2b(what.encode(), digest_size=16).hexdigest()}"
