"""The broker, the relay before it and the deliverers behind it (F46 to F53, F60). F46 and the troubles of the link are in `broker_away.py`."""

from __future__ import annotations

import itertools
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psutil  # type: ignore[import-untyped]
from tests.crash.fault import fault
from tests.crash.field import Field, Run
from tests.crash.nursery import Born
from tests.crash.post import Post, open_post
from tests.crash.stories import merchant_of

from kassa.events.relay import AT_ONCE, IN_FLIGHT

# ── the relay dies, the broker dies ──────────────────────────────────────────────────────────────────────────────────

RELAY_POINTS = {
    "relay:before_call": 0,
    "relay:after_call": IN_FLIGHT,
    "relay:after_call#2": IN_FLIGHT,
    "events.relayed:before_commit": IN_FLIGHT,
    "events.relayed:after_commit": 0,
    "events.lead:after_commit": 0,
}
"""Where a relay dies, and how many events may be published twice because of it: one batch at most, and none that was noted."""


@fault(
    "F47",
    "A relay dies between the confirmation and its note; the broker is killed",
    holds="7",
    passes="none lost; twice at most what was in flight",
    quick=3,
    runs=24,
)
def relay_dies(field: Field) -> None:
    """Relays at their kill points, one merchant's events each; then a broker of our own that is killed while it is given events."""
    post = open_post(field, field.runs)
    deaths = dict(enumerate(itertools.islice(itertools.cycle(RELAY_POINTS), field.runs)))
    beams = field.runs // 8

    def one(run: Run) -> None:
        point = deaths[run.number]
        post.tell(run.number, [f"order:{run.number}-{n % 7}" for n in range(2 * IN_FLIGHT + run.chance.randrange(1, IN_FLIGHT))])
        dying = post.works("relay", crash_at=point)
        run.check(dying.wait(30) == -signal.SIGKILL, f"{point} was not reached")
        left = post.backlog()
        run.check(left > 0 or point == "events.relayed:after_commit", f"{point}: nothing was left to do")
        began = time.monotonic()
        post.end_leases()
        heir = post.works("relay")
        post.relayed()
        heir.kill()
        run.recovered(time.monotonic() - began)
        wrong, twice = post.copies(run.number, post.taken_out())
        run.wrong += [f"{point}: {each}" for each in wrong]
        run.check(twice <= RELAY_POINTS[point], f"{point}: {twice} events came twice, {RELAY_POINTS[point]} were in flight")

    field.each(one, runs=field.runs - beams)
    if beams:
        _broker_dies(field, beams)


def _broker_dies(field: Field, runs: int) -> None:
    rabbit = field.rabbit()
    post = open_post(field, AT_ONCE, rabbit.url)
    post.works("relay")

    def one(run: Run) -> None:
        """Killed in the middle of a stream of events, at a moment that chance chooses."""
        over = threading.Event()
        thread = threading.Thread(target=_keep_telling, args=(post, over))
        thread.start()
        try:
            time.sleep(0.5 + run.chance.random())
            rabbit.kill()
            waiting = post.backlog()
            time.sleep(0.5)
        finally:
            over.set()
            thread.join()
        run.check(post.backlog() >= waiting, "events were marked as given to a broker that was not there")
        rabbit.start()
        began = time.monotonic()
        post.relayed(60)
        run.recovered(time.monotonic() - began)
        taken = post.taken_out()
        for number in range(AT_ONCE):
            wrong, _ = post.copies(number, [*earlier, *taken])
            run.wrong += wrong
        twice = len(taken) - len({each.message_id for each in taken})
        run.check(twice <= AT_ONCE * IN_FLIGHT, f"{twice} events came twice, at most {AT_ONCE * IN_FLIGHT} were in flight")
        earlier.extend(taken)

    earlier: list[Any] = []
    field.each(one, runs=runs)
    field.measure("events through killed brokers", len(earlier))


def _keep_telling(post: Post, over: threading.Event) -> None:
    for turn in itertools.count():
        if over.is_set():
            return
        post.tell_all({number: [f"order:{number}-{turn}-{n % 3}" for n in range(10)] for number in range(AT_ONCE)})


# ── the deliverer dies ───────────────────────────────────────────────────────────────────────────────────────────────

