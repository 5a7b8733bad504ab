"""Another server becomes the database, an older copy does, or its schema changes under load (F38, F43, F45)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
from tests import rig
from tests.crash import clusters, judging
from tests.crash.clusters import Cluster
from tests.crash.crowd import PLENTY, Crowd
from tests.crash.fault import fault
from tests.crash.faults.database import SECRET, bought_since, trouble, wait_for
from tests.crash.field import Field, Run
from tests.crash.history import History
from tests.crash.playing import Town

from kassa import migrate

ASYNC_RUNS = 3
PAUSE_S = 1.0


@fault(
    "F38",
    "The primary is killed and its standby promoted, under load",
    holds="3 4 6",
    passes="synchronous: nothing acknowledged is lost; asynchronous: every loss is listed",
    p95_s=15,
    alone=True,
)
def failover(field: Field) -> None:
    pair = [field.keep(clusters.cluster())]
    pair.append(pair[0].standby(synchronous="on"))
    field.at_end(pair[1].close)
    town = town_on(field, pair)
    servers = [town.born("dev"), town.born("serve")]
    with Crowd(servers, size=10, basket=PLENTY) as crowd:

        def one(run: Run) -> None:
            time.sleep(run.chance.uniform(0.3, 0.8))
            old, new = pair
            old.kill()
            killed = time.monotonic()
            new.promote()
            field.measure("promotion", f"{time.monotonic() - killed:.1f} s")
            run.check(wait_for(lambda: bought_since(crowd.history, killed), 30), "nobody can buy 30 s after the promotion")
            run.recovered(time.monotonic() - killed)
            old.follow(new, synchronous="remote_write" if run.number % 2 else "on")
            pair.reverse()

        field.each(one)
        time.sleep(0.5)
        crowd.go_home()
    trouble(field, crowd)
    field.measure("purchases acknowledged", crowd.bought)
    field.judge(town, servers[0], crowd.history, within_s=60)
    field.each(lambda run: _lose_some(field, run), runs=ASYNC_RUNS)


def _lose_some(field: Field, run: Run) -> None:
    """Without a synchronous standby what it had not yet is lost. Then the provider's book shows each loss."""
    first = field.keep(clusters.cluster())
    second = first.standby()
    field.at_end(second.close)
    town = town_on(field, [first, second])
    server = town.born("dev")
    history, buyers = History(), [field.buyer() for _ in range(12)]
    for buyer in buyers[:6]:
        run.check((said := history.insist([server], buyer.buys())) and said.status == 200, "not bought")
    run.check(wait_for(lambda: _has_all(first, second), 10), "the standby does not follow")
    second.kill()
    for buyer in buyers[6:]:
        run.check((said := history.insist([server], buyer.buys())) and said.status == 200, "not bought")
    server.kill()
    first.kill()
    second.start()
    second.promote()
    server.process = None
    server.start()
    field.rest(server)
    there = {key for key, rows in judging.checkouts_of(server).items() if any(row["status"] == "completed" for row in rows)}
    lost = [buyer for buyer in buyers if buyer.key("checkout") not in there]
    listed = [each for each in judging.breaches(town.dsn, town.sandbox) if "under a key that no payment of ours has" in each]
    run.check(lost, "nothing was lost: the fault did not happen")
    run.check(len(listed) == len(lost), f"{len(lost)} purchases were lost, and these are listed: {listed}")
    field.measure("lost when asynchronous, all listed", f"{len(lost)} of {len(buyers)}")


@fault(
    "F43",
    "The schema is changed under load",
    holds="5",
    passes="no request fails, none waits for it longer than 1 s",
    alone=True,
)
def migration_under_load(field: Field) -> None:
    town = field.town("payment")
    servers = [town.born("dev"), town.born("serve")]
    newer = field.home / "newer"
    shutil.copytree(rig.ROOT / "src" / "kassa", newer / "kassa", ignore=shutil.ignore_patterns("__pycache__"))
    over, pauses = threading.Event(), Pauses(town.dsn)
    watcher = threading.Thread(target=pauses.watch, args=(over,))
    watcher.start()
    head = migrate.revisions()[1]
    with Crowd(servers, size=8, basket=PLENTY) as crowd:

        def one(run: Run) -> None:
            add_revision(newer, run.number, _CHANGES[run.number % len(_CHANGES)].format(n=run.number))
            done_reading = threading.Event()
            reader = threading.Thread(target=_read_for_long, args=(town.dsn, run.chance.uniform(1.5, 2.5), done_reading))
            reader.start()
            began = time.monotonic()
            environment = rig.clean_environment(DATABASE_URL=town.dsn, KASSA_HOME=str(field.home / "migrating"))
            environment["PYTHONPATH"] = f"{newer}:{environment['PYTHONPATH']}"
            done = subprocess.run(
                [sys.executable, "-m", "kassa", "migrate"], env=environment, capture_output=True, text=True, check=False, cwd=newer
            )
            done_reading.set()
            reader.join()
            run.check(done.returncode == 0, f"kassa migrate: {done.stderr[-1500:]}")
            run.recovered(time.monotonic() - began)

        field.each(one)
        crowd.go_home()
    over.set()
    watcher.join()
    field.check(town.ask("SELECT version_num FROM alembic_version") != [{"version_num": head}], "no migration was made")
    broken = {status: times for status, times in crowd.heard.items() if status == 0 or status >= 500}
    field.check(not broken, f"requests that failed, by status: {broken}")
    field.check(pauses.longest_s <= PAUSE_S, f"somebody waited {pauses.longest_s:.2f} s for the migration")
    field.measure("longest wait for a migration", f"{pauses.longest_s:.2f} s")
    field.measure("requests", crowd.heard.total())
    for each in servers:
        field.check(rig.answers(each.ready), "a process of the version before is not ready any more")
    trouble(field, crowd)
    field.judge(town, servers[0], crowd.history)


