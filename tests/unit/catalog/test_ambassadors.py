"""The ambassadors service as a source: one call, a deadline, a breaker, and nothing sold on a guess (purchases contract, section 3)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import grpc
import pytest
import pytest_asyncio
from tests import rig

from kassa import catalog
from kassa.catalog import Channel, Offer, ProductsUnavailable, Sources
from kassa.catalog.sources import AmbassadorService, AmbassadorsUnavailable, ambassadors, recent
from kassa.kit import crash, database
from kassa.kit.breaker import Breaker
from kassa.kit.context import Context, request_id
from kassa.kit.money import Money
from kassa.kit.secrets import Keys

from .ambassadors_served import PRICES, Served, Way, answer, judge, serving, way_to

CHANNEL = Channel("1", "ambassadors", "UZS", 0, frozenset({"payme"}), frozenset())
MOST = 9223372036854775807
PATIENCE_S = 5.0
"""How long a slow machine may take for what takes 300 ms."""


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Limits:
    """How long calls may take: as long as a busy machine needs, or, for tests of silence, what the contract says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._real = {name: getattr(ambassadors, name) for name in ("DEADLINE_S", "PROBE_S")}

    def lift(self) -> None:
        for name in self._real:
            self._monkeypatch.setattr(ambassadors, name, 60.0)

    def apply(self) -> None:
        for name, seconds in self._real.items():
            self._monkeypatch.setattr(ambassadors, name, seconds)


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> Limits:
    limits = Limits(monkeypatch)
    limits.lift()
    return limits


class Asking:
    """Kassa's side: the source, its breaker's clock, and the questions of a surface."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.clock = Clock()
        self.source = AmbassadorService(host, port, breaker=Breaker(clock=self.clock))
        ports = {Sources: Sources({"ambassadors": self.source})}
        self.ctx = Context(None, Keys(b"a secret of thirty-two bytes, ok"), ports=ports)  # type: ignore[arg-type]

    async def offers(self, *ids: object) -> Mapping[str, Offer]:
        return await catalog.offers_of(self.ctx, CHANNEL, [str(each) for each in ids])

    async def recent(self, *ids: object) -> dict[str, int]:
        found = await catalog.recent_offers_of(self.ctx, CHANNEL, [str(each) for each in ids])
        return {product_id: offer.price.minor for product_id, offer in found.items()}

    async def prices(self, *ids: object) -> dict[str, int]:
        return {product_id: offer.price.minor for product_id, offer in (await self.offers(*ids)).items()}

    async def fails(self, times: int = 1) -> AmbassadorsUnavailable:
        for _ in range(times):
            with pytest.raises(AmbassadorsUnavailable) as refused:
                await self.offers(1)
        return refused.value

    @property
    def is_open(self) -> bool:
        return self.source.breaker.is_open


@contextlib.asynccontextmanager
async def asking_at(port: int, host: str = "127.0.0.1") -> AsyncIterator[Asking]:
    asking = Asking(port, host)
    yield asking
    await asking.source.close()


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


@pytest_asyncio.fixture
async def asking(served: Served) -> AsyncIterator[Asking]:
    async with asking_at(served.port) as asking:
        yield asking


@pytest.fixture
def own_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which prices grow old."""
    clock = Clock()
    monkeypatch.setattr("kassa.catalog.sources.ambassadors.monotonic", clock)
    monkeypatch.setattr(recent, "monotonic", clock)
    return clock


def status(code: grpc.StatusCode) -> Callable[[list[int]], Any]:
    return lambda _asked: code


async def never(_asked: list[int]) -> bytes:
    await asyncio.sleep(60)
    return b""


UNAVAILABLE = status(grpc.StatusCode.UNAVAILABLE)


# ── what is asked, and what comes of it ──────────────────────────────────────────────────────────────────────────────


async def test_an_ambassador_is_an_offer_at_the_price_of_now(asking: Asking) -> None:
    found = await asking.offers(1)
    assert found == {"1": Offer("1", "1", "Ambassador #1", Money(5000000, "UZS"), (), None, "elsewhere")}


