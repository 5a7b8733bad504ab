"""docs/capacity.md says of every table how it grows, and its sums are sums."""

from __future__ import annotations

import re

from tests import rig

PAGE = (rig.ROOT / "docs" / "capacity.md").read_text()
SERVE_MS, POSTGRES_MS, LOG_KB, FOR_EVER_KB = 1.5, 2.5, 29, 9.0
"""Of one purchase, as the page's first table has them."""
BUSY, A_DAY_IN_PEAKS, POOL = 0.6, 12_000, 16


def section(heading: str) -> str:
    """The text below a heading, up to the next one."""
    found: str = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def number(text: str) -> float:
    """The number that a cell begins with."""
    return float(re.match(r"[\d,.]+", text)[0].replace(",", ""))  # type: ignore[index]


def test_every_table_has_its_line(kassa_dsn: str) -> None:
    named = [name for row in rows(section("What grows, and what is cleaned")) for name in re.findall(r"`(\w+)`", row[0])]
    there = {row["name"] for row in rig.query(kassa_dsn, "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'")}
    assert sorted(named) == sorted(there - {"alembic_version"})


def test_what_an_order_takes_adds_up() -> None:
    *tables, whole = rows(section("What an order takes"))
    for name, of_rows, of_indexes, together in tables:
        assert abs(number(of_rows) + number(of_indexes) - number(together)) <= 2, name
    assert abs(sum(number(row[3]) for row in tables) - number(whole[3])) <= len(tables)
    keys = next(number(row[3]) for row in tables if row[0] == "`idempotency_keys`")
    assert round((number(whole[3]) - keys) / 1000, 1) == FOR_EVER_KB


def test_the_machines_follow_from_the_costs() -> None:
    cost = {row[0]: row[1] for row in rows(section("What one purchase costs"))}
    assert [number(cost[each]) for each in ("processor, `kassa serve`", "processor, PostgreSQL", "disk, for ever")] == [
        SERVE_MS,
        POSTGRES_MS,
        FOR_EVER_KB,
    ]
    assert f"to {LOG_KB} kB" in cost["write-ahead log"]
    found = rows(section("From purchases to machines"))
    assert [number(row[0]) for row in found] == [1_000, 10_000, 100_000, 1_000_000, 5_000_000]
    for row in found:
        assert row[1:] == arithmetic(number(row[0])), row[0]


def arithmetic(a_day: float) -> list[str]:
    """A line of the page's table of machines, but for its first cell."""
    peak = a_day / A_DAY_IN_PEAKS
    postgres, serve = (max(0.1, peak * each / 1000 / BUSY) for each in (POSTGRES_MS, SERVE_MS))
    processes = -int(-serve // 1) + 1
    return [
        f"{peak:.1f}", f"{postgres:.1f}", f"{serve:.1f}", f"{processes}", f"{(processes + 2) * POOL}", f"{peak * LOG_KB / 1000:.1f} MB/s",
        f"{a_day * 365 * FOR_EVER_KB / 1e6:,.0f} GB",
    ]  # fmt: skip
