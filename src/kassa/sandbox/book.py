"""The sandbox's own book: one SQLite file, written before any answer leaves, so that `kill -9` loses nothing told.

One thread owns the connection; the event loop never waits for the disk. Several processes may open the same file: every
change is one immediate transaction. Times are microseconds since 1970 in the file, RFC 3339 in answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from kassa.sandbox import exact
from kassa.sandbox.demo import Product
from kassa.sandbox.model import Call, Tx

P = ParamSpec("P")
T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (service TEXT, act TEXT, key TEXT, asked TEXT NOT NULL, status INTEGER NOT NULL,
  body BLOB NOT NULL, ready_us INTEGER NOT NULL, PRIMARY KEY (service, act, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bookings (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, service TEXT NOT NULL,
  key TEXT, ref TEXT NOT NULL, of_ref TEXT, amount TEXT, facts TEXT NOT NULL, booked_us INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS bookings_by_ref ON bookings (kind, service, ref);
CREATE INDEX IF NOT EXISTS bookings_by_of ON bookings (kind, service, of_ref);
CREATE TABLE IF NOT EXISTS products (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL, image TEXT, first_price TEXT NOT NULL, first_stock INTEGER, price TEXT NOT NULL,
  product_stock INTEGER, inventory_stock INTEGER);
CREATE TABLE IF NOT EXISTS links (token TEXT PRIMARY KEY, payment_id TEXT NOT NULL UNIQUE, facts TEXT NOT NULL,
  state TEXT NOT NULL, made_us INTEGER NOT NULL, decided_us INTEGER);
CREATE TABLE IF NOT EXISTS webhooks (id INTEGER PRIMARY KEY AUTOINCREMENT, payment_id TEXT NOT NULL,
  status TEXT NOT NULL, attempts INTEGER NOT NULL, next_us INTEGER NOT NULL, told_us INTEGER, last TEXT);
CREATE INDEX IF NOT EXISTS webhooks_due ON webhooks (next_us) WHERE told_us IS NULL;
CREATE TABLE IF NOT EXISTS scripts (id INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, act TEXT,
  is_default INTEGER NOT NULL, left_times INTEGER, until_us INTEGER, script TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY AUTOINCREMENT, at_us INTEGER NOT NULL, service TEXT NOT NULL,
  act TEXT, method TEXT NOT NULL, path TEXT NOT NULL, key TEXT, request_id TEXT, behaviour TEXT,
  answered TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS payme_attempts (place INTEGER PRIMARY KEY AUTOINCREMENT, payme_id TEXT NOT NULL UNIQUE,
  order_id TEXT NOT NULL, amount INTEGER NOT NULL, account TEXT NOT NULL, time_ms INTEGER NOT NULL, state TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS payme_attempts_by_order ON payme_attempts (order_id, place);
CREATE TABLE IF NOT EXISTS payme_calls (id INTEGER PRIMARY KEY AUTOINCREMENT, order_id TEXT NOT NULL,
  payme_id TEXT NOT NULL, method TEXT NOT NULL, answer TEXT NOT NULL, note TEXT NOT NULL, took_ms INTEGER NOT NULL,
  sent_us INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS payme_calls_by_order ON payme_calls (order_id, id);
CREATE TABLE IF NOT EXISTS payme_receipts (place INTEGER PRIMARY KEY AUTOINCREMENT, receipt_id TEXT NOT NULL UNIQUE,
  amount INTEGER NOT NULL, account TEXT NOT NULL, state INTEGER NOT NULL, made_ms INTEGER NOT NULL,
  paid_ms INTEGER NOT NULL DEFAULT 0, cancelled_ms INTEGER NOT NULL DEFAULT 0, card TEXT);
CREATE TABLE IF NOT EXISTS payme_cards (token TEXT PRIMARY KEY, card TEXT NOT NULL, verified INTEGER NOT NULL DEFAULT 0);
"""


