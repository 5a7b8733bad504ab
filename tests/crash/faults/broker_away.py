"""The broker is away, silent or short of memory, while people buy (F46, F50, F51)."""

from __future__ import annotations

import queue
import time

from tests import services
from tests.crash.fault import fault
from tests.crash.field import Field, Run
from tests.crash.history import History
from tests.crash.nursery import Born
from tests.crash.post import Post, open_post
from tests.crash.proxy import Proxy, Weather
from tests.crash.steady import Steady

EACH_CALM = 4
"""After so many moments without a broker there is calm, for as many seconds."""
HOUSE = "1"
"""The merchant whose shop the demo is."""


def open_shop(field: Field, url: str) -> tuple[Post, Born]:
    """A shop whose merchant is told of everything through the broker at `url`, by a process of its own; and its API."""
    post = open_post(field, 1, url)
    post.has_endpoint(0, "/ok/0", HOUSE)
    post.works()
    api = post.town.made("serve", post.town.home / "api", **post.rooms)
    api.start()
    assert api.alive(), api.log_text()[-2000:]
    return post, api


def drained(post: Post, within_s: float = 90) -> float:
    """Wait until merchants have heard all that there was until now; the seconds that it took."""
    until = "SELECT count(*)::int AS n FROM deliveries WHERE status NOT IN ('success', 'failed') AND created_at <= '{}'"
    now = post.town.ask("SELECT now()::text AS at")[0]["at"]
    return post.wait(lambda: post.town.ask(until.format(now))[0]["n"] == 0, "the backlog does not end", within_s)


@fault(
    "F46",
    "The broker is away (an hour, told in half a minute, and for moments)",
    holds="7",
    passes="buyers notice nothing: p99 as without it; all is delivered afterwards",
    alone=True,
)
def broker_away(field: Field) -> None:
    """The node is stopped once for long; then it is cut off for a moment again and again, with calm between, under the same steady load."""
    rabbit = field.rabbit()
    proxy = field.proxy(rabbit.url)
    post, api = open_shop(field, proxy.url)
    history = History()
    hour_s = 30 if field.runs >= 20 else 3

    def hour(run: Run) -> None:
        rabbit.stop()
        with crowd.during("the broker is stopped"):
            time.sleep(hour_s)
        behind = post.backlog()
        run.check(behind > hour_s, f"only {behind} events were waiting")
        rabbit.start()
        began = time.monotonic()
        took = drained(post)
        field.measure("events behind, and until none is", f"{behind}, {took:.1f} s, {behind / took:.0f} a second")
        run.recovered(time.monotonic() - began)

    def moment(run: Run) -> None:
        if run.number % EACH_CALM == 1:
            with crowd.during("calm"):
                time.sleep(EACH_CALM)
        proxy.weather = Weather(refuse=True)
        proxy.cut()
        before = post.backlog()
        with crowd.during("the broker is away"):
            time.sleep(1.2)
            run.check(post.backlog() > before, "no event waits for a broker that is away")
        proxy.clear()
        if run.number % EACH_CALM == 0:
            run.recovered(drained(post))
        time.sleep(0.3)

    with Steady(field, api, history) as crowd:
        time.sleep(2)
        field.each(hour, runs=1)
        field.each(moment, runs=field.runs - 1)
        drained(post)
    field.check(not crowd.failed, f"{len(crowd.failed)} purchases failed: {crowd.failed[:3]}")
    crowd.compare("calm", "the broker is away", 1.5)
    field.result.wrong += history.judge(api)
    post.judge(api)


@fault(
    "F50",
    "The link to the broker swallows everything and breaks nothing",
    holds="7",
    passes="a publish fails within 5 s, a new connection is made, none lost",
    p95_s=6.5,
)
def half_open_link(field: Field) -> None:
    """Towns side by side, each with a link of its own to one broker. A recovery is the time until the publish has failed."""
    free: queue.Queue[tuple[Post, Proxy, Born]] = queue.Queue()
    again: list[float] = []
    at_once = min(5, field.runs)
    for _ in range(at_once):
        proxy = field.proxy(services.shared(services.RABBITMQ))
        post = open_post(field, 1, proxy.url)
        free.put((post, proxy, post.works("relay")))

    def one(run: Run) -> None:
        place = free.get()
        try:
            _swallow(run, *place, again)
        finally:
            free.put(place)

    field.each(one, at_once=at_once)
    field.measure("a new connection after, at most", f"{max(again, default=0):.1f} s")
    field.check(again and max(again) <= 12, f"a new connection was made only after {max(again, default=0):.1f} s")
    while not free.empty():
        post, *_ = free.get()
        wrong, twice = post.copies(0, post.taken_out())
        field.result.wrong += wrong
        field.check(twice <= 50 * field.runs, f"{twice} events came twice")


def _swallow(run: Run, post: Post, proxy: Proxy, relay: Born, again: list[float]) -> None:
    post.tell(0, [f"order:{run.number}"])
    post.relayed()
    before, said = proxy.opened, relay.log_text().count(NOT_GIVEN)
    proxy.weather = Weather(hold_up=run.number % 3 != 0, hold_down=run.number % 3 != 1)
    time.sleep(run.chance.random())
    began = time.monotonic()
    post.tell(0, [f"order:{run.number}-{n % 3}" for n in range(20)])
    try:
        post.wait(lambda: relay.log_text().count(NOT_GIVEN) > said, "the publish did not fail", 30)
        run.recovered(time.monotonic() - began)
        post.wait(lambda: proxy.opened > before, "no new connection was made", 30)
        again.append(time.monotonic() - began)
        run.check(post.backlog() > 0, "events were marked as given to a broker that could not answer")
    finally:
        proxy.clear()
    post.relayed(30)


NOT_GIVEN = "not confirmed"
ALARM = """
    spawn(fun() -> [begin vm_memory_monitor:set_vm_memory_high_watermark(0.0001), timer:sleep({on}),
                          vm_memory_monitor:set_vm_memory_high_watermark({{absolute, "256MB"}}), timer:sleep({off}) end
                    || _ <- lists:seq(1, {times})] end).
"""


@fault(
    "F51",
    "The broker has a memory alarm and stops reading from whoever publishes",
    holds="7",
    passes="buyers notice nothing; all is delivered afterwards",
)
def memory_alarm(field: Field) -> None:
    """The alarm comes and goes again and again while people buy."""
    rabbit = field.rabbit()
    post, api = open_shop(field, rabbit.url)
    history, on_s, off_s = History(), 1.5, 0.7
    with Steady(field, api, history) as crowd:
        with crowd.during("calm"):
            time.sleep(6)
        rabbit.ctl("eval", ALARM.format(on=int(on_s * 1000), off=int(off_s * 1000), times=field.runs))
        crowd.phase = "alarms"

        def one(run: Run) -> None:
            post.wait(lambda: rabbit.log_text().count("alarm set") > run.number, "there was no alarm", 30)
            behind = post.backlog()
            time.sleep(on_s / 2)
            run.check(
                post.backlog() >= behind or rabbit.log_text().count("alarm cleared") > run.number,
                "a blocked broker was given events",
            )

        field.each(one)
        post.wait(lambda: rabbit.log_text().count("alarm cleared") >= field.runs, "the alarm does not end", 30)
        crowd.phase = "between"
        drained(post)
    field.check(not crowd.failed, f"{len(crowd.failed)} purchases failed: {crowd.failed[:3]}")
    crowd.compare("calm", "alarms", 2.0, (0.5, 0.95))
    field.result.wrong += history.judge(api)
    post.judge(api)
