"""The yardstick of row 6: a bare gRPC handler that reads the same message, does one INSERT, and answers.

It checks nothing, books nothing and tells nobody. Run as `python -m bench.bare PORT DSN`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import asyncpg
import grpc
import uvloop

from payments_service.payments_pb2 import PAYMENT_STATUS_PENDING, RequestPaymentRequest, RequestPaymentResponse
from payments_service.payments_pb2_grpc import PaymentServiceServicer, add_PaymentServiceServicer_to_server

TABLE = """
    CREATE TABLE bare_payments (
        payment_id uuid PRIMARY KEY, idempotency_key text NOT NULL UNIQUE, amount_minor bigint NOT NULL, currency text NOT NULL,
        order_id text NOT NULL, status text NOT NULL, created_at timestamptz NOT NULL)
"""
_INSERT = "INSERT INTO bare_payments VALUES ($1, $2, $3, $4, $5, 'pending', $6)"


class Bare(PaymentServiceServicer):
    """One method, one row."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self.pool = pool

    async def RequestPayment(self, request: RequestPaymentRequest, context: Any) -> RequestPaymentResponse:  # noqa: N802
        """Insert and answer."""
        del context
        payment_id, now = uuid.uuid4(), datetime.now(UTC)
        await self.pool.execute(
            _INSERT, payment_id, request.idempotency_key, request.amount_minor, request.currency, request.order_id, now
        )
        answer = RequestPaymentResponse(
            payment_id=str(payment_id),
            status=PAYMENT_STATUS_PENDING,
            message="Payment initiated",
            idempotency_key=request.idempotency_key,
        )
        answer.created_at.FromDatetime(now)
        return answer


async def main(port: int, dsn: str) -> None:
    """Serve until told to stop."""
    pool = await asyncpg.create_pool(dsn, min_size=2, max_size=16)
    server = grpc.aio.server()
    add_PaymentServiceServicer_to_server(Bare(pool), server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(1)
    await pool.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
