"""A trace from its caller through a purchase, its neighbours, a crash, the merchant who is told, and back to whoever asks afterwards.

The collector is a server of this file's that reads what any collector reads; Kassa is real processes.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests import rig
from tests.contracts.checkout.journeys import Json, buy, id_of, order_form, until, visitor
from tests.contracts.checkout.neighbours import Neighbours
from tests.contracts.checkout.town import SHARED_SECRET, the_books_are_in_order
from tests.contracts.grpc.callers import Caller
from tests.pages.hook import Hook, hook

from kassa.kit import trace
from kassa.kit.context import Context
from kassa.kit.spans import Collector as Address
from kassa.kit.spans import recording

from .broker_town import backlog, open_hall, relay_of, remove, running, tell
from .broker_town import until as eventually
from .collector import Collector, Span, collecting

if TYPE_CHECKING:
    from tests.conftest import StartKassa

__all__ = ["hook"]  # a fixture
DOOR: Final = "POST /checkout/process"
ACTS: Final = ("payment", "inventory", "order_service")
STEPS: Final = {
    "checkout.start": DOOR,
    "checkout": DOOR,
    "charge": "checkout",
    "payment": "charge",
    "checkout.settle": "checkout",
    "do inventory": "checkout",
    "inventory": "do inventory",
    "do order_service": "checkout",
    "order_service": "do order_service",
}
"""What a purchase with three neighbours is made of, each under its own whole."""
PRIVATE: Final = ("4111", "@", "Flores", "123 ")


@dataclass(frozen=True)
class Origin:
    """Whoever calls, in a trace of its own."""

    trace_id: str
    span_id: str

    @property
    def header(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"


def a_caller() -> Origin:
    return Origin(secrets.token_hex(16), secrets.token_hex(8))


@dataclass(frozen=True)
class Town:
    """A Kassa among three neighbours, whose spans a collector gets."""

    server: rig.Server
    neighbours: Neighbours
    collector: Collector

    def buy(self, caller: Origin | None = None, **headers: str) -> Json:
        """A guest's purchase that goes well: its answer."""
        with visitor(self.server) as guest:
            if caller is not None:
                headers["traceparent"] = caller.header
            guest.headers.update(headers)
            answer = buy(guest, order_form())
            assert answer.status_code == 200, answer.text
            found: Json = answer.json()
            return found | {"checkout_id": id_of(answer)}

    def told(self, checkout_id: str) -> list[Any]:
        """The calls at neighbours, in their order."""
        return self.neighbours.calls(checkout_id)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture(scope="module")
def town(start_kassa: StartKassa, collector: Collector) -> Iterator[Town]:
    neighbours = Neighbours()
    server = start_kassa(KASSA_SECRET=SHARED_SECRET, **neighbours.settings(), **collector.settings())
    yield Town(server, neighbours, collector)
    neighbours.stop()
    the_books_are_in_order(server)


def has(*names: str) -> Any:
    """Whether spans of all these names are there."""
    return lambda spans: set(names) <= {each.name for each in spans}


def by_name(spans: list[Span]) -> dict[str, Span]:
    return {each.name: each for each in spans}


def kept(server: rig.Server, checkout_id: str) -> set[str | None]:
    """The traces in which the events of a purchase, its order and its payment were recorded."""
    rows = server.sql(
        """
        SELECT DISTINCT substr(e.traceparent, 4, 32) AS trace_id FROM checkouts c
          JOIN events e ON e.subject IN ('checkout:' || c.checkout_id, 'order:' || c.order_id, 'payment:' || c.payment_id)
         WHERE c.checkout_id = $1::text::uuid
        """,
        checkout_id,
    )
    return {row["trace_id"] for row in rows}


def payment_of(server: rig.Server, checkout_id: str) -> str:
    [row] = server.sql("SELECT payment_id::text FROM checkouts WHERE checkout_id = $1::text::uuid", checkout_id)
    return str(row["payment_id"])


