"""Processes are restarted, one release after another, or killed at any time (F57, F79)."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import resource
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
from tests import rig
from tests.crash.asking import Ask, headers_of
from tests.crash.balancer import Balancer, grpc_says_yes, http_says_yes
from tests.crash.crowd import PLENTY, Crowd
from tests.crash.fault import fault
from tests.crash.faults.database import SECRET, SERVICES, trouble, wait_for
from tests.crash.field import Field, Run
from tests.crash.nursery import Born
from tests.crash.playing import WITHIN_S, Town

from payments_service.client import PaymentClient, Requested

DRAIN_S = 1.5
RESTART_S = 3.0
PART = {"serve": 2, "rpc": 1, "work": 3}
_UNFINISHED = """
    SELECT count(*)::int AS n FROM checkouts c WHERE created_at < $1
       AND (status NOT IN ('completed', 'undone', 'parked') OR (status = 'completed' AND next_at IS NOT NULL))
"""
_NOT_TAKEN_UP = f"""{_UNFINISHED}
       AND NOT EXISTS (SELECT FROM payments p WHERE (p.merchant_id, p.payment_id) = (c.merchant_id, c.payment_id)
                          AND p.status = 'unknown' AND p.asks > 0 AND p.next_ask_at > kassa_now())
"""
"""A card that the payment service has never seen is asked about for 15 s before it counts as not charged (checkout contract, 5):
whoever asks has taken it up."""
SETTLING_S = 15


@fault(
    "F57",
    "Every process is replaced under load, old and new side by side",
    holds="3 5 6 7 8",
    passes="no request fails, nothing is stuck, nothing is done twice",
    alone=True,
)
def rolling_restart(field: Field) -> None:
    town = field.town(*SERVICES, DRAIN_S=DRAIN_S, DATABASE_POOL_SIZE=3, KASSA_SECRET=SECRET)
    http_front, grpc_front = field.keep(Balancer(http_says_yes)), field.keep(Balancer(grpc_says_yes))
    fleet = Fleet(town, http_front, grpc_front)
    fleet.replace()
    front = dataclasses.replace(fleet.running[0], url=f"http://127.0.0.1:{http_front.port}", process=None)
    payers = paying_by_grpc(f"127.0.0.1:{grpc_front.port}")
    with keeping_a_line(front) as faithful, payers as callers, Crowd([front], size=8, basket=PLENTY) as crowd:

        def one(run: Run) -> None:
            before = crowd.heard.total()
            codes = fleet.replace()
            run.check(set(codes) == {0}, f"exit codes {codes}")
            run.check(crowd.heard.total() > before, "nobody asked meanwhile")

        field.each(one)
        crowd.go_home()
    broken = {status: times for status, times in crowd.heard.items() if status == 0 or status >= 500}
    field.check(not broken, f"requests that failed, by status: {broken}")
    field.check(not faithful.failed, f"over connections that are kept: {faithful.failed[:5]}")
    field.check(not callers.failed, f"over gRPC: {callers.failed[:5]}")
    field.check(faithful.lines > 1, "no kept connection was ever moved to another process")
    field.measure("requests", crowd.heard.total() + faithful.served + len(callers.answered))
    field.measure("of them over kept connections", faithful.served)
    field.measure("of them over gRPC", len(callers.answered))
    field.measure("processes replaced", fleet.replaced)
    trouble(field, crowd)
    with PaymentClient(f"127.0.0.1:{grpc_front.port}", api_key="sk_demo_2") as client:
        for key, first in list(callers.answered.items())[-20:]:
            again = _pay(client, key)
            field.check((again.payment_id, again.replayed) == (first.payment_id, True), f"{key}: {again} and first {first}")
    field.judge(town, fleet.running[0], crowd.history)


@fault(
    "F79",
    "A process is killed at any time, or runs out of memory first",
    holds="3 5 6 8",
    passes="what was acknowledged is there; restarted within 3 s, all taken up within the lease and 5 s",
    p95_s=WITHIN_S,
    alone=True,
)
def processes_killed(field: Field) -> None:
    town = field.town(*SERVICES, DATABASE_POOL_SIZE=4, KASSA_SECRET=SECRET)
    everybody = [cold(town, town.made(word, town.home / f"{word}{n}")) for word, count in PART.items() for n in range(count)]
    with ThreadPoolExecutor(len(everybody)) as pool:
        list(pool.map(lambda each: each.start(), everybody))
    apis = [each for each in everybody if each.word == "serve"]
    restarts: list[float] = []
    longest: list[float] = []
    with Crowd(apis, size=2, basket=PLENTY) as crowd:  # the machine that restarts a process is not to be busy with buyers

        def one(run: Run) -> None:
            time.sleep(run.chance.uniform(0.3, 1.0))
            victim = everybody[run.number % len(everybody)]
            if run.number % 4 == 3:
                starve(victim)
                time.sleep(run.chance.uniform(0.2, 1.0))
            moment = town.ask("SELECT kassa_now() AS now")[0]["now"]
            victim.kill()
            killed = time.monotonic()
            with ThreadPoolExecutor(1) as supervisor:
                started = supervisor.submit(victim.start)
                started.add_done_callback(lambda _: restarts.append(time.monotonic() - killed))
                taken_up = wait_for(lambda: rig.query(town.dsn, _NOT_TAKEN_UP, moment)[0]["n"] == 0, 3 * WITHIN_S)
                run.recovered(time.monotonic() - killed)
                started.result()
            ended = wait_for(lambda: rig.query(town.dsn, _UNFINISHED, moment)[0]["n"] == 0, SETTLING_S + WITHIN_S)
            longest.append(time.monotonic() - killed)
            run.check(taken_up, "something that was begun before the kill is not taken up")
            run.check(ended, "something that was begun before the kill has not ended")

        field.each(one)
        crowd.go_home()
    restarts.sort()
    field.measure("restart, p50 / p95", f"{restarts[len(restarts) // 2]:.1f} / {restarts[round(0.95 * (len(restarts) - 1))]:.1f} s")
    field.measure("all ended, longest", f"{max(longest):.1f} s")
    field.check(restarts[len(restarts) // 2] <= RESTART_S, f"a restart takes {restarts[len(restarts) // 2]:.1f} s")
    trouble(field, crowd)
    field.judge(town, apis[0], crowd.history)


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Fleet:
    """The processes of one installation behind their balancers, each replaced by a new one as a release does it."""

    def __init__(self, town: Town, http_front: Balancer, grpc_front: Balancer) -> None:
        self._town = town
        self._fronts = {"serve": http_front, "rpc": grpc_front}
        self.running: list[Born] = []
        self.replaced = 0

    def replace(self) -> list[int]:
        """Start new ones beside the old ones; when they are ready, tell the old ones to stop. Returns the exit codes of these."""
        old, words = self.running, [word for word, count in PART.items() for _ in range(count)]
        with ThreadPoolExecutor(len(words)) as pool:
            self.running = list(pool.map(self._begin, words))
            for each in self.running:
                self._add(each)
            codes = list(pool.map(self._end, old))
        self.replaced += len(old)
        return codes

    def _begin(self, word: str) -> Born:
        home = self._town.home / f"{word}-{time.monotonic_ns()}"
        made = self._town.made(word, home)
        made.start()
        assert made.alive(), made.log_text()[-2000:]
        return made

    def _add(self, born: Born) -> None:
        if front := self._fronts.get(born.word):
            front.add(_port(born))
            assert wait_for(lambda: front.is_ready(_port(born)), 20), born.log_text()[-2000:]

    def _end(self, born: Born) -> int:
        code = born.stop(40)
        if front := self._fronts.get(born.word):
            front.remove(_port(born))
        return code


def _port(born: Born) -> int:
    place = born.grpc if born.word == "rpc" else born.url
    return int(place.rpartition(":")[2])


def cold(town: Town, born: Born) -> Born:
    """The same process, started anew each time as an operator's supervisor would, and not forked from one that has loaded the code."""
    fields = {each.name: getattr(born, each.name) for each in dataclasses.fields(born) if each.init}
    made = Cold(**{**fields, "command": [*born.command[:-1], born.word]})
    town.started[town.started.index(born)] = made
    return made


