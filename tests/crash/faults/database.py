"""The database loses connections, answers, its processes, its time or its disk (F35 to F37, F39 to F41)."""

from __future__ import annotations

import asyncio
import base64
import random
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

import asyncpg
from tests import rig
from tests.crash import clusters
from tests.crash.asking import Said
from tests.crash.commits import CommitProxy
from tests.crash.crowd import Crowd
from tests.crash.fault import fault
from tests.crash.field import Field, Run
from tests.crash.history import History, Op
from tests.crash.playing import LEASE_S

SECRET = base64.b64encode(b"thirty-two bytes that all share.").decode()
SERVICES = ("payment", "inventory", "order")
_TERMINATE = """
    SELECT count(pg_terminate_backend(pid))::int AS n FROM (
        SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'kassa' ORDER BY random() LIMIT 1) AS one
"""


@fault(
    "F35",
    "Backends are terminated at random, five a second",
    holds="1 2 3 4 6 7 8",
    passes="at most 1 % of requests see an error, each safe to repeat",
    runs=100,
    quick=20,
)
def backends_terminated(field: Field) -> None:
    town = field.town("payment", DATABASE_POOL_SIZE=16)
    servers = [town.born("dev"), town.born("serve")]
    with Crowd(servers, size=16) as crowd:

        def one(run: Run) -> None:
            began = time.monotonic()
            run.check(town.ask(_TERMINATE)[0]["n"] == 1, "nobody to terminate")
            time.sleep(max(0.0, 0.2 - (time.monotonic() - began)))

        field.each(one)
        time.sleep(0.5)
        crowd.go_home()
    trouble(field, crowd)
    failed = crowd.heard[0] + crowd.heard[500] + crowd.heard[503]
    field.measure("requests", crowd.heard.total())
    field.measure("saw an error", f"{failed / crowd.heard.total():.2%}")
    surprised = [
        op.said.raw[:200] for op in crowd.history.ops if op.said and op.said.status == 500 and b"committing" not in op.said.raw
    ]
    field.check(not surprised, f"an error that does not say what may be done: {surprised[:3]}")
    field.check(failed <= max(2, crowd.heard.total() / 100), f"{failed} of {crowd.heard.total()} requests saw an error")
    field.judge(town, servers[0], crowd.history)


@fault(
    "F36",
    "PostgreSQL is killed under load",
    holds="1 2 3 4 5 6 7 8",
    passes="what was acknowledged is there; buying goes on by itself",
    p95_s=15,
    alone=True,
)
def postgres_killed(field: Field) -> None:
    cluster = field.keep(clusters.cluster())
    town = field.town(*SERVICES, dsn=cluster.fresh())
    servers = [town.born("dev"), town.born("dev")]
    with Crowd(servers, size=12) as crowd:

        def one(run: Run) -> None:
            time.sleep(run.chance.uniform(0.2, 0.8))
            cluster.kill(only_first=run.number % 2 == 0)
            killed = time.monotonic()
            cluster.start()
            run.check(wait_for(lambda: bought_since(crowd.history, killed), 30), "nobody can buy 30 s after the restart")
            run.recovered(time.monotonic() - killed)

        field.each(one)
        time.sleep(1)
        crowd.go_home()
    trouble(field, crowd)
    field.measure("purchases acknowledged", crowd.bought)
    field.check(crowd.bought > 2 * field.runs, f"only {crowd.bought} purchases: there was no load")
    field.judge(town, servers[0], crowd.history, within_s=60)


@fault(
    "F37",
    "The connection breaks at a commit: before its bytes, or before its answer",
    holds="3 4 6 8",
    passes="read again; no double, nothing lost",
    p95_s=LEASE_S + 5,
    runs=40,
)
def commit_unanswered(field: Field) -> None:
    cluster = field.keep(clusters.cluster())
    town = field.town(*SERVICES, dsn=cluster.fresh())
    rescuer = town.born("dev")
    history, lanes = History(), [_Lane(field.keep(CommitProxy(town.dsn))) for _ in range(4)]
    for lane in lanes:
        town.settings["DATABASE_URL"] = lane.proxy.url
        lane.server = town.born("serve")
        del town.settings["DATABASE_URL"]
    free = list(lanes)
    reached: set[tuple[int, bool]] = set()

    def one(run: Run) -> None:
        lane = free.pop()
        nth, lost = run.number // 2 % 4, run.number % 2 == 0
        try:
            buyer = field.buyer()
            lane.proxy.arm(nth, before=lost)
            began = time.monotonic()
            said = history.insist([lane.server, rescuer], buyer.buys(), 20)
            run.check(said is not None and said.status == 200, f"commit {nth}, lost {lost}: answered {said}")
            run.recovered(time.monotonic() - began)
            run.check(lane.proxy.fired, f"there was no commit {nth} to break")
            reached.add((nth, lost))
        finally:
            free.append(lane)

    field.each(one, at_once=len(lanes))
    field.measure("places", len(reached))
    field.judge(town, rescuer, history)