# ── one purchase ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_purchase_is_one_tree_below_its_caller(town: Town) -> None:
    caller = a_caller()
    bought = town.buy(caller, tracestate="shop=1")
    spans = town.collector.of(caller.trace_id, has(DOOR, *STEPS))
    found = by_name(spans)
    assert found[DOOR].parent_id == caller.span_id
    names = {each.span_id: each.name for each in spans}
    assert {name: names[found[name].parent_id] for name in STEPS} == STEPS
    assert {each.parent_id for each in spans} <= {caller.span_id, *names}  # nothing hangs in the air
    assert not any(each.failed for each in spans)
    assert found[DOOR].attributes["http.response.status_code"] == 200
    charge = found["charge"].attributes
    assert (charge["kassa.provider"], charge["kassa.attempt"], charge["kassa.outcome"]) == ("card", 1, "paid")
    for act in ACTS[1:]:
        done = found[f"do {act}"].attributes
        assert (done["kassa.act"], done["kassa.attempt"], done["kassa.outcome"]) == (act, 1, "done")
    assert found["checkout"].attributes["kassa.status"] == "completed"
    ids = found[DOOR].attributes
    assert (ids["kassa.merchant_id"], ids["kassa.checkout_id"]) == ("1", bought["checkout_id"])
    assert ids["kassa.payment_id"] == payment_of(town.server, bought["checkout_id"])
    assert "kassa.order_id" in ids


def test_a_neighbour_is_told_the_span_in_which_it_is_called(town: Town) -> None:
    caller = a_caller()
    bought = town.buy(caller, tracestate="shop=1")
    found = by_name(town.collector.of(caller.trace_id, has(*STEPS)))
    calls = town.told(bought["checkout_id"])
    assert [call.headers["traceparent"] for call in calls] == [f"00-{caller.trace_id}-{found[act].span_id}-01" for act in ACTS]
    assert {call.headers["tracestate"] for call in calls} == {"shop=1"}


def test_spans_say_nothing_of_a_person_or_a_card(town: Town) -> None:
    caller = a_caller()
    town.buy(caller)
    spans = town.collector.of(caller.trace_id, has(DOOR, *STEPS))
    said = [str(value) for each in spans for value in (each.name, *each.attributes.values())]
    assert not [text for text in said for private in PRIVATE if private in text]
    assert not [name for each in spans for name in each.attributes if "price" in name or "amount" in name]


@pytest.mark.parametrize(
    "nonsense", ["", "00", "x" * 5000, f"00-{'0' * 32}-{'1' * 16}-01", "00-" + "é" * 32, "ff-" + "1" * 32 + "-" + "1" * 16 + "-01"]
)
def test_nonsense_is_no_trace_and_no_error(town: Town, nonsense: str) -> None:
    with visitor(town.server) as guest:
        answer = guest.get("/api/products", headers={"traceparent": nonsense.encode(), "tracestate": b"\xff=,;"})
    assert answer.status_code == 200


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_events_keep_the_trace_and_the_timeline_shows_it(town: Town) -> None:
    caller = a_caller()
    bought = town.buy(caller)
    assert kept(town.server, bought["checkout_id"]) == {caller.trace_id}
    payment_id = payment_of(town.server, bought["checkout_id"])
    with visitor(town.server) as merchant:
        story = merchant.get(f"/api/v1/payments/{payment_id}/timeline", headers={"X-Api-Key": "sk_demo_1"}).json()
    of_events = [each["details"] for each in story["items"] if each["kind"] in {"checkout", "order", "payment"}]
    assert {each["trace_id"] for each in of_events} == {caller.trace_id}
    shown = [kassa(town.server, "events", "show", bought["checkout_id"], *more) for more in ((), ("--json",))]
    assert shown[0].count(caller.trace_id) == 1  # once for all of them
    assert json.loads(shown[1])["trace_ids"] == [caller.trace_id]


