"""Requests at a steady rate, whether or not earlier ones were answered: what a buyer waits who does not know of the others.

Each time counts from the moment at which its request was due, not from the one at which a connection was free for it, so a pause
of the server shows in the times of all who came meanwhile. Run as `python -m bench.steady`: a plan as JSON in, what happened as
JSON out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from bench.load import share_of, template, with_key

LINES = 256
PATIENCE_S = 30.0
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True, slots=True)
class Steady:
    """Post the `bodies` in turn to `path`, `rate` of them in each of the `seconds`."""

    port: int
    path: str
    token: str
    bodies: list[str]
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Waited:
    """How many requests were due, how many answers of each status came, and the times in milliseconds by their share."""

    due: int
    statuses: dict[str, int]
    times_ms: dict[str, float]


def keep_coming(plan: Steady) -> Waited:
    """Run the plan in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.steady"], input=json.dumps(asdict(plan)).encode(), stdout=subprocess.PIPE, check=True
    )
    return Waited(**json.loads(done.stdout))


class Line(asyncio.Protocol):
    """One kept connection with at most one request on its way."""

    def __init__(self, crowd: Coming) -> None:
        self.crowd = crowd
        self.left = b""
        self.due: float | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Take what has been waiting longest."""
        self.transport = transport
        self.crowd.lines.add(self)
        self.crowd.is_free(self)

    def send(self, due: float, request: bytes) -> None:
        """Send what was due then."""
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect the answer; when it is whole, note it."""
        self.left += data
        end = self.left.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self.left.find(b"content-length: ")
        size = int(self.left[at + 16 : self.left.find(b"\r\n", at)])
        if len(self.left) < end + 4 + size:
            return
        status = self.left[9:12].decode()
        self.left = self.left[end + 4 + size :]
        self._ended(status)
        self.crowd.is_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """An idle one may be closed by the server; whoever was waiting for an answer gets none."""
        del exc
        if self.due is not None:
            self._ended("none")
        self.crowd.has_gone(self)

    def _ended(self, status: str) -> None:
        assert self.due is not None
        self.crowd.note(status, time.perf_counter() - self.due)
        self.due = None


class Coming:
    """All who come."""

    def __init__(self, plan: Steady) -> None:
        self.plan = plan
        self.requests = [template(plan.path, plan.token, body) for body in plan.bodies]
        self.lines = set[Line]()
        self.opening: set[asyncio.Task[Any]] = set()
        self.free: list[Line] = []
        self.queue: deque[tuple[float, bytes]] = deque()
        self.statuses: Counter[str] = Counter()
        self.times: list[float] = []
        self.due = int(plan.rate * plan.seconds)
        self.done = asyncio.Event()

    async def come(self) -> None:
        """Let each come when it is due."""
        began = time.perf_counter()
        for number in range(self.due):
            due = began + number / self.plan.rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            request = with_key(self.requests[number % len(self.requests)])
            if self.free:
                self.free.pop().send(due, request)
                continue
            self.queue.append((due, request))
            if len(self.lines) + len(self.opening) < LINES:
                self._open()

    def _open(self) -> None:
        connecting = asyncio.get_running_loop().create_connection(lambda: Line(self), "127.0.0.1", self.plan.port)
        task = asyncio.ensure_future(connecting)
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)

    def is_free(self, line: Line) -> None:
        """Send what has been waiting longest, or keep the line for who comes next."""
        if self.queue:
            line.send(*self.queue.popleft())
        else:
            self.free.append(line)

    def has_gone(self, line: Line) -> None:
        """Do without it."""
        self.lines.discard(line)
        if line in self.free:
            self.free.remove(line)

    async def leave(self) -> None:
        """Close every connection."""
        await asyncio.gather(*self.opening, return_exceptions=True)
        for line in list(self.lines):
            line.transport.close()
        while self.lines:
            await asyncio.sleep(0)

    def note(self, status: str, seconds: float) -> None:
        """One answer."""
        self.statuses[status] += 1
        self.times.append(seconds)
        if len(self.times) == self.due:
            self.done.set()


async def run(plan: Steady) -> Waited:
    """Run the plan here. Whoever is not answered within 30 s of the last one's coming is missing among the statuses."""
    crowd = Coming(plan)
    await crowd.come()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            await crowd.done.wait()
    await crowd.leave()
    times = {name: round(share_of(crowd.times, share), 1) for name, share in SHARES.items()}
    return Waited(crowd.due, dict(crowd.statuses), times)


if __name__ == "__main__":
    plan = Steady(**json.loads(sys.stdin.read()))
    print(json.dumps(asdict(uvloop.run(run(plan)))))