@fault(
    "F39",
    "A storm of deadlocks on the stock of two hot products",
    holds="1 2 3 4",
    passes="everybody is served in the end, with few repeats",
    runs=100,
)
def deadlock_storm(field: Field) -> None:
    town = field.town("payment", KASSA_LEASE_S=8)
    servers = [town.born("dev"), town.born("serve")]
    history, over = History(), threading.Event()
    refused: list[Said] = []
    storm = [threading.Thread(target=_lock_crosswise, args=(town.dsn, field.seed + number, over)) for number in range(3)]
    for each in storm:
        each.start()
    before = deadlocks(town.dsn)
    began = time.monotonic()

    def one(run: Run) -> None:
        started = time.monotonic()
        basket = [("prod_001", 1), ("prod_002", 1)]
        run.chance.shuffle(basket)
        said = history.insist(servers, field.buyer().buys(*basket), 40)
        # One that waited for longer than its lease has not sent its charge: a clear no.
        refused.extend([said] if said is not None and b"payment_not_executed" in said.raw else [])
        run.check(said is not None and (said.status == 200 or said in refused), f"answered {said}")
        run.recovered(time.monotonic() - started)

    try:
        field.each(one, at_once=12)
    finally:
        over.set()
        for each in storm:
            each.join()
    field.measure("purchases a second", round(field.runs / (time.monotonic() - began), 1))
    field.measure("deadlocks", deadlocks(town.dsn) - before)
    field.measure("questions for each purchase", round(len(history.ops) / field.runs, 2))
    field.measure("told to try again", history.heard[503])
    field.check(history.heard[503] <= 2 * field.runs, f"{history.heard[503]} were told to try again, for {field.runs} purchases")
    field.check(set(history.heard) <= {0, 200, 202, 409, 422, 503}, f"heard {history.heard}")
    field.measure("refused, not charged", len(refused))
    field.check(len(refused) <= field.runs / 20, f"{len(refused)} were refused")
    field.check(deadlocks(town.dsn) > before, "there was no deadlock")
    field.judge(town, servers[0], history)


