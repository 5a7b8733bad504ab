"""An hour of chance: a city, buyers and merchants, and every few seconds something fails that a seed has chosen.

One round is a minute of trouble, then everything is healed and must come to rest, then it is judged like any fault. The same seed does the same
things in the same order; what the processes make of it is theirs. Beside it a soak: no trouble at all, for hours, and nothing may grow.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests import rig

from .city import City, open_city
from .clusters import cluster as open_cluster
from .crowd import Crowd
from .fault import Fault, Result
from .field import Field
from .nursery import Nursery
from .proxy import Weather

ROUND_S = 45.0
HEALED_WITHIN_S = 60.0
BUYERS = 14
Trouble = Callable[[City, random.Random], str]


# ── what may happen ──────────────────────────────────────────────────────────────────────────────────────────────────


def kill_one(city: City, chance: random.Random) -> str:
    """`kill -9`, and a new start a moment later."""
    one = city.someone(chance)
    one.kill()
    time.sleep(chance.uniform(0, 2))
    one.start()
    return f"killed {one.home.name}"


def restart_one(city: City, chance: random.Random) -> str:
    """SIGTERM, as a deployment does."""
    one = city.someone(chance)
    one.stop(40)
    one.start()
    return f"restarted {one.home.name}"


def freeze_one(city: City, chance: random.Random) -> str:
    """Frozen for longer than its lease, or for less."""
    one, seconds = city.someone(chance), chance.uniform(0.2, 6)
    one.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    time.sleep(seconds)
    one.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
    return f"froze {one.home.name} for {seconds:.1f} s"


def cut_a_line(city: City, chance: random.Random) -> str:
    """Every connection of one line is reset."""
    name = chance.choice(sorted(city.proxies))
    return f"cut {city.proxies[name].cut()} connections to {name}"


def spoil_a_line(city: City, chance: random.Random) -> str:
    """One line is slow, or swallows everything, or resets connections, for a few seconds."""
    name = chance.choice(sorted(city.proxies))
    weather, said = chance.choice(
        (
            (Weather(delay_s=0.05, jitter_s=0.1), "slow"),
            (Weather(hold_up=True), "swallows questions"),
            (Weather(hold_down=True), "swallows answers"),
            (Weather(reset_down_after=chance.randrange(1, 4000)), "resets answers"),
            (Weather(refuse=True), "refuses"),
        )
    )
    city.proxies[name].weather = weather
    seconds = chance.uniform(0.5, 5)
    time.sleep(seconds)
    city.proxies[name].clear()
    return f"{name} {said} for {seconds:.1f} s"


def end_backends(city: City, chance: random.Random) -> str:
    """A few connections are ended by the database's administrator."""
    ended = city.cluster.ask(
        """SELECT count(pg_terminate_backend(pid))::int AS n FROM (
               SELECT pid FROM pg_stat_activity WHERE application_name = 'kassa' ORDER BY md5(pid::text || $1::text) LIMIT 3) AS few""",
        str(chance.random()),
    )
    return f"ended {ended[0]['n']} backends"


def kill_the_database(city: City, chance: random.Random) -> str:
    """The postmaster dies, and is started again."""
    city.cluster.kill()
    time.sleep(chance.uniform(0, 2))
    city.cluster.start()
    return "killed the database"


def freeze_the_database(city: City, chance: random.Random) -> str:
    """Nothing of it moves."""
    seconds = chance.uniform(0.5, 4)
    city.cluster.freeze()
    time.sleep(seconds)
    city.cluster.thaw()
    return f"froze the database for {seconds:.1f} s"


def lose_the_cache(city: City, chance: random.Random) -> str:
    """Redis dies; it comes back empty."""
    city.redis.kill()
    time.sleep(chance.uniform(0, 3))
    city.redis.start()
    return "killed Redis"


