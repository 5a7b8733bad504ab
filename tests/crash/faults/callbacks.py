"""Merchants who are told, and whose servers are slow, wrong, moved or hostile (F61 to F66)."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import hmac
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tests.crash.asking import Ask, Said, insist
from tests.crash.fault import fault
from tests.crash.field import Field, Run
from tests.crash.heard import judge as judge_heard
from tests.crash.hooks import Heard, Hooks
from tests.crash.nursery import Born
from tests.crash.playing import Town
from tests.crash.stories import merchant_of
from tests.crash.told import ENDPOINTS

PLAN = "0,1,1,2,2,2"


@dataclass
class Street:
    """A town of merchants, each with a server, and one Kassa that tells them."""

    field: Field
    town: Town
    server: Born
    hooks: Hooks

    def asks(self, number: int, method: str, path: str, body: dict[str, object] | None = None, word: str = "") -> Said:
        """A request of one merchant."""
        ask = Ask(method, path, body, word or None, api_key=merchant_of(number)[1], good=(202,))
        return insist(self.server, ask, time.monotonic() + 30)

    def has_endpoint(self, number: int, path: str) -> tuple[str, str]:
        """An endpoint of this merchant at this path: its address for changes, and its secret."""
        said = self.asks(number, "POST", ENDPOINTS, {"url": self.hooks.url + path, "events": ["*"]})
        assert said.status == 201, said.raw
        return f"{ENDPOINTS}/{said.json['endpoint_id']}", said.json["secret"]

    def pings(self, endpoint: str, number: int) -> None:
        """Have something told."""
        said = self.asks(number, "POST", f"{endpoint}/test")
        assert said.status == 202, said.raw

    def came(self, path: str) -> list[Heard]:
        """What this server has heard so far."""
        return [each for each in list(self.hooks.heard) if each.path == path]

    def waits(self, path: str, times: int, within_s: float) -> list[Heard]:
        """What this server has heard, once it is so much. Raises AssertionError when it does not come."""
        until = time.monotonic() + within_s
        while len(came := self.came(path)) < times:
            assert time.monotonic() < until, f"{path} heard {len(came)} of {times}"
            time.sleep(0.02)
        return came

    def judge(self) -> None:
        """Nothing is owed any more, and all was heard in order."""
        self.field.judge(self.town, self.server, within_s=60)
        self.field.result.wrong += judge_heard(self.server, self.hooks)


def open_street(field: Field, merchants: int, **settings: object) -> Street:
    """So many merchants with an account; nobody is told of anything yet."""
    town = field.town(**{"WEBHOOK_TIMEOUT_S": 2, "WEBHOOK_RETRY_SECONDS": PLAN, **settings})
    hooks = town.listen(merchants)
    return Street(field, town, town.born("dev"), hooks)


@fault(
    "F61",
    "One of a hundred merchants takes 30 s for an answer",
    holds="7",
    passes="the other 99: p99 of a delivery at most 1 s",
    alone=True,
)
def one_slow_merchant(field: Field) -> None:
    street = open_street(field, 100, WEBHOOK_TIMEOUT_S=15)
    endpoints = [street.has_endpoint(number, f"/{'slow/30' if number == 0 else 'ok'}/{number}")[0] for number in range(100)]
    took: list[float] = []

    def one(run: Run) -> None:
        """The slow one first, then all others."""
        began: dict[int, float] = {}
        before = {number: len(street.came(f"/ok/{number}")) for number in range(1, 100)}
        for number in range(100):
            began[number] = time.monotonic()
            street.pings(endpoints[number], number)
        for number in range(1, 100):
            came = street.waits(f"/ok/{number}", before[number] + 1, 30)
            took.append(came[-1].at - began[number])

    field.each(one)
    took.sort()
    late = took[int(0.99 * len(took))]
    field.measure("p50 / p99 of the others", f"{took[len(took) // 2] * 1000:.0f} / {late * 1000:.0f} ms")
    field.check(late <= 1.0, f"the p99 of the others is {late:.2f} s")
    field.check(street.came("/slow/30/0"), "the slow one was never asked")


@fault(
    "F62",
    "Merchants answer 404, 410, 429 with Retry-After, 500, 502",
    holds="7",
    passes="the plan is kept, give or take a fifth",
    runs=30,
)
def merchants_refuse(field: Field) -> None:
    street = open_street(field, field.runs)

    def one(run: Run) -> None:
        said = ("404", "410", "429", "500", "502")[run.number % 5]
        path = (
            f"/busy/3/{run.number}" if said == "429" else f"/gone/{run.number}" if said == "410" else f"/says/{said}/{run.number}"
        )
        endpoint, _ = street.has_endpoint(run.number, path)
        street.pings(endpoint, run.number)
        if said == "410":  # disabled at once, and never asked again
            street.waits(path, 1, 15)
            until = time.monotonic() + 10
            while (found := street.asks(run.number, "GET", endpoint).json)["status"] != "disabled":
                run.check(time.monotonic() < until, f"after 410 it is {found['status']}")
                if time.monotonic() > until:
                    break
                time.sleep(0.1)
            run.check(len(street.came(path)) == 1, "asked again after 410")
            street.hooks.mend(path)  # what was held back meanwhile is told when the endpoint is enabled again
            street.asks(run.number, "POST", f"{endpoint}/enable")
            street.waits(path, 2, 20)
            return
        first, second = street.waits(path, 2, 20)[:2]
        wanted = 3.0 if said == "429" else 1.0
        run.check(
            second.at - first.at >= wanted * 0.8, f"{said}: again after {second.at - first.at:.2f} s, planned are {wanted:g} s"
        )
        run.check(second.at - first.at <= wanted * 1.2 + 2, f"{said}: again only after {second.at - first.at:.2f} s")
        run.check(first.webhook_id == second.webhook_id and first.body == second.body, "another id or body the second time")

    field.each(one, at_once=5)
    street.judge()


@contextlib.contextmanager
def inner_listener() -> Iterator[tuple[int, list[object]]]:
    """Something inside that nobody may reach: its port, and who came."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(0.1)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    came.append(taken.accept()[1])

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield taken.getsockname()[1], came
        finally:
            over.set()
            thread.join()


