"""`python -m bench`: print the speed table of this machine, and keep it in `bench/results`."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import page, rows
from bench.report import Row, head, table
from bench.town import town

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Measure, print, and say by the exit code whether every correctness check held (1 when one did not)."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.add_argument("--pairs", type=int, default=5, help="how often the two sides are measured in turn (default 5)")
    parser.add_argument("--seconds", type=int, default=6, help="how long each measurement takes (default 6)")
    parser.add_argument("--rows", default="", help="measure these rows only: 1,7")
    parser.add_argument("--record", action="store_true", help="write docs/bench.json, docs/bench.md and docs/bench.svg too")
    given = parser.parse_args()
    wanted = [int(number) for number in given.rows.split(",") if number] or list(rows.ROWS)
    if unknown := sorted(set(wanted) - set(rows.ROWS)):
        parser.error(f"there is no row {unknown[0]}; there are {', '.join(map(str, rows.ROWS))}")
    measured: list[Row] = []
    with town() as place:
        machine = head(place)
        for number in sorted(set(wanted)):
            measure = rows.ROWS[number]
            say(f"row {number}: {measure.__doc__.splitlines()[0] if measure.__doc__ else ''}")
            made = measure(place, given.pairs, given.seconds, say)
            measured += [made] if isinstance(made, Row) else made
    now = datetime.now(UTC)
    found = {"at": f"{now:%Y-%m-%d}", "machine": machine, "rows": [row.as_json() for row in measured]}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{now:%Y-%m-%dT%H%M%S}.json").write_text(json.dumps(found, indent=2) + "\n")
    if given.record:
        page.record(found)
    print(json.dumps(found, indent=2) if given.json else table(machine, measured))
    return 0 if all(row.correct for row in measured) else 1


def say(text: str) -> None:
    """Progress goes to standard error, so that the table stays clean."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
