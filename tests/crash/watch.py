"""A watch inside the database: which process took which lease when, and who wrote what meanwhile.

`put_watch` adds triggers to a town's tables. A process is known by the name that stands in its address of the database (`known_as`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .playing import Town

WATCHED = {"checkouts": "checkout_id", "refunds": "refund_id", "deliveries": "delivery_id", "feeds": "merchant_id"}
_TABLE = """
    CREATE TABLE watched (number bigint GENERATED ALWAYS AS IDENTITY, what text, id text, who text, at timestamptz, before int, after int,
                          live boolean, status_before text, status text)
"""
_ACT = """
    CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE old_row jsonb; new_row jsonb := to_jsonb(NEW);
    BEGIN
        IF TG_OP = 'UPDATE' THEN old_row := to_jsonb(OLD); END IF;
        INSERT INTO watched (what, id, who, at, before, after, live, status_before, status)
        VALUES (TG_TABLE_NAME, new_row->>TG_ARGV[0], coalesce(current_setting('kassa.who', true), ''), clock_timestamp(),
                (old_row->>'lease_version')::int, (new_row->>'lease_version')::int,
                coalesce((old_row->>'lease_until')::timestamptz >= now(), false), old_row->>'status', new_row->>'status');
        RETURN NULL;
    END $$
"""


@dataclass(frozen=True)
class Written:
    """One write: who moved which row, from which version of its lease to which, and whether the old lease still ran."""

    what: str
    id: str
    who: str
    at: Any
    before: int | None
    after: int
    live: bool
    status_before: str | None
    status: str | None

    @property
    def takes(self) -> bool:
        """Whether this write took the lease."""
        return self.before is None or self.after > self.before


def put_watch(town: Town, *what: str) -> None:
    """Watch these tables of a town from now on (all that have leases when none is named)."""
    town.ask(_TABLE)
    town.ask(_ACT)
    for name in what or WATCHED:
        town.ask(f"CREATE TRIGGER watched AFTER INSERT OR UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION watch('{WATCHED[name]}')")


def known_as(town: Town, name: str) -> dict[str, str]:
    """The setting with which a process of this town is known by its name."""
    return {"DATABASE_URL": f"{town.dsn}{'&' if '?' in town.dsn else '?'}kassa.who={name}"}


def written(town: Town) -> list[Written]:
    """All writes so far, in their order."""
    columns = "what, id, who, at, before, after, live, status_before, status"
    return [Written(**row) for row in town.ask(f"SELECT {columns} FROM watched ORDER BY number")]


def taken_early(writes: list[Written]) -> list[str]:
    """Leases that were taken while they still ran, by the database's clock."""
    return [
        f"{each.who} took {each.what} {each.id} from version {each.before} while its lease ran"
        for each in writes
        if each.takes and each.live
    ]


def written_by_losers(writes: list[Written], what: str = "checkouts") -> list[str]:
    """Writes of processes to rows whose lease somebody else has taken since. To clear a lease that is over is nobody's privilege."""
    leaders: dict[str, str] = {}
    wrong = []
    for each in writes:
        clears = each.status_before == "processing" and each.status in {"pending", "retrying"} and not each.live
        if each.what != what or clears:
            continue
        if each.takes:
            leaders[each.id] = each.who
        elif leaders.get(each.id, each.who) != each.who:
            wrong.append(
                f"{each.who} moved {what} {each.id} from {each.status_before} to {each.status}, and {leaders[each.id]} leads it"
            )
    return wrong