async def test_one_call_asks_for_all_each_once(served: Served, asking: Asking) -> None:
    assert await asking.prices(3, 1, 7, 3, 1, 9) == {"1": PRICES[1], "3": PRICES[3]}
    assert [sorted(each) for each in served.asked] == [[1, 3, 7, 9]]


async def test_a_thousand_are_one_call(served: Served, asking: Asking) -> None:
    served.say = lambda asked: answer(dict.fromkeys(asked, 10**13))
    first = MOST - 999
    assert await asking.prices(*range(first, MOST + 1)) == {str(each): 10**13 for each in range(first, MOST + 1)}
    assert len(served.asked) == 1


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "01", "+1", " 1", "1 ", "1.0", "1e3", "x", "\u0661", "1\n", str(MOST + 1), "9" * 5000]
)
async def test_what_is_no_ambassador_is_not_sold_and_not_asked_about(served: Served, asking: Asking, text: str) -> None:
    assert await asking.prices(text, 2) == {"2": PRICES[2]}
    assert await asking.prices(text) == {}
    assert await asking.recent(text) == {}
    assert served.asked == [[2]]


async def test_nothing_asked_is_no_call(served: Served, asking: Asking) -> None:
    assert await asking.offers() == {}
    assert await asking.recent() == {}
    assert served.asked == []


async def test_the_id_of_the_request_goes_along(served: Served, asking: Asking) -> None:
    token = request_id.set("the-one")
    try:
        await asking.offers(1)
    finally:
        request_id.reset(token)
    assert served.metadata["x-request-id"] == "the-one"


async def test_no_call_is_made_inside_a_transaction(served: Served, asking: Asking) -> None:
    token = database._open.set("checkout.start")
    try:
        with pytest.raises(RuntimeError, match=r"outside call 'ambassadors' inside transaction 'checkout\.start'"):
            await asking.offers(1)
    finally:
        database._open.reset(token)
    assert served.asked == []