DELIVERER_POINTS = (
    "acknowledge:before_call",
    "webhooks.note:after_commit",
    "webhooks.note:before_commit",
    "webhook:after_call",
    "webhooks.claim:after_commit",
)


@fault(
    "F48",
    "A deliverer dies after its effect and before it acknowledges the message",
    holds="7",
    passes="what was noted as delivered is never sent again; one more request at most for what was not",
    quick=5,
    runs=25,
)
def deliverer_dies(field: Field) -> None:
    """Each run is a merchant whose deliverer dies at a kill point. Its messages come again, and another deliverer finds what is left."""
    post = open_post(field, field.runs)
    relay = post.works("relay")
    effects: list[int] = []

    def one(run: Run) -> None:
        point = DELIVERER_POINTS[run.number % len(DELIVERER_POINTS)]
        post.has_endpoint(run.number, f"/ok/{run.number}")
        post.tell(run.number, [f"order:{run.number}-{n}" for n in (1, 2, 3, 1)])
        post.relayed()
        dying = post.works("deliver", crash_at=point)
        run.check(dying.wait(30) == -signal.SIGKILL, f"{point} was not reached")
        before = post.requests(run.number)
        noted = {row["id"] for row in post.town.ask(_NOTED)} & post.events_of(run.number).keys()
        effects.append(len(noted))
        run.check(noted <= before.keys(), f"{point}: noted as delivered, and never sent: {noted - before.keys()}")
        # The lease of the dead is made to end: what is told here is what comes after it.
        post.town.ask("UPDATE deliveries SET lease_until = now() WHERE lease_until IS NOT NULL RETURNING 1 AS n")
        began = time.monotonic()
        heir = post.works("deliver")
        post.wait(lambda: not post.town.ask(_OPEN), "not all is delivered")
        post.wait(lambda: post.lying() == 0, "the queue is not empty")
        run.recovered(time.monotonic() - began)
        heir.stop()
        after = post.requests(run.number)
        run.check(len(after) == 4 and max(after.values()) <= 2, f"{point}: requests {after}")
        again = [event_id for event_id in noted if after[event_id] != before[event_id]]
        run.check(not again, f"{point}: sent again after it was noted: {again}")

    field.each(one)
    field.check(sum(effects) > len(effects) // 5, f"only {sum(effects)} effects before {len(effects)} deaths")
    field.measure("effects before a death", sum(effects))
    post.judge(relay)


_NOTED = "SELECT event_id::text AS id FROM deliveries WHERE status = 'success'"
_OPEN = "SELECT 1 AS n FROM deliveries WHERE status NOT IN ('success', 'failed') LIMIT 1"


# ── messages that nobody can read ────────────────────────────────────────────────────────────────────────────────────


def poison(run: Run) -> tuple[bytes, dict[str, Any], str]:
    """A message that names no event, in one of many ways."""
    new = str(uuid.UUID(int=run.chance.getrandbits(128)))
    kinds: list[tuple[bytes, dict[str, Any]]] = [
        (b"{}", {}),
        (b"", {"message_id": new}),
        (b"\xff\x00\xfe", {"message_id": new, "headers": {"kassa-merchant-id": "x" * 100}}),
        (b"{" * 10_000, {"message_id": "no id", "headers": {"kassa-merchant-id": "1000"}}),
        (b"[]", {"message_id": new, "headers": {"kassa-merchant-id": 1000}}),
        (b"{}", {"message_id": new, "headers": {"kassa-merchant-id": "1000", "kassa-delivery-id": "none"}}),
        (b"{}", {"message_id": new, "headers": {"kassa-merchant-id": "1000"}}),
        (b"{}", {"message_id": new, "headers": {"kassa-merchant-id": "nobody"}}),
        (b"{}", {"message_id": new + "0" * 180, "headers": {"kassa-merchant-id": ["1000"]}}),
        (b"x" * 1_000_000, {"message_id": new, "headers": {"kassa-merchant-id": "\x00"}}),
    ]
    body, properties = kinds[run.number % len(kinds)]
    return body, {"delivery_mode": 2, **properties}, run.chance.choice(("order.updated", "payment.paid", "delivery.retry"))


@fault(
    "F49",
    "Messages that nobody can read",
    holds="7",
    passes="each is a dead letter; an event beside them is delivered within 1 s",
    quick=10,
    runs=40,
)
def poisonous_messages(field: Field) -> None:
    post = open_post(field, 2)
    post.has_endpoint(1, "/ok/1")
    worker = post.works("relay", "deliver")
    post.tell(1, ["order:warm"])
    post.wait(post.heard, "nothing is delivered")
    took: list[float] = []

    def one(run: Run) -> None:
        """Three of a kind, and an event behind them."""
        post.puts([poison(run)] * 3)
        before = len(post.heard())
        post.tell(1, [f"order:{run.number}"])
        took.append(post.wait(lambda: len(post.heard()) > before, "the event behind them did not come"))
        post.wait(lambda: post.lying("dead") == 3 * (run.number + 1), "not all of them are dead letters")

    field.each(one)
    took.sort()
    late = took[min(len(took) - 1, round(0.95 * len(took)))]
    field.measure("lag of others, p50 / p95", f"{took[len(took) // 2] * 1000:.0f} / {late * 1000:.0f} ms")
    field.check(late <= 1.0, f"the p95 of the lag of others is {late:.2f} s")
    field.check(post.lying() == 0, "something still lies in the queue")
    post.judge(worker)


# ── a hundred thousand ───────────────────────────────────────────────────────────────────────────────────────────────

QUEUED = 100_000
GROWN_MB = 60
_PUT = """
    INSERT INTO events (merchant_id, event_id, subject, sequence, type, occurred_at, data)
    SELECT ({first} + n % {merchants})::text, md5({start}::text || ':' || n)::uuid, 'order:' || {start} || '-' || n % 5000, n / 5000 + 1, 'order.updated', kassa_now(), '{{}}'
      FROM generate_series(0, {many} - 1) n RETURNING 1 AS n
"""


@fault(
    "F52",
    "A hundred thousand events are queued",
    holds="5 7",
    passes="a relay's memory grows by at most 60 MB; all are published",
)
def hundred_thousand_queued(field: Field) -> None:
    """Each run is another relay that finds them all queued, works for a while and dies. What is given out is queued anew; the last relay ends it."""
    merchants = 5
    post = open_post(field, merchants)
    put = {"first": merchant_of(0)[0], "merchants": merchants}
    post.town.ask(f"WITH put AS ({_PUT.format(start=0, many=QUEUED, **put)}) SELECT count(*) FROM put")
    grown: list[float] = []
    rates: list[float] = []
    total = [QUEUED]

    def one(run: Run) -> None:
        again = QUEUED - post.backlog()
        if again > 0:
            again += -again % 5000
            post.town.ask(f"WITH put AS ({_PUT.format(start=run.number + 1, many=again, **put)}) SELECT count(*) FROM put")
            total[0] += again
        post.end_leases()
        relay = post.works("relay")
        grown.append(_growth(relay, 1.5))
        rates.append(max(0, total[0] - post.backlog()))
        run.check(grown[-1] <= GROWN_MB, f"memory has grown by {grown[-1]:.0f} MB")
        relay.kill()

    field.each(one)
    began, waiting = time.monotonic(), post.backlog()
    post.end_leases()
    post.works("relay")
    post.relayed(240)
    field.measure("events/s, one relay", f"{waiting / (time.monotonic() - began):.0f}")
    field.measure("memory of a relay, at most", f"{max(grown):+.0f} MB")
    most = total[0] + field.runs * merchants * IN_FLIGHT
    lying = post.lying()
    field.check(
        total[0] <= lying <= most, f"{lying} messages of {total[0]} events; {most} at most with what was in flight at a death"
    )


def _growth(server: Born, seconds: float) -> float:
    """By how many MB a process grows while it works, at most."""
    seen = psutil.Process(server.pid)
    base = peak = seen.memory_info().rss
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        peak = max(peak, seen.memory_info().rss)
        time.sleep(0.05)
    return float(peak - base) / 2**20


# ── the wrong order, twice and late ──────────────────────────────────────────────────────────────────────────────────


@fault(
    "F53",
    "Two events of one subject arrive swapped",
    holds="6 7",
    passes="each merchant hears its subjects in order, each event once",
)
def events_swapped(field: Field) -> None:
    """Everything is taken out of the queue, shuffled, and put back, half of it twice; the number of each event decides."""
    post = open_post(field, field.runs)
    for number in range(field.runs):
        post.has_endpoint(number, f"/ok/{number}")
    relay = post.works("relay")
    post.tell_all({number: [f"order:{number}-{n % 3}" for n in range(12)] for number in range(field.runs)})
    post.relayed()
    taken = post.taken_out()
    shuffled = [*taken, *taken[::2]]
    field.chance.shuffle(shuffled)
    post.puts_back(shuffled)
    post.works("deliver")

    def one(run: Run) -> None:
        events = post.events_of(run.number)
        swapped = [events[str(each.message_id)] for each in shuffled if str(each.message_id) in events]
        run.check(any(_falls(swapped, subject) for subject, _ in swapped), "nothing was swapped")
        post.wait(lambda: len(post.requests(run.number)) == len(events), "not all of it arrived", 60)

    field.each(one)
    post.judge(relay)
    for number in range(field.runs):
        field.check(set(post.requests(number).values()) <= {1}, f"merchant {number} heard an event twice")


def _falls(swapped: Sequence[tuple[str, int]], subject: str) -> bool:
    numbers = [number for of, number in swapped if of == subject]
    return numbers != sorted(numbers)


@fault(
    "F60",
    "A relay lags behind, wakes up after its lease, is replaced, and publishes again",
    holds="7",
    passes="the place that was confirmed decides: none lost, none delivered twice, no step back",
)
def relay_lags(field: Field) -> None:
    """Who relays is frozen in the middle of it, and its lease is ended; another goes on. Every fifth never wakes. Messages are put in again at the end."""
    post = open_post(field, field.runs)
    for number in range(field.runs):
        post.has_endpoint(number, f"/ok/{number}")
    relays = [post.works("relay"), post.works("relay")]
    deliverer = post.works("deliver")

    def one(run: Run) -> None:
        sleeper, heir = relays[run.number % 2], relays[1 - run.number % 2]
        _signal(heir, signal.SIGSTOP)
        try:
            post.tell(run.number, [f"order:{run.number}-{n % 5}" for n in range(20 * IN_FLIGHT)])
            post.wait(lambda: _relayed(post).get(merchant_of(run.number)[0]), "nobody relays")
        finally:
            _signal(sleeper, signal.SIGSTOP)
            _signal(heir, signal.SIGCONT)
        try:
            before = _relayed(post)
            run.check(post.backlog() > 0, "it was not in the middle of anything")
            post.end_leases()
            run.recovered(post.relayed())
            after = _relayed(post)
        finally:
            _signal(sleeper, signal.SIGKILL if run.number % 5 == 4 else signal.SIGCONT)
        if run.number % 5 == 4:
            sleeper.kill()
            relays[run.number % 2] = post.works("relay")
        time.sleep(0.3)
        awake = _relayed(post)
        back = [
            f"{each}: {before[each]}, {after[each]}, {awake[each]}"
            for each in before
            if not before[each] <= after[each] <= awake[each]
        ]
        run.check(not back, f"a place that was confirmed went back: {back}")

    field.each(one)
    post.judge(deliverer)
    again = post.town.ask("SELECT merchant_id, event_id::text AS id FROM events ORDER BY random() LIMIT 500")
    post.puts(
        [(b"{}", {"message_id": row["id"], "headers": {"kassa-merchant-id": row["merchant_id"]}}, "order.updated") for row in again]
    )
    post.wait(lambda: post.lying() == 0, "what came again was not taken")
    time.sleep(0.5)
    twice = [event_id for event_id, times in Counter(each.webhook_id for each in post.heard()).items() if times > 1]
    field.check(not twice, f"{len(twice)} events were delivered twice")
    post.judge(deliverer)


def _signal(server: Born, number: int) -> None:
    assert server.process is not None
    server.process.send_signal(number)


def _relayed(post: Post) -> dict[str, int]:
    return {row["merchant_id"]: row["relayed"] for row in post.town.ask("SELECT merchant_id, relayed FROM feeds")}