def kill_the_broker(city: City, _chance: random.Random) -> str:
    """RabbitMQ dies, and needs its time to come back."""
    city.rabbit.kill()
    city.rabbit.start()
    return "killed the broker"


def a_bad_neighbour(city: City, chance: random.Random) -> str:
    """The next calls to one neighbour meet something."""
    assert city.town.sandbox is not None
    service, act = chance.choice(
        (("payment", "process"), ("payment", "refund"), ("inventory", "deduct"), ("order", "create"), ("link", None))
    )
    behaviour = chance.choice(("error", "cut", "book_then_500", "book_then_cut", "book_then_timeout", "garbage", "late", "down"))
    times = chance.randrange(1, 6)
    city.town.sandbox.script(service, act, behaviour, times=times, seconds=chance.uniform(0.2, 3))
    return f"{service} {behaviour} {times} times"


TROUBLES: tuple[tuple[Trouble, int], ...] = (
    (kill_one, 8),
    (restart_one, 3),
    (freeze_one, 6),
    (cut_a_line, 6),
    (spoil_a_line, 8),
    (end_backends, 6),
    (kill_the_database, 1),
    (freeze_the_database, 1),
    (lose_the_cache, 1),
    (kill_the_broker, 1),
    (a_bad_neighbour, 8),
)
"""What may happen, and how often beside the others."""


# ── rounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Round:
    """One round: what happened when, and what was found wrong at its end."""

    number: int
    happened: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    bought: int = 0
    healed_s: float = 0.0


def play_hours(hours: float, seed: int, nursery: Nursery, database: rig.DatabaseServer, say: Callable[[str], None]) -> Result:
    """Rounds until the time is over; each is told as it ends."""

    def rounds(field_: Field) -> None:
        cluster = field_.keep(open_cluster())
        rabbit, redis = field_.rabbit(), field_.redis()
        until, number = time.monotonic() + hours * 3600, 0
        counted: Counter[str] = Counter()
        bought = 0
        while time.monotonic() < until:
            number += 1
            round_ = _round(field_, open_city(field_, cluster, rabbit, redis), number, seed)
            counted.update(each.split(" ", 2)[1] for each in round_.happened)
            bought += round_.bought
            field_.result.runs += 1
            field_.result.recovered_s.append(round_.healed_s)
            field_.result.wrong += [f"round {number} of seed {seed}: {each}" for each in round_.wrong]
            say(
                f"  {'✗' if round_.wrong else '✓'} round {number}: {len(round_.happened)} troubles, {round_.bought} purchases, "
                f"at rest after {round_.healed_s:.1f} s, {len(round_.wrong)} violations"
            )
            for each in round_.wrong[:5]:
                say("      " + each[:1000].replace("\n", "\n      "))
            if round_.wrong:
                say("      what happened: " + "; ".join(round_.happened))
        field_.measure("troubles", sum(counted.values()))
        field_.measure("purchases", bought)

    return _as_fault("chance", rounds, seed, nursery, database)


def _round(field_: Field, city: City, number: int, seed: int) -> Round:
    round_, chance = Round(number), random.Random(f"{seed}:{number}")
    crowd = Crowd(city.apis, size=BUYERS, patience_s=ROUND_S + HEALED_WITHIN_S, mixed=True, rpc=city.rpc[0])
    began = time.monotonic()
    with crowd:
        while time.monotonic() - began < ROUND_S:
            trouble = chance.choices([each for each, _ in TROUBLES], [often for _, often in TROUBLES])[0]
            at = time.monotonic() - began
            round_.happened.append(f"{at:.1f}s {trouble(city, chance)}")
            time.sleep(chance.uniform(0, 2))
        assert city.town.sandbox is not None
        city.town.sandbox.desk("DELETE", "/scripts")
        city.revive()
        healed = time.monotonic()
        crowd.go_home()
    before = len(field_.result.wrong)
    round_.bought = crowd.bought
    field_.judge(city.town, city.api, crowd.history, within_s=HEALED_WITHIN_S)
    round_.healed_s = time.monotonic() - healed
    round_.wrong = [*field_.result.wrong[before:], *(each for each in crowd.trouble if "no answer" in each or "not paid" in each)]
    del field_.result.wrong[before:]
    city.town.close()
    for proxy in city.proxies.values():
        proxy.cut()
    return round_


