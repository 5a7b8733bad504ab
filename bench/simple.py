"""The yardstick of `bench.payme`: a bare HTTP handler with one indexed read and one write in a transaction, and nothing else.

Run as `python -m bench.simple PORT DSN`.
"""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

import asyncpg
import uvicorn

TABLE = "CREATE TABLE simple_calls (call_id uuid PRIMARY KEY, payme_id text NOT NULL, amount bigint NOT NULL, state int NOT NULL)"
INDEX = "CREATE INDEX ON simple_calls (payme_id)"


class Simple:
    """An ASGI application."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Read, write, answer."""
        if scope["type"] != "http":
            return
        if self._pool is None:
            self._pool = await asyncpg.create_pool(self._dsn, min_size=2, max_size=16)
        asked = json.loads((await receive())["body"])
        params = asked["params"]
        payme_id = params.get("id", "none")
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.fetchrow("SELECT * FROM simple_calls WHERE payme_id = $1", payme_id)
            await connection.execute(
                "INSERT INTO simple_calls VALUES ($1, $2, $3, 1)", uuid.uuid4(), payme_id, params.get("amount", 0)
            )
        body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {"state": 1}}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        Simple(sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        lifespan="off",
        loop="uvloop",
        access_log=False,
    )
