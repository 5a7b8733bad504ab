"""The load of row 6: calls of `RequestPayment`, in a process of its own, made from bytes that are ready beforehand.

Run as `python -m bench.calls`: reads a plan as JSON from standard input, writes what happened as JSON to standard output.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import grpc
import uvloop

from bench.load import Happened
from payments_service.payments_pb2 import RequestPaymentRequest

METHOD = "/payments.v1.PaymentService/RequestPayment"


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Call `at_once` at a time over `channels` connections, for `seconds`."""

    port: int
    at_once: int
    seconds: float
    channels: int = 4


def fire_calls(plan: CallPlan) -> Happened:
    """Run the plan in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.calls"], input=json.dumps(asdict(plan)).encode(), stdout=subprocess.PIPE, check=True
    )
    return Happened(**json.loads(done.stdout))


def _request() -> bytes:
    return RequestPaymentRequest(
        amount_minor=1250, currency="USD", order_id="order-123", idempotency_key=secrets.token_hex(12), metadata={"user_id": "789"}
    ).SerializeToString()


async def run(plan: CallPlan) -> Happened:
    """Run the plan here."""
    statuses: Counter[str] = Counter()
    times: list[float] = []
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{plan.port}", options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(plan.channels)
    ]
    end = time.perf_counter() + plan.seconds

    async def caller(number: int) -> None:
        call: Any = channels[number % len(channels)].unary_unary(METHOD)
        while time.perf_counter() < end:
            began = time.perf_counter()
            try:
                await call(_request())
                statuses["200"] += 1
            except grpc.aio.AioRpcError as error:
                statuses[error.code().name] += 1
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(plan.at_once)))
    took = time.perf_counter() - began
    await asyncio.gather(*(channel.close() for channel in channels))
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
    return Happened(dict(statuses), took, p50, p99)


if __name__ == "__main__":
    plan = CallPlan(**json.loads(sys.stdin.read()))
    print(json.dumps(asdict(uvloop.run(run(plan)))))