def _as_fault(name: str, play: Callable[[Field], None], seed: int, nursery: Nursery, database: rig.DatabaseServer) -> Result:
    from .field import play as play_one

    return play_one(Fault(name, play.__doc__ or name, "", "", play, runs=1), 1, seed, nursery, database)


# ── a soak ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SAMPLES_S = 60.0
_SIZES = """
    SELECT relname, pg_total_relation_size(relid)::bigint AS bytes, n_live_tup::bigint AS live, n_dead_tup::bigint AS dead FROM pg_stat_user_tables
"""


@dataclass(frozen=True)
class Sample:
    """What was measured at one moment: seconds since the beginning, purchases, MB of each process, dead rows by table."""

    at_s: float
    bought: int
    memory_mb: dict[str, float]
    dead: dict[str, int]
    live: dict[str, int]


def slope(points: list[tuple[float, float]]) -> float:
    """The slope of a line through points, by least squares; 0 for fewer than two."""
    if len(points) < 2:
        return 0.0
    middle_x, middle_y = sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def soak(hours: float, seed: int, nursery: Nursery, database: rig.DatabaseServer, say: Callable[[str], None]) -> Result:
    """Buy for hours without trouble. Memory of each process may grow by 2 MB an hour after its first tenth, dead rows not beyond a fifth of a table."""

    def buy(field_: Field) -> None:
        cluster = field_.keep(open_cluster())
        city = open_city(field_, cluster, field_.rabbit(), field_.redis())
        samples: list[Sample] = []
        crowd = Crowd(city.apis, size=7, pause_s=0.5, mixed=True, rpc=city.rpc[0])
        began, stop = time.monotonic(), threading.Event()
        with crowd:
            while time.monotonic() - began < hours * 3600:
                stop.wait(min(SAMPLES_S, hours * 360))
                samples.append(_sample(city, crowd, time.monotonic() - began))
                say(_line_of(samples[-1]))
            crowd.go_home()
        field_.result.runs = crowd.bought
        for name in samples[-1].memory_mb:
            points = [(each.at_s / 3600, each.memory_mb[name]) for each in samples if each.at_s > hours * 360]
            field_.measure(f"{name} MB an hour", f"{slope(points):+.2f}")
            field_.check(slope(points) <= 2 or hours < 1, f"{name} grows by {slope(points):.1f} MB an hour")
        for table, dead in samples[-1].dead.items():
            field_.check(
                dead <= max(20_000, samples[-1].live[table] / 5), f"{table} has {dead} dead rows of {samples[-1].live[table]}"
            )
        field_.judge(city.town, city.api, within_s=HEALED_WITHIN_S)

    return _as_fault("soak", buy, seed, nursery, database)


def _sample(city: City, crowd: Crowd, at_s: float) -> Sample:
    import psutil  # type: ignore[import-untyped]

    rows: list[dict[str, Any]] = city.api.sql(_SIZES)
    memory = {each.home.name: psutil.Process(each.pid).memory_info().rss / 2**20 for each in city.everybody}
    crowd.forget()
    return Sample(
        at_s, crowd.bought, memory, {row["relname"]: row["dead"] for row in rows}, {row["relname"]: row["live"] for row in rows}
    )


def _line_of(sample: Sample) -> str:
    memory = ", ".join(f"{name} {megabytes:.0f} MB" for name, megabytes in sample.memory_mb.items())
    return f"  {sample.at_s / 60:6.1f} min  {sample.bought:>8} purchases  {memory}  {sum(sample.dead.values()):>8} dead rows"