class Book:
    """The open book. Made once per process; `close` gives the file and the thread back."""

    def __init__(self, path: Path | str, products: Sequence[Product]) -> None:
        self._path = Path(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sandbox-book")
        try:
            self._connection = self._thread.submit(_open, self._path, products).result()
        except BaseException:
            self._thread.shutdown()
            raise

    async def change(self, act: Callable[..., T], *values: Any) -> T:
        """Run `act(tx, *values)` as one transaction, committed when this returns. Not undone when the caller goes."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._in_transaction, act, values)

    def close(self) -> None:
        """Give everything back. A second time does nothing."""
        with contextlib.suppress(RuntimeError):
            self._thread.submit(self._connection.close).result()
        self._thread.shutdown()

    def _in_transaction(self, act: Callable[..., T], values: tuple[Any, ...]) -> T:
        with _transaction(self._connection):
            return act(self._connection, *values)


def now_us() -> int:
    """The present, in microseconds since 1970."""
    return time.time_ns() // 1000


def moment(us: int | None) -> str | None:
    """Microseconds since 1970 as RFC 3339 in UTC."""
    if us is None:
        return None
    return (_EPOCH + timedelta(microseconds=us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def book(
    tx: Tx,
    call: Call,
    kind: str,
    service: str,
    ref: str,
    *,
    of: str | None = None,
    amount: Decimal | None = None,
    facts: dict[str, Any],
) -> None:
    """Write one line: a charge, a refund, a deduction … It counts from `call.booked_us` on."""
    tx.execute(
        "INSERT INTO bookings (kind, service, key, ref, of_ref, amount, facts, booked_us) VALUES (?,?,?,?,?,?,?,?)",
        (
            kind,
            service,
            call.key,
            ref,
            of,
            None if amount is None else exact.text(amount),
            exact.dumps(facts).decode(),
            call.booked_us,
        ),
    )


def amount_booked(tx: Tx, kind: str, service: str, ref: str, before_us: int | None = None) -> Decimal | None:
    """The amount of this one line, in major units; `None` when there is none, or none yet at `before_us`."""
    row = tx.execute(
        "SELECT amount FROM bookings WHERE kind = ?1 AND service = ?2 AND ref = ?3 AND amount IS NOT NULL"
        " AND (?4 IS NULL OR booked_us <= ?4)",
        (kind, service, ref, before_us),
    ).fetchone()
    return None if row is None else Decimal(row[0])


def refunded(tx: Tx, service: str, of: str) -> Decimal:
    """The sum of all refunds of one charge, those still worked on included, in major units."""
    rows = tx.execute("SELECT amount FROM bookings WHERE kind = 'refund' AND service = ? AND of_ref = ?", (service, of)).fetchall()
    return sum((Decimal(row[0]) for row in rows), Decimal(0))


def log_call(tx: Tx, call: Call, service: str, act: str | None, behaviour: str | None, answered: str) -> int:
    """Note that a call came in and what it is answered. Never its body."""
    found = tx.execute(
        "INSERT INTO calls (at_us, service, act, method, path, key, request_id, behaviour, answered) VALUES (?,?,?,?,?,?,?,?,?)",
        (
            call.now_us,
            service,
            act,
            call.method,
            call.path,
            call.asked_key,
            call.headers.get("x-request-id"),
            behaviour,
            answered,
        ),
    )
    return int(found.lastrowid or 0)


def mark_gone(tx: Tx, call_id: int) -> None:
    """The caller left before the answer."""
    tx.execute("UPDATE calls SET answered = 'gone' WHERE id = ?", (call_id,))


def empty(tx: Tx) -> None:
    """Forget every booking, key, link and call; stock and prices are as at first. Scripts stay."""
    for table in (
        "answers",
        "bookings",
        "links",
        "webhooks",
        "calls",
        "payme_attempts",
        "payme_calls",
        "payme_receipts",
        "payme_cards",
    ):
        tx.execute(f"DELETE FROM {table}")
    tx.execute("UPDATE products SET price = first_price, product_stock = first_stock, inventory_stock = first_stock")


def _open(path: Path, products: Sequence[Product]) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    _into_wal(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    with _transaction(connection):
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, _VERSION}:
            raise ValueError(f"the sandbox's book is of version {version}, not {_VERSION}: put the file away")
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.executemany(
            "INSERT OR IGNORE INTO products"
            " (id, name, image, first_price, first_stock, price, product_stock, inventory_stock)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?4, ?5, ?5)",
            [(one.id, one.name, one.image, exact.text(one.price), one.stock) for one in products],
        )
    return connection


def _into_wal(connection: sqlite3.Connection) -> None:
    # Changing the journal does not wait for other processes as statements do, so it is asked again for a while.
    for _ in range(100):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            time.sleep(0.05)
        else:
            return
    connection.execute("PRAGMA journal_mode = WAL")


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