def test_nobody_else_is_told_of_it(town: Town, hook: Hook) -> None:
    """Merchants get the same bodies and headers as ever; the attempt to tell them is a span of the trace."""
    with visitor(town.server) as merchant:
        endpoint = merchant.post(
            "/api/v1/webhook-endpoints", json={"url": hook.url, "events": ["payment.paid"]}, headers={"X-Api-Key": "sk_demo_1"}
        )
        assert endpoint.status_code == 201, endpoint.text
    caller = a_caller()
    bought = town.buy(caller)
    found = by_name(town.collector.of(caller.trace_id, has("webhook", *STEPS)))
    told = found["webhook"]
    assert told.parent_id in {each.span_id for each in found.values()}
    assert told.attributes["kassa.outcome"] == "delivered"
    assert told.attributes["kassa.endpoint_id"] == endpoint.json()["endpoint_id"]
    assert told.attributes["http.response.status_code"] == 204
    payment_id = payment_of(town.server, bought["checkout_id"]).encode()
    [(headers, body)] = [each for each in hook.heard if payment_id in each[1]]
    assert not {"traceparent", "tracestate"} & set(headers)
    assert caller.trace_id.encode() not in body


def test_a_call_over_grpc_belongs_to_its_caller_s_trace(town: Town) -> None:
    caller = a_caller()
    other = Caller(town.server.grpc, [("x-api-key", "sk_demo_2"), ("traceparent", caller.header)])
    try:
        payment_id = other.pay().message.payment_id
    finally:
        other.close()
    found = by_name(town.collector.of(caller.trace_id, has("payments.v1.PaymentService/RequestPayment", "collect.keyed")))
    call = found["payments.v1.PaymentService/RequestPayment"]
    assert call.parent_id == caller.span_id
    assert call.attributes["rpc.response.status_code"] == "OK"
    assert found["collect.keyed"].parent_id == call.span_id
    [event] = town.server.sql("SELECT traceparent FROM events WHERE subject = $1 AND sequence = 1", f"payment:{payment_id}")
    assert event["traceparent"] == f"00-{caller.trace_id}-{call.span_id}-01"


async def test_a_batch_for_the_broker_is_linked_to_the_traces_of_its_events(
    database_server: rig.DatabaseServer, rabbitmq_url: str, collector: Collector
) -> None:
    name, callers = f"test-{secrets.token_hex(6)}", [a_caller() for _ in range(3)]
    async with recording(Address(f"{collector.url}/v1/traces")), open_hall(database_server.fresh(), rabbitmq_url, name) as ctx:
        await ctx.db.execute("INSERT INTO merchants (merchant_id, name) VALUES ('1', 'Merchant')")
        for caller in callers:
            with trace.arrive(caller.header, None, "POST"):
                await tell(ctx, "1", [f"order:{caller.trace_id}"])
        async with running(relay_of(ctx)):
            await eventually(lambda: backlog_is_empty(ctx))
    await remove(rabbitmq_url, name)
    relays = [each for each in collector.spans if each.name == "relay"]
    assert sum(each.attributes["kassa.confirmed"] for each in relays) == len(callers)
    assert {link.partition("-")[0] for each in relays for link in each.links} == {caller.trace_id for caller in callers}
    assert not {each.trace_id for each in relays} & {caller.trace_id for caller in callers}


async def backlog_is_empty(ctx: Context) -> bool:
    return not await backlog(ctx)