async def test_it_has_kill_points_as_every_neighbour(served: Served, asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[tuple[str, str, int]] = []
    monkeypatch.setattr(crash, "reach", lambda name, moment: reached.append((name, moment, len(served.asked))))
    await asking.offers(1)
    assert reached == [("ambassadors", "before_call", 0), ("ambassadors", "after_call", 1)]


async def test_it_has_no_list_of_all_ambassadors(asking: Asking) -> None:
    with pytest.raises(ProductsUnavailable):
        await catalog.offers_page(asking.ctx, CHANNEL, 1, 20)


# ── answers that cannot be used ──────────────────────────────────────────────────────────────────────────────────────

NONSENSE = {
    "nothing": answer(),
    "one of them in neither list": answer({1: 100}),
    "one of them in both lists": answer({1: 100, 2: 100}, [2]),
    "a price of nothing": answer({1: 0, 2: 100}),
    "no price at all": b"\x0a\x02\x08\x01" + answer({2: 100}),
    "a price below nothing": answer({1: -1, 2: 100}),
    "a price above the highest": answer({1: 10**13 + 1, 2: 100}),
    "two prices": answer([(1, 100), (2, 100), (1, 101)]),
    "a price out of range beside a good one": answer([(1, 100), (2, 100), (1, 0)]),
    "other ambassadors": answer({3: 100, 4: 100}, [5]),
    "no message": b"\xff\xff\xff",
    "half a message": answer({1: 100, 2: 100})[:-1],
    "far too much": answer({1: 100, 2: 100}, range(10**6, 10**6 + 100_000)),
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_nonsense_is_a_failed_call(served: Served, asking: Asking, name: str) -> None:
    served.say = lambda _asked: NONSENSE[name]
    for _ in range(5):
        with pytest.raises(AmbassadorsUnavailable):
            await asking.offers(1, 2)
    assert asking.is_open


@pytest.mark.parametrize(
    "said",
    [
        answer([(1, 100), (1, 100)], [2]),
        answer({1: 100}, [2, 2]),
        answer({1: 100, 7: 0}, [2]),
        answer([(1, 100), (7, 1), (7, 2)], [2, 7, 0, -1]),
    ],
)
async def test_what_is_said_twice_or_of_others_does_no_harm(served: Served, asking: Asking, said: bytes) -> None:
    served.say = lambda _asked: said
    assert await asking.prices(1, 2) == {"1": 100}


@pytest.mark.parametrize("price", [1, 10**13])
async def test_the_lowest_and_the_highest_price_are_prices(served: Served, asking: Asking, price: int) -> None:
    served.say = lambda _asked: answer({1: price})
    assert await asking.prices(1) == {"1": price}


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_an_error_is_a_failed_call(
    served: Served, asking: Asking, code: grpc.StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    served.say = status(code)
    refused = await asking.fails(5)
    assert (refused.code, refused.message) == (
        "ambassadors_unavailable",
        "The ambassadors service does not answer; try again in a moment.",
    )
    assert asking.is_open
    assert code.name in caplog.text
    assert "stranger" not in caplog.text


# ── silence ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_slow_service_is_given_up_by_its_deadline(served: Served, asking: Asking, limits: Limits) -> None:
    served.say = never
    limits.apply()
    began = time.monotonic()
    await asking.fails()
    assert 0.2 < time.monotonic() - began < PATIENCE_S
    assert all(each <= 0.302 for each in served.deadlines)  # it travels in whole milliseconds, rounded up


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """Connections are made there, and nobody ever says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


async def test_connecting_counts_for_the_deadline(limits: Limits) -> None:
    limits.apply()
    with silent_port() as port:
        async with asking_at(port) as asking:
            began = time.monotonic()
            await asking.fails()
            assert time.monotonic() - began < PATIENCE_S


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "no-such-host.invalid"])
async def test_where_nobody_listens_it_fails_in_time(host: str, limits: Limits) -> None:
    limits.apply()
    async with asking_at(rig.free_port(), host) as asking:
        began = time.monotonic()
        await asking.fails(5)
        assert time.monotonic() - began < PATIENCE_S
        assert asking.is_open


async def test_the_proxy_of_an_environment_is_not_for_neighbours(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_port() as port:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        async with asking_at(served.port) as asking:
            assert await asking.prices(1) == {"1": PRICES[1]}


# ── the breaker ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_four_failures_in_a_row_open_nothing(served: Served, asking: Asking) -> None:
    for _ in range(3):
        served.say = UNAVAILABLE
        assert (await asking.fails(4)).retry_after == 1
        served.say = judge
        await asking.offers(1)
    assert not asking.is_open
    assert len(served.asked) == 15


async def test_after_five_nobody_is_asked_for_ten_seconds(served: Served, asking: Asking) -> None:
    served.say = UNAVAILABLE
    assert (await asking.fails(5)).retry_after == 10
    served.say = judge
    for passed, retry_after in ((0, 10), (4, 6), (9.5, 1), (9.999, 1)):
        asking.clock.now = 1000 + passed
        assert (await asking.fails()).retry_after == retry_after
    assert len(served.asked) == 5


async def test_while_it_is_open_nobody_waits(served: Served, asking: Asking, limits: Limits) -> None:
    served.say = never
    limits.apply()
    await asking.fails(5)
    began = time.monotonic()
    await asking.fails(1000)
    assert time.monotonic() - began < PATIENCE_S
    assert len(served.asked) <= 5


async def test_then_exactly_one_of_many_probes(served: Served, asking: Asking) -> None:
    served.say = UNAVAILABLE
    await asking.fails(5)
    served.say = judge
    asking.clock.now += 10
    answers = await asyncio.gather(*(asking.prices(1) for _ in range(20)), return_exceptions=True)
    assert answers.count({"1": PRICES[1]}) == 1
    assert sum(isinstance(each, AmbassadorsUnavailable) and each.retry_after == 1 for each in answers) == 19
    assert len(served.asked) == 6
    assert not asking.is_open
    assert await asyncio.gather(*(asking.prices(1) for _ in range(20))) == [{"1": PRICES[1]}] * 20


async def test_a_probe_that_fails_opens_it_for_another_ten_seconds(served: Served, asking: Asking) -> None:
    served.say = UNAVAILABLE
    await asking.fails(5)
    asking.clock.now += 10
    assert (await asking.fails()).retry_after == 10
    asking.clock.now += 9.9
    await asking.fails()
    assert len(served.asked) == 6
    served.say = judge
    asking.clock.now += 0.1
    assert await asking.prices(1) == {"1": PRICES[1]}


async def test_a_probe_is_answered_within_the_time_of_an_open_breaker(served: Served, asking: Asking, limits: Limits) -> None:
    served.say = UNAVAILABLE
    await asking.fails(5)
    served.say = never
    limits.apply()
    asking.clock.now += 10
    await asking.fails()
    assert all(each <= 0.252 for each in served.deadlines[5:])


async def test_a_probe_that_was_given_up_leaves_the_next_caller_to_try(served: Served, asking: Asking) -> None:
    served.say = UNAVAILABLE
    await asking.fails(5)
    served.say = never
    asking.clock.now += 10
    probe = asyncio.create_task(asking.offers(1))
    while len(served.asked) < 6:
        await asyncio.sleep(0.001)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    served.say = judge
    assert await asking.prices(1) == {"1": PRICES[1]}


async def test_what_began_before_it_opened_decides_nothing(served: Served, asking: Asking) -> None:
    goes_on = asyncio.Event()

    async def late(asked: list[int]) -> Any:
        await goes_on.wait()
        return judge(asked) if asked == [2] else grpc.StatusCode.UNAVAILABLE

    served.say = late
    good, bad = asyncio.create_task(asking.prices(2)), asyncio.create_task(asking.prices(3))
    while len(served.asked) < 2:
        await asyncio.sleep(0.001)
    for _ in range(5):  # as fast as silence can be, so that the two are still under way
        asking.source.breaker.silent()
    asking.clock.now += 1.5
    goes_on.set()
    assert await good == {"2": PRICES[2]}
    with pytest.raises(AmbassadorsUnavailable) as refused:
        await bad
    assert refused.value.retry_after == 9
    assert asking.is_open


async def test_a_caller_who_goes_away_is_no_failure_of_the_service(served: Served, asking: Asking) -> None:
    served.say = never
    for n in range(6):
        call = asyncio.create_task(asking.offers(1))
        while len(served.asked) <= n:
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert not asking.is_open


# ── back again ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_service_that_comes_back_is_found_by_itself(served: Served, asking: Asking, limits: Limits) -> None:
    await asking.offers(1)
    await served.stop()
    limits.apply()
    await asking.fails(5)
    limits.lift()
    await served.start()
    asking.clock.now += 10
    assert await asking.prices(1) == {"1": PRICES[1]}


async def test_a_service_that_was_not_there_yet_is_found_by_itself(limits: Limits) -> None:
    served = Served()
    served.port = rig.free_port()
    async with asking_at(served.port) as asking:
        limits.apply()
        await asking.fails(3)
        limits.lift()
        await served.start()
        began = time.monotonic()
        assert await asking.prices(1) == {"1": PRICES[1]}
        assert time.monotonic() - began < PATIENCE_S, "it is tried at least once a second"
        await served.stop()


async def test_a_restart_that_is_quick_is_not_noticed(served: Served, asking: Asking) -> None:
    await asking.offers(1)
    await served.stop()
    call = asyncio.create_task(asking.prices(1))
    await asyncio.sleep(0.05)
    await served.start()
    assert await call == {"1": PRICES[1]}


@pytest_asyncio.fixture
async def way(served: Served) -> AsyncIterator[Way]:
    async with way_to(served) as way:
        yield way


async def test_a_connection_that_leads_nowhere_is_left(way: Way, limits: Limits) -> None:
    async with asking_at(way.port) as asking:
        await asking.offers(1)
        way.freeze()
        limits.apply()
        await asking.fails(5)
        limits.lift()
        asking.clock.now += 10
        assert await asking.prices(1) == {"1": PRICES[1]}
        assert way.connections == 2


async def test_there_is_one_connection_and_none_after_the_end(way: Way) -> None:
    asking = Asking(way.port)
    await asyncio.gather(*(asking.offers(1) for _ in range(50)))
    for _ in range(10):
        await asking.offers(1)
    assert (way.connections, way.open) == (1, 1)
    await asking.source.close()
    await asking.source.close()
    until = time.monotonic() + PATIENCE_S
    while way.open:
        assert time.monotonic() < until
        await asyncio.sleep(0.001)


async def test_none_is_left_when_connections_were_given_up_on_the_way(served: Served, way: Way) -> None:
    asking = Asking(way.port)
    served.say = UNAVAILABLE
    await asking.fails(5)
    for _ in range(3):
        asking.clock.now += 10
        await asking.fails()
    await asking.source.close()
    until = time.monotonic() + PATIENCE_S
    while way.open:
        assert time.monotonic() < until
        await asyncio.sleep(0.001)
    assert way.connections == 4


# ── prices of a moment ago ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_cart_shows_what_was_read_in_the_last_five_seconds_while_nobody_answers(
    served: Served, asking: Asking, own_clock: Clock
) -> None:
    await asking.offers(1, 2, 7)
    served.say = UNAVAILABLE
    own_clock.now += 5
    for _ in range(7):  # also with the breaker open
        assert await asking.recent(2, 7, 1) == {"1": PRICES[1], "2": PRICES[2]}
    assert asking.is_open
    own_clock.now += 0.001
    with pytest.raises(AmbassadorsUnavailable):
        await asking.recent(1)


async def test_what_was_not_read_lately_is_not_made_up(served: Served, asking: Asking, own_clock: Clock) -> None:
    await asking.offers(1)
    served.say = UNAVAILABLE
    with pytest.raises(AmbassadorsUnavailable):
        await asking.recent(1, 2)
    assert await asking.recent(1) == {"1": PRICES[1]}


async def test_nothing_is_sold_at_the_price_of_a_moment_ago(served: Served, asking: Asking) -> None:
    await asking.offers(1)
    served.say = UNAVAILABLE
    await asking.fails(7)


async def test_a_cart_shows_a_changed_price_at_once(served: Served, asking: Asking) -> None:
    assert await asking.recent(1, 2) == {"1": PRICES[1], "2": PRICES[2]}
    served.say = lambda _asked: answer({1: 42}, [2])
    assert await asking.recent(1, 2) == {"1": 42}
    served.say = UNAVAILABLE
    assert await asking.recent(1, 2) == {"1": 42}, "and what was read last is what is remembered"


def test_an_answer_to_an_older_question_changes_nothing(own_clock: Clock) -> None:
    known = recent.RecentPrices()
    known.note([1, 2], {1: 100}, own_clock.now)
    known.note([1, 2], {1: 90, 2: 90}, own_clock.now - 1)
    assert known.of([1, 2]) == {1: 100}


def test_what_is_remembered_has_an_end(own_clock: Clock) -> None:
    known = recent.RecentPrices()
    for n in range(0, 20_000, 1000):
        known.note(range(n, n + 1000), {}, own_clock.now)
    known.note([10_000], {10_000: 1}, own_clock.now)
    known.note([20_000], {20_000: 1}, own_clock.now)
    assert len(known._kept) == recent.MOST_KEPT
    assert known.of([10_000, 20_000]) == {10_000: 1, 20_000: 1}, "what was asked about last stays"
    assert known.of([10_001]) is None
