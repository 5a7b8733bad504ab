"""What was found across merchants is written one merchant at a time: so it works where the tables are spread by merchant."""

from __future__ import annotations

from collections.abc import Iterable

from kassa.kit.database import Row


def by_merchant(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by their `merchant_id`, in the order in which each merchant was first found."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["merchant_id"], []).append(row)
    return found
