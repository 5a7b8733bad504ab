"""Making a payment slow at will: whoever writes one whose order id begins with `dawdle-<seconds>s` sleeps before it commits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime

from tests.contracts.grpc.callers import Json, a_word, an_order, eventually
from tests.rig import Server


@contextlib.contextmanager
def dawdling(server: Server) -> Iterator[None]:
    """As long as the block lasts, inserting such a payment takes its time, inside its transaction."""
    server.sql(
        """
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_sleep(substring(to_jsonb(NEW)::text FROM 'dawdle-([0-9.]+)s')::float8);
            RETURN NEW;
        END $$
        """
    )
    server.sql(
        """
        CREATE TRIGGER dawdle AFTER INSERT ON payments FOR EACH ROW
        WHEN (to_jsonb(NEW)::text ~ 'dawdle-[0-9]') EXECUTE FUNCTION dawdle()
        """
    )
    try:
        yield
    finally:
        server.sql("DROP TRIGGER dawdle ON payments")
        server.sql("DROP FUNCTION dawdle()")


def a_slow_order(seconds: float) -> Json:
    return an_order(order_id=a_word(f"dawdle-{seconds}s"))


def sleepers(server: Server) -> int:
    """How many sessions sleep in a transaction now."""
    [row] = server.sql("SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")
    return int(row["n"])


def wait_for_sleepers(server: Server, number: int) -> None:
    eventually(lambda: sleepers(server) == number, 10, f"there are not {number} slow payments on their way")


def now(server: Server) -> datetime:
    """The database's clock."""
    [row] = server.sql("SELECT clock_timestamp() AS now")
    found: datetime = row["now"]
    return found


def nothing_is_left_open(server: Server, since: datetime, within: float = 5) -> None:
    """Every transaction that was open at that time has ended."""

    def left() -> int:
        [row] = server.sql(
            """
            SELECT count(*) AS n FROM pg_stat_activity
             WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start <= $1
            """,
            since,
        )
        return int(row["n"])

    eventually(lambda: left() == 0, within, "a transaction was left open")