class Cold(Born):
    """A process that is really started."""

    def launch(self) -> None:
        """Start the program, without waiting."""
        assert self.process is None, "it is running already"
        self._said = self._working()
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            here: dict[str, Any] = {
                "cwd": self.home,
                "env": self.environment,
                "stdin": subprocess.DEVNULL,
                "start_new_session": True,
            }
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, **here)


def starve(born: Born) -> None:
    """No more memory for it than it has: what it asks for next is refused, as under `ulimit -v`."""
    process = psutil.Process(born.pid)
    process.rlimit(resource.RLIMIT_AS, (process.memory_info().vms, resource.RLIM_INFINITY))


# ── callers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Faithful:
    """Callers who keep their connection as long as the server does, and ask over it again and again."""

    def __init__(self, front: rig.Server) -> None:
        self._front = front
        self.failed: list[str] = []
        self.served = 0
        self.lines = 0
        """How often the server ended a connection politely, so that a new one was made."""

    def keep_asking(self, over: threading.Event) -> None:
        """Ask until it is over."""
        parts = urlsplit(self._front.url)
        line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        asks = [Ask("GET", "/api/products"), Ask("GET", "/api/cart", user=777)]
        while not over.is_set():
            for ask in asks:
                if line.sock is None:
                    self.lines += 1
                body = json.dumps(ask.body).encode() if ask.body is not None else None
                try:
                    line.request(ask.method, ask.path, body, headers_of(self._front, ask, body))
                    answer = line.getresponse()
                    raw = answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.failed.append(repr(error))
                    line.close()
                    continue
                self.served += 1
                if answer.status >= 500:
                    self.failed.append(f"{answer.status} {raw[:200]!r}")
            time.sleep(0.01)
        line.close()