# ── when something breaks ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_purchase_that_is_taken_up_after_a_crash_stays_in_its_trace(
    start_kassa: StartKassa, town: Town, database_server: rig.DatabaseServer
) -> None:
    dsn, caller = database_server.fresh(), a_caller()
    settings = {"KASSA_SECRET": SHARED_SECRET, "KASSA_LEASE_S": "1", **town.neighbours.settings(), **town.collector.settings()}
    dying = start_kassa(database=dsn, KASSA_CRASH_AT="inventory:after_call", **settings)
    with visitor(dying) as guest, pytest.raises(Exception, match=r"."):
        guest.post("/checkout/process", json=order_form(), headers={"traceparent": caller.header})
    assert dying.wait() == -9
    start_kassa(database=dsn, **settings)
    spans = town.collector.of(caller.trace_id, has("checkout taken up", "do order_service"), within_s=20)
    found = by_name(spans)
    up = found["checkout taken up"]
    assert up.parent_id  # the span in which it began, which died with its process
    assert up.parent_id not in {each.span_id for each in spans if each.name == DOOR}
    assert found["do inventory"].attributes["kassa.attempt"] >= 1
    [row] = rig.query(dsn, "SELECT checkout_id::text, status FROM checkouts")
    assert row["status"] == "completed"
    told = [call.headers["traceparent"][3:35] for call in town.told(row["checkout_id"])]
    assert len(told) >= 4  # inventory was asked twice
    assert set(told) == {caller.trace_id}
    events = rig.query(dsn, "SELECT DISTINCT substr(traceparent, 4, 32) AS trace_id FROM events WHERE subject LIKE 'checkout:%'")
    assert [each["trace_id"] for each in events] == [caller.trace_id]


def test_a_collector_that_is_away_costs_a_purchase_nothing(start_kassa: StartKassa) -> None:
    server = start_kassa(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{rig.free_port()}", OTEL_BSP_SCHEDULE_DELAY="50")
    with visitor(server) as guest:
        assert buy(guest, order_form()).status_code == 200
        took = []
        for _ in range(5):
            began = time.monotonic()
            assert buy(guest, order_form()).status_code == 200
            took.append(time.monotonic() - began)
        assert sorted(took)[2] < 0.5, took
    until(lambda: "traces: the collector does not take them" in server.log_text() or None, 15, "a line in the log")
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 10
    assert server.log_text().count("traces:") == 1


# ── without a collector ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def quiet(start_kassa: StartKassa, collector: Collector) -> Iterator[Town]:
    """A Kassa that records nothing."""
    neighbours = Neighbours()
    server = start_kassa(KASSA_SECRET=SHARED_SECRET, **neighbours.settings())
    yield Town(server, neighbours, collector)
    neighbours.stop()


def test_without_a_collector_a_caller_s_trace_is_handed_on_as_it_came(quiet: Town) -> None:
    caller = a_caller()
    bought = quiet.buy(caller, tracestate="shop=1")
    assert {call.headers["traceparent"] for call in quiet.told(bought["checkout_id"])} == {caller.header}
    assert {call.headers["tracestate"] for call in quiet.told(bought["checkout_id"])} == {"shop=1"}
    assert kept(quiet.server, bought["checkout_id"]) == {caller.trace_id}
    line = next(text for text in quiet.server.log_text().splitlines() if DOOR.partition(" ")[2] in text and caller.trace_id in text)
    assert "span_id" not in line


def test_without_a_caller_s_trace_log_and_events_still_name_one(quiet: Town) -> None:
    bought = quiet.buy(**{"X-Request-Id": (mine := f"mine-{secrets.token_hex(4)}")})
    assert not [call for call in quiet.told(bought["checkout_id"]) if "traceparent" in call.headers]
    [trace_id] = kept(quiet.server, bought["checkout_id"])
    assert trace_id is not None
    lines = [text for text in quiet.server.log_text().splitlines() if mine in text]
    assert lines
    assert all(trace_id in text for text in lines)


def kassa(server: rig.Server, *command: str) -> str:
    """What a command says about this server's data."""
    environment = rig.clean_environment(
        DATABASE_URL=server.dsn, KASSA_HOME=str(server.home), PRODUCTION="false", KASSA_SECRET=SHARED_SECRET, COLUMNS="200"
    )
    done = subprocess.run(
        [sys.executable, "-m", "kassa", *command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
