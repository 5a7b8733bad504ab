"""Print into the documents what the code knows better: state diagrams, acts, retry plans, the clockwork.

A document marks the place with `<!-- printed: moves payment opened paid -->` and `<!-- end -->`; what stands between is replaced.
Run it after changing a table: `.venv/bin/python scripts/diagrams.py`. With `--check` nothing is written, and a stale document is
named with exit code 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from kassa.checkout import model as checkout_model
from kassa.checkout import saga, settle, undo
from kassa.checkout.rules import Rules
from kassa.kit.moves import Moves
from kassa.notices import model as notice_model
from kassa.orders import model as order_model
from kassa.payments import model as payment_model
from kassa.payments import refund, resolve
from kassa.workers.clockwork import CLOCKWORK

ROOT = Path(__file__).resolve().parent.parent
_PLACE = re.compile(r"(<!-- printed: ([a-z]+)((?: [a-z_]+)*) -->\n).*?(<!-- end -->)", re.DOTALL)
_LABEL_SAYS_NOTHING = re.compile(r"--> (\w+): \1$")
_MOVES = {"checkout": checkout_model.MOVES, "order": order_model.MOVES, "payment": payment_model.MOVES}


def renewed(text: str) -> str:
    """`text` with every marked place printed anew."""
    return _PLACE.sub(lambda found: f"{found[1]}{_PRINTERS[found[2]](*found[3].split())}\n{found[4]}", text)


def documents() -> list[Path]:
    """Every document of the project."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def moves(name: str, *statuses: str) -> str:
    """The state machine `name` as a Mermaid diagram; with `statuses`, only the moves between these."""
    table = _MOVES[name]
    part = _part(table, statuses) if statuses else table
    lines = [_LABEL_SAYS_NOTHING.sub(r"--> \1", line) for line in part.diagram().splitlines()]
    if statuses and table.start not in statuses:
        lines = [line for line in lines if not line.startswith("    [*]")]
    left = {status for status, _ in table.table}
    lines += [f"    {status} --> [*]" for status in sorted(part.statuses() - left)]
    return "\n".join(["```mermaid", *lines, "```"])


def _part(table: Moves, statuses: Sequence[str]) -> Moves:
    unknown = set(statuses) - table.statuses()
    if unknown:
        raise ValueError(f"no such status: {', '.join(sorted(unknown))}")
    inside = {pair: after for pair, after in table.table.items() if pair[0] in statuses and after in statuses}
    return Moves(table.start if table.start in statuses else statuses[0], inside)


def acts() -> str:
    """Which acts a checkout has, for each set of neighbours that changes them."""
    rows = [
        ("checkout", "none", Rules()),
        ("checkout", "inventory and order service", Rules(inventory_service=True, order_service=True)),
        ("checkout", "product service", Rules(product_service=True)),
        ("orders", "none", Rules()),
        ("orders", "product service", Rules(product_service=True)),
    ]
    told = [
        (surface, there, " → ".join(f"`{act}`" for act in rules.acts(surface, ["a", "b"], pays_first=True)))
        for surface, there, rules in rows
    ]
    return _table(("contract", "neighbours that count", "acts, in order"), told)


def plans() -> str:
    """Every plan of waiting and trying again."""
    rows = [
        ("A payment whose charge was not answered is asked about", [*resolve.ASK_AFTER_S, f"then every {_time(resolve.HOURLY_S)}"],
         f"{_time(resolve.PARK_AFTER)}, or {resolve.UNANSWERABLE_LIMIT} questions that cannot be answered: parked"),
        ("A payment that the provider says it never saw", [f"believed {_time(resolve.SETTLING_S)} after the last sending"],
         "declined, `payment_not_executed`"),
        ("A payment given up as never executed is looked at once more", resolve.LATE_LOOKS_S, "nothing more is asked"),
        ("A refund without an answer, of a card", [*refund.CARD.first_s, f"every {_time(refund.CARD.then_s)}",
                                                   f"after {_time(refund.CARD.slow_after)} every {_time(refund.CARD.slowly_s)}"],
         f"{_time(refund.CARD.park_after)}: parked, and tried on"),
        ("A refund without an answer, of a link", [*refund.LINK.first_s, f"every {_time(refund.LINK.then_s)}"],
         f"{_time(refund.LINK.park_after)}: parked, and tried on"),
        ("An act at an inventory or order service without an answer", saga.SERVICE_AGAIN_S,
         f"{_time(saga.SERVICE_GIVE_UP_S)}: the act is stuck, the money goes back, a case is opened"),
        ("A line's stock at a product service without an answer", saga.TAKE_AGAIN_S, "the checkout is parked, a case is opened"),
        ("An undo without an answer", [*undo.AGAIN_S, f"every {_time(undo.MINUTELY_S)}",
                                       f"after {_time(undo.SLOW_AFTER_S)} every {_time(undo.SLOWLY_S)}"],
         f"{_time(undo.PARK_AFTER_S)}: a case is opened, and it is tried on"),
        ("A payment link that did not come", [*settle.LINK_AGAIN_S, f"every {_time(settle.LINK_MINUTELY_S)}"],
         "the checkout's deadline: the order is cancelled"),
        ("A notice that the notification service did not take", [*notice_model.AGAIN_S, f"every {_time(notice_model.HOURLY_S)}"],
         f"{_time(notice_model.GIVE_UP_AFTER_S)}: dead"),
    ]  # fmt: skip
    told = [(what, ", ".join(_time(step) if isinstance(step, int) else step for step in steps), end) for what, steps, end in rows]
    return _table(("what", "again after", "until"), told)


def clockwork() -> str:
    """What the workers do, and how often."""
    rows = [(f"`{tick.name}`", f"{tick.every_s:g} s", f"`{tick.act.__module__}`") for tick in CLOCKWORK]
    return _table(("worker", "every", "its act stands in"), rows)


def _time(length: float | timedelta) -> str:
    seconds = int(length.total_seconds() if isinstance(length, timedelta) else length)
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds and seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_PRINTERS: dict[str, Callable[..., str]] = {"moves": moves, "acts": acts, "plans": plans, "clockwork": clockwork}


def main() -> int:
    """Renew every document, or name those that are stale."""
    stale = [path for path in documents() if renewed(path.read_text()) != path.read_text()]
    for path in stale:
        if "--check" in sys.argv[1:]:
            print(f"{path.relative_to(ROOT)} is stale: run scripts/diagrams.py")
        else:
            path.write_text(renewed(path.read_text()))
            print(f"{path.relative_to(ROOT)} renewed")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