@fault(
    "F63",
    "Redirects inside, names that change, odd spellings of inner addresses",
    holds="10",
    passes="no connection to an inner listener",
)
def merchants_point_inside(field: Field) -> None:
    """Redirects are played here; spellings and names by the corpus of `kit/addresses.py`, with a resolver that lies."""
    with inner_listener() as (port, came):
        street = open_street(field, field.runs)
        street.hooks.elsewhere = f"http://127.0.0.1:{port}/secret"

        def one(run: Run) -> None:
            path = f"/moved/{run.chance.choice((301, 302, 303, 307, 308))}/{run.number}"
            endpoint, _ = street.has_endpoint(run.number, path)
            street.pings(endpoint, run.number)
            street.waits(path, 2, 20)
            street.asks(run.number, "DELETE", endpoint)

        field.each(one, at_once=5)
        field.check(not came, f"{len(came)} connections to the inner listener")
    field.tests("tests/unit/kit/test_addresses.py", "tests/unit/webhooks_delivery/test_egress.py")


def verifies(heard: Heard, secret: str) -> bool:
    """Whether a request carries a signature by this secret (Standard Webhooks)."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{heard.webhook_id}.{heard.timestamp}.".encode() + heard.body
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return wanted in heard.signature.split(" ")


@fault(
    "F64", "A secret is rotated while events flow", holds="7", passes="no verification fails, with the old secret or the new one"
)
def secrets_rotate(field: Field) -> None:
    """Until the overlap ends both secrets sign; a merchant changes over whenever it likes."""
    street = open_street(field, field.runs)

    def one(run: Run) -> None:
        path = f"/ok/{run.number}"
        endpoint, old = street.has_endpoint(run.number, path)
        for _ in range(3):
            street.pings(endpoint, run.number)
        said = street.asks(run.number, "POST", f"{endpoint}/rotate-secret", {"overlap_s": 3600})
        new = said.json["secret"]
        for _ in range(3):
            street.pings(endpoint, run.number)
        came = street.waits(path, 6, 20)
        run.check(all(verifies(each, old) for each in came), "the old secret does not verify while the two overlap")
        run.check(all(verifies(each, new) for each in came[-3:]), "the new secret does not verify what was sent after the rotation")
        run.check(not any(verifies(each, "whsec_" + base64.b64encode(b"x" * 32).decode()) for each in came), "anything verifies")

    field.each(one, at_once=5)
    street.judge()


@fault("F65", "A merchant answers 200 after our time is over", holds="7", passes="the same id and body again, and then no more")
def merchants_answer_late(field: Field) -> None:
    street = open_street(field, field.runs)

    def one(run: Run) -> None:
        path = f"/late/3/{run.number}"
        endpoint, _ = street.has_endpoint(run.number, path)
        street.pings(endpoint, run.number)
        first, second = street.waits(path, 2, 30)[:2]
        run.check(
            dataclasses.astuple(first)[1:4] == dataclasses.astuple(second)[1:4], "another id, subject or place the second time"
        )
        run.check(first.body == second.body, "another body the second time")
        time.sleep(3)
        run.check(len(street.came(path)) == 2, f"told {len(street.came(path))} times")

    field.each(one, at_once=10)
    street.judge()


@fault(
    "F66",
    "Answers that never end, or come a byte at a time",
    holds="5",
    passes="at most 4 KiB are read, at most the time-out is waited, others go on",
)
def merchants_never_stop(field: Field) -> None:
    import psutil  # type: ignore[import-untyped]

    street = open_street(field, field.runs + 1)
    other, _ = street.has_endpoint(field.runs, "/ok/other")
    before = psutil.Process(street.server.pid).memory_info().rss
    slow: dict[str, list[float]] = defaultdict(list)

    def one(run: Run) -> None:
        path = f"/{('endless', 'drips')[run.number % 2]}/x/{run.number}"
        endpoint, _ = street.has_endpoint(run.number, path)
        street.pings(endpoint, run.number)
        street.waits(path, 1, 20)
        count = len(street.came("/ok/other"))
        began = time.monotonic()
        street.pings(other, field.runs)
        street.waits("/ok/other", count + 1, 10)
        slow["others"].append(time.monotonic() - began)
        until = time.monotonic() + 30
        while not (rows := street.town.ask(_ATTEMPTS.format(merchant_of(run.number)[0]))):
            assert time.monotonic() < until, "no attempt has ended"
            time.sleep(0.05)
        run.check(rows[0]["duration_ms"] <= 2_500, f"an attempt took {rows[0]['duration_ms']} ms, allowed are 2,000")
        run.check(len(rows[0]["response"] or "") <= 4096, f"{len(rows[0]['response'])} characters are kept")

    field.each(one)
    grown = (psutil.Process(street.server.pid).memory_info().rss - before) / 2**20
    field.measure("memory", f"{grown:+.0f} MB")
    field.check(grown < 60, f"memory has grown by {grown:.0f} MB")
    field.check(max(slow["others"]) < 5, f"another merchant waited {max(slow['others']):.1f} s")
    street.judge()


_ATTEMPTS = (
    "SELECT duration_ms, response FROM delivery_attempts WHERE merchant_id = '{}' AND duration_ms IS NOT NULL ORDER BY began_at"
)
