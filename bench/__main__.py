"""`python -m bench`: print the speed table of this machine."""

from __future__ import annotations

import argparse
import json
import sys

from bench import rows
from bench.report import Row, head, table
from bench.town import town


def main() -> int:
    """Measure, print, and say by the exit code whether every correctness check held (1 when one did not)."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.add_argument("--pairs", type=int, default=5, help="how often the two sides are measured in turn (default 5)")
    parser.add_argument("--seconds", type=int, default=6, help="how long each measurement takes (default 6)")
    parser.add_argument("--row", type=int, action="append", choices=list(rows.ROWS), help="measure this row only")
    given = parser.parse_args()
    measured: list[Row] = []
    with town() as place:
        machine = head(place)
        for number, measure in rows.ROWS.items():
            if given.row and number not in given.row:
                continue
            say(f"row {number}: {measure.__doc__.splitlines()[0] if measure.__doc__ else ''}")
            measured.append(measure(place, given.pairs, given.seconds, say))
    if given.json:
        print(json.dumps({"machine": machine, "rows": [row.as_json() for row in measured]}, indent=2))
    else:
        print(table(machine, measured))
    return 0 if all(row.correct for row in measured) else 1


def say(text: str) -> None:
    """Progress goes to standard error, so that the table stays clean."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
