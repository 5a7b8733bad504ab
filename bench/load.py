"""A load generator that costs little: bytes made beforehand, kept connections, one process of its own.

Run as `python -m bench.load`: reads a plan as JSON from standard input, writes what happened as JSON to standard output.
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

import uvloop

_PLACE = b"\x00KEY\x00"


@dataclass(frozen=True, slots=True)
class Plan:
    """Post the `bodies` in turn to `path` from `at_once` connections, for `seconds` or until `requests` were sent."""

    port: int
    path: str
    token: str
    bodies: list[str]
    at_once: int
    seconds: float
    requests: int = 10**9


@dataclass(frozen=True, slots=True)
class Happened:
    """How many answers of each status came in how many seconds, and their times in milliseconds."""

    statuses: dict[str, int]
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Answers with status 200 or 201 per second."""
        return (self.statuses.get("200", 0) + self.statuses.get("201", 0)) / self.seconds


def fire(plan: Plan) -> Happened:
    """Run the plan in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"], input=json.dumps(asdict(plan)).encode(), stdout=subprocess.PIPE, check=True
    )
    return Happened(**json.loads(done.stdout))


class Caller(asyncio.Protocol):
    """One connection that asks, waits for the whole answer, and asks again."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.left = b""
        self.began = 0.0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Ask for the first time."""
        self.transport = transport
        self.ask()

    def next_request(self) -> bytes | None:
        """What to send now; None when the plan is done."""
        return self.crowd.next_request()

    def ask(self) -> None:
        """Send the next request, unless the time is over."""
        request = self.next_request()
        if request is None:
            self.transport.close()
            return
        self.began = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect the answer; when it is whole, note it and ask again."""
        self.left += data
        end = self.left.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self.left.find(b"content-length: ")
        size = int(self.left[at + 16 : self.left.find(b"\r\n", at)])
        if len(self.left) < end + 4 + size:
            return
        self.crowd.note(self.left[9:12].decode(), time.perf_counter() - self.began)
        self.left = self.left[end + 4 + size :]
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the crowd."""
        del exc
        self.crowd.left_one()


class Crowd:
    """All callers of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.templates = [template(plan.path, plan.token, body) for body in plan.bodies]
        self.sent = 0
        self.inside = plan.at_once
        self.statuses: Counter[str] = Counter()
        self.times: list[float] = []
        self.done = asyncio.Event()
        self.began = time.perf_counter()
        self.ended = self.began

    def next_request(self) -> bytes | None:
        """The next request, under a key of its own; None when the plan is done."""
        if self.sent >= self.plan.requests or time.perf_counter() - self.began > self.plan.seconds:
            return None
        request = self.templates[self.sent % len(self.templates)]
        self.sent += 1
        return with_key(request)

    def note(self, status: str, seconds: float) -> None:
        """One answer."""
        self.statuses[status] += 1
        self.times.append(seconds)
        self.ended = time.perf_counter()

    def left_one(self) -> None:
        """One caller has gone."""
        self.inside -= 1
        if self.inside == 0:
            self.done.set()


def template(path: str, token: str, body: str, *, keyed: bool = True) -> bytes:
    """A request; one that is `keyed` wants a key."""
    data = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    )
    key = b"Idempotency-Key: " + _PLACE + b"\r\n" if keyed else b""
    return head.encode() + key + b"\r\n" + data


def with_key(request: bytes) -> bytes:
    """The request under a key of its own."""
    return request.replace(_PLACE, secrets.token_hex(12).encode(), 1)


async def run(plan: Plan) -> Happened:
    """Run the plan here."""
    crowd = Crowd(plan)
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.create_connection(lambda: Caller(crowd), "127.0.0.1", plan.port) for _ in range(plan.at_once)))
    await crowd.done.wait()
    return happened(crowd)


def happened(crowd: Crowd) -> Happened:
    """What the crowd has noted."""
    p50, p99 = (share_of(crowd.times, share) for share in (0.5, 0.99))
    return Happened(dict(crowd.statuses), crowd.ended - crowd.began, p50, p99)


def share_of(times: list[float], share: float) -> float:
    """The time in milliseconds that this share of `times` (in seconds) does not go beyond; 0 when there is none."""
    ordered = sorted(times) or [0.0]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


if __name__ == "__main__":
    plan = Plan(**json.loads(sys.stdin.read()))
    print(json.dumps(asdict(uvloop.run(run(plan)))))