@fault(
    "F40",
    "The database is frozen: it neither answers nor breaks its connections",
    holds="3 4 5 8",
    passes="told 503 within a second; no pile-up afterwards",
    p95_s=3,
    alone=True,
)
def database_frozen(field: Field) -> None:
    cluster = field.keep(clusters.cluster())
    town = field.town("payment", dsn=cluster.fresh())
    servers = [town.born("dev"), town.born("serve")]
    field.at_end(cluster.thaw)
    answered: list[float] = []
    with Crowd(servers, size=16) as crowd:

        def one(run: Run) -> None:
            time.sleep(run.chance.uniform(0.3, 0.8))
            cluster.freeze()
            frozen = time.monotonic()
            time.sleep(10 if run.number == 0 else 3)
            thawed = time.monotonic()
            cluster.thaw()
            run.check(wait_for(lambda: bought_since(crowd.history, thawed), 20), "nobody can buy 20 s after the thaw")
            run.recovered(time.monotonic() - thawed)
            meanwhile = between(crowd.history.ops, frozen, thawed - 1.2)
            answered.extend((each.ended or time.monotonic()) - each.began for each in meanwhile)
            said = {each.said.status if each.said else 0 for each in meanwhile}
            run.check(said <= {503}, f"somebody who asked while it was frozen was told {said}")
            run.check(len(meanwhile) >= len(crowd.servers), "nobody asked meanwhile")

        field.each(one)
        crowd.go_home()
    if not answered:
        return
    firsts = sorted(answered)[-len(answered) // 20 :]
    field.measure("told within, longest", f"{firsts[-1]:.2f} s")
    field.measure("told within, half of the slowest twentieth", f"{firsts[len(firsts) // 2]:.2f} s")
    field.check(firsts[len(firsts) // 2] <= 1.0 and firsts[-1] <= 2.0, f"who asked was told after {firsts[-1]:.2f} s")
    trouble(field, crowd)
    field.judge(town, servers[0], crowd.history, within_s=60)


@fault(
    "F41",
    "The database's disk is full",
    holds="3 4 6 8",
    passes="writes are refused with 503; all goes on when there is room; no index or table is damaged",
    p95_s=15,
    alone=True,
)
def disk_full(field: Field) -> None:
    if because := clusters.has_rooms():
        field.skip(because)
    cluster = clusters.make(room_mb=256, max_wal_size="64MB", min_wal_size="32MB", wal_keep_size="0", checkpoint_timeout="30s")
    field.at_end(cluster.close)
    cluster.start()
    town = field.town("payment", dsn=cluster.fresh())
    server = town.born("dev")
    with Crowd([server], size=6) as crowd:

        def one(run: Run) -> None:
            time.sleep(run.chance.uniform(0.1, 0.4))
            before = crowd.heard[503]
            cluster.fill(leave_kb=run.chance.choice((0, 0, 64, 512)))
            full = time.monotonic()
            refused = wait_for(lambda: crowd.heard[503] > before, 20)
            cluster.unfill()
            run.check(refused, "nothing was refused while the disk was full")
            if not cluster.alive():
                cluster.start()
            free = time.monotonic()
            run.check(wait_for(lambda: bought_since(crowd.history, free), 30), "nobody can buy 30 s after there is room")
            run.recovered(time.monotonic() - free)
            field.measure("until refused, longest", f"{free - full:.1f} s")

        field.each(one)
        crowd.go_home()
    trouble(field, crowd)
    field.judge(town, server, crowd.history, within_s=60)
    where = ["-h", "127.0.0.1", "-p", str(cluster.port), "-U", clusters.ACCOUNT, "-d", town.dsn.rpartition("/")[2]]
    command = [str(clusters.programs() / "pg_amcheck"), "--install-missing", "--heapallindexed", *where]
    looked = subprocess.run(command, capture_output=True, text=True, check=False)
    field.check(looked.returncode == 0, f"pg_amcheck: {looked.stdout[:1000]}{looked.stderr[:1000]}")


# ── what they have in common ─────────────────────────────────────────────────────────────────────────────────────────


class _Lane:
    """A proxy and the process behind it: one run at a time."""

    def __init__(self, proxy: CommitProxy) -> None:
        self.proxy = proxy
        self.server: rig.Server


def trouble(field: Field, crowd: Crowd) -> None:
    """What buyers were told that they should not have been. A charge that its process did not send is refused: that is a clear no."""
    for each in crowd.trouble:
        field.check("payment_not_executed" in each, each)


def between(ops: Sequence[Op], first: float, last: float) -> list[Op]:
    """Questions that began in this time."""
    return [each for each in list(ops) if first <= each.began <= last]


def bought_since(history: History, moment: float) -> bool:
    """Whether a purchase that was asked for after `moment` was confirmed."""
    asked = [
        op for op in reversed(history.ops) if op.began > moment and (op.ask.method, op.ask.path) == ("POST", "/checkout/process")
    ]
    return any(op.said is not None and op.said.status == 200 for op in asked)


def wait_for(true: Callable[[], bool], within_s: float) -> bool:
    """Wait until it is true; whether it became so."""
    end = time.monotonic() + within_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def deadlocks(dsn: str) -> int:
    """How many there were in this database so far."""
    return int(rig.query(dsn, "SELECT deadlocks::int AS n FROM pg_stat_database WHERE datname = current_database()")[0]["n"])


def _lock_crosswise(dsn: str, seed: int, over: threading.Event) -> None:
    """Somebody else's program, which does not keep our order of locks: it takes the two rows this way and that."""
    chance = random.Random(seed)

    async def go_on() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            while not over.is_set():
                products = ["prod_001", "prod_002"]
                chance.shuffle(products)
                try:
                    async with connection.transaction():
                        for each in products:
                            await connection.execute("SELECT 1 FROM stock_levels WHERE product_id = $1 FOR UPDATE", each)
                            await asyncio.sleep(0.02)
                except asyncpg.DeadlockDetectedError:
                    pass
                await asyncio.sleep(chance.uniform(0.2, 0.6))
        finally:
            await connection.close()

    asyncio.run(go_on())