class Callers:
    """Callers over gRPC, each with one channel that it keeps and the client that we hand out."""

    def __init__(self) -> None:
        self.answered: dict[str, Requested] = {}
        self.failed: list[str] = []

    def keep_paying(self, address: str, number: int, over: threading.Event) -> None:
        """Ask for payments until it is over."""
        with PaymentClient(address, api_key="sk_demo_2") as client:
            for turn in range(1_000_000):
                if over.is_set():
                    return
                key = f"grpc-{number}-{turn:06}"
                try:
                    self.answered[key] = _pay(client, key)
                except Exception as error:  # whatever it is, a caller saw it
                    self.failed.append(repr(error))
                time.sleep(0.02)


def _pay(client: PaymentClient, key: str) -> Requested:
    return client.request(amount_minor=1250, currency="USD", order_id=key, key=key)


@contextlib.contextmanager
def keeping_a_line(front: rig.Server, size: int = 3) -> Iterator[Faithful]:
    """Callers who keep their connections, as long as the block lasts."""
    made, over = Faithful(front), threading.Event()
    threads = [threading.Thread(target=made.keep_asking, args=(over,)) for _ in range(size)]
    with _running(threads, over):
        yield made


@contextlib.contextmanager
def paying_by_grpc(address: str, size: int = 2) -> Iterator[Callers]:
    """Callers over gRPC, as long as the block lasts."""
    made, over = Callers(), threading.Event()
    threads = [threading.Thread(target=made.keep_paying, args=(address, number, over)) for number in range(size)]
    with _running(threads, over):
        yield made


@contextlib.contextmanager
def _running(threads: list[threading.Thread], over: threading.Event) -> Iterator[None]:
    for each in threads:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in threads:
            each.join()