@fault(
    "F45",
    "The database is restored to what it was ten minutes ago",
    holds="9",
    passes="reconciliation lists every difference, and nothing else",
    alone=True,
)
def restored_to_an_earlier_time(field: Field) -> None:
    cluster = field.keep(clusters.cluster())
    town = field.town("payment", dsn=cluster.fresh(), KASSA_SECRET=SECRET)
    assert town.sandbox is not None
    server, history = town.born("dev"), History()
    kept = [field.buyer() for _ in range(10)]
    for buyer in kept:
        history.insist([server], buyer.buys(signed_in=True))
    field.rest(server)
    cluster.backup(field_backup := cluster.home / "backup")
    later: list[str] = []

    def one(run: Run) -> None:
        """Something that happens after the backup: a purchase, or the return of one that was made before it."""
        if run.number % 4 == 3 and kept:
            buyer = kept.pop()
            said = history.insist([server], buyer.cancels_what_there_is(server))
            later.append("refund_missing_here")
        else:
            said = history.insist([server], field.buyer().buys())
            later.append("missing_here")
        run.check(said is not None and said.status == 200, f"answered {said}")

    field.each(one)
    field.rest(server)
    server.kill()
    cluster.kill()
    shutil.rmtree(cluster.data)
    field_backup.rename(cluster.data)
    cluster.start()
    book = str(town.sandbox.home / "book.db")
    for again in range(2):
        code = town.runs("reconcile", "--provider", "sandbox", "--book", book)
        said = (town.home / "operator" / "output.log").read_text()[-800:]
        field.check(code == 1, f"kassa reconcile ended with {code}: {said}")
        found = sorted(row["kind"] for row in town.ask("SELECT kind FROM cases WHERE kind LIKE 'reconcile_%'"))
        wanted = sorted(f"reconcile_{each}" for each in later)
        field.check(found == wanted, f"time {again + 1}: listed {found}, there are {wanted}")
    field.measure("differences, all listed", len(later))


# ── what they have in common ─────────────────────────────────────────────────────────────────────────────────────────


def town_on(field: Field, pair: list[Cluster]) -> Town:
    """A town whose processes know both addresses of the database, as an operator would write them."""
    name = pair[0].fresh().rpartition("/")[2]
    places = ",".join(f"127.0.0.1:{each.port}" for each in pair)
    both = f"postgresql://{clusters.ACCOUNT}@{places}/{name}"
    return field.town("payment", dsn=f"{both}?target_session_attrs=read-write", DATABASE_URL=both)


class Pauses:
    """How long buyers wait for the lock of a table, looked at often."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.longest_s = 0.0

    def watch(self, over: threading.Event) -> None:
        """Look until it is over."""
        with psycopg.connect(self._dsn, autocommit=True) as line:
            while not over.is_set():
                found = line.execute(_WAITING).fetchone()
                self.longest_s = max(self.longest_s, float(found[0] or 0) if found else 0)
                time.sleep(0.02)


_WAITING = """
    SELECT max(extract(epoch FROM clock_timestamp() - l.waitstart)) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
     WHERE NOT l.granted AND l.locktype = 'relation' AND a.application_name = 'kassa' AND a.datname = current_database()
"""
_CHANGES = (
    'op.execute("ALTER TABLE orders ADD COLUMN note_{n} integer NOT NULL DEFAULT 0")',
    "with op.get_context().autocommit_block():\n"
    '        op.execute("SET lock_timeout = 0")\n'
    '        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_by_{n} ON orders (updated_at, order_id)")',
    'op.execute("ALTER TABLE checkouts ADD CONSTRAINT total_{n} CHECK (total_minor >= 0) NOT VALID")',
    'op.execute("CREATE TABLE about_orders_{n} (merchant_id text, order_id uuid, '
    'FOREIGN KEY (merchant_id, order_id) REFERENCES orders (merchant_id, order_id))")',
    'op.execute("ALTER TABLE payments ADD COLUMN note_{n} text")',
)


def add_revision(package: Path, number: int, change: str) -> None:
    """One more revision at the end of the chain of a copy of the code."""
    versions = package / "kassa" / "migrations" / "versions"
    before = migrate.revisions()[1] if number == 0 else f"9{number - 1:03}"
    text = f'from alembic import op\n\nrevision = "9{number:03}"\ndown_revision = "{before}"\n\n\ndef upgrade():\n    {change}\n'
    (versions / f"9{number:03}_more.py").write_text(text)


def _read_for_long(dsn: str, seconds: float, over: threading.Event) -> None:
    """Somebody's reports, one after another: each has read the tables that are to be changed, and is not over for a while."""
    with psycopg.connect(dsn) as line:
        while not over.is_set():
            for table in ("orders", "checkouts", "payments"):
                line.execute(f"SELECT count(*) FROM {table}")  # type: ignore[arg-type]
            over.wait(seconds)
            line.rollback()
            time.sleep(0.4)


def _has_all(primary: Cluster, standby: Cluster) -> bool:
    """Whether the standby has everything that the primary wrote."""
    written = primary.ask("SELECT pg_current_wal_lsn()::text AS place")[0]["place"]
    return bool(standby.ask("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn AS yes", written)[0]["yes"])
