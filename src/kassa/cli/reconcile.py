"""`kassa reconcile`: a provider's statement against our books."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli.act import ACTING, Why, hand_of, inside, moment, reader, sheet, sum_text, the_merchant, time_of
from kassa.cli.show import AsJson, CommandError, progress, say_json
from kassa.settings import Settings

if TYPE_CHECKING:
    from kassa.kit.context import Context
    from kassa.reconcile import Difference, Report, Row, Wish
    from kassa.reconcile.run import Tell

_SANDBOX = "sandbox"
_PRINTED = 50
"""Differences that people are shown; the others are in the list of cases."""


def reconcile(
    provider: Annotated[
        str, typer.Option(help="Whose statement it is: a provider that payments are routed to, an alias, or card.")
    ],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The statement as CSV; with --book, the sandbox's file.")
    ] = None,
    book: Annotated[
        bool, typer.Option("--book", help="Compare with the sandbox's own book.  [FILE default: sandbox.db in KASSA_HOME]")
    ] = False,
    merchant: Annotated[str | None, typer.Option(help="Look at this merchant's payments only.")] = None,
    since: Annotated[
        str | None, typer.Option(help="The statement begins here: a day or a time (UTC).  [default: its first day]")
    ] = None,
    until: Annotated[str | None, typer.Option(help="It ends with this day, or at this time.  [default: its last day]")] = None,
    at_rest: Annotated[
        bool,
        typer.Option("--at-rest", help="After a restore, while no process runs: judge payments whose end is open here, too."),
    ] = False,
    why: Why = None,
    as_json: AsJson = False,
) -> None:
    """Compare a provider's statement with our payments and refunds, and keep every difference as a case.

    Exit code 0 when there is no difference, 1 when there is. Nothing is changed but the list of cases: a case is closed by a
    person, or by a later run that does not find the difference any more. Running it again adds nothing. Payments that are still
    moving are not judged.

    The CSV names its columns in the first line: `payment_id` (or `provider_key`, or `provider_ref`), `kind` (charge or refund),
    `refund_id` (optional), `amount` in major units, `currency`, `occurred_at`.

    ```sh
    kassa reconcile --provider stripe statement.csv
    kassa reconcile --provider stripe november.csv --since 2026-11-01 --until 2026-11-30
    kassa reconcile --provider sandbox --book
    ```
    """
    if book != (provider == _SANDBOX):
        raise CommandError("--book and --provider sandbox belong together")
    if file is None and not book:
        raise CommandError("FILE is missing: the provider's statement as CSV")
    place = file or Settings.load(True, need=("DATABASE_URL",)).kassa_home / "sandbox.db"
    if not place.is_file():
        raise CommandError(f"{place} is not a file")
    begins, ends = time_of(since, "--since", whole_day=False), time_of(until, "--until", whole_day=True)
    if begins is not None and ends is not None and begins >= ends:
        raise CommandError("--since is not before --until")

    async def work(ctx: Context) -> Report:
        from kassa.reconcile import Wish, read_csv
        from kassa.reconcile import reconcile as compare

        if merchant is not None:
            await the_merchant(ctx, merchant)
        if book:
            rows, wish = _of_book(place, merchant, begins)
        else:
            rows, wish = read_csv(place), Wish(provider, frozenset({provider}), merchant, begins, ends)
        with _told() as tell:
            return await compare(ctx, replace(wish, hand=hand_of(ctx, why), at_rest=at_rest), rows, tell)

    report = inside(work, need=ACTING)
    if as_json:
        say_json(_summary(report))
    else:
        _show(report)
    raise typer.Exit(1 if report.open_differences else 0)


def _of_book(path: Path, merchant: str | None, since: datetime | None) -> tuple[Iterable[Row], Wish]:
    from kassa.reconcile import Wish, read_book
    from kassa.reconcile.read_book import SANDBOX, began

    return read_book(path), Wish(_SANDBOX, SANDBOX, merchant, since or began(path), live=True)


@contextmanager
def _told() -> Iterator[Tell]:
    """How far it is, on standard error: moving in a terminal, else a line now and then."""
    screen, last = progress(), [0]
    if screen.is_terminal:
        with screen.status("reconciling") as status:
            yield lambda what, count: status.update(f"{count} {what}")
        return

    def say(what: str, count: int) -> None:
        if count // 100_000 > last[0] // 100_000:
            screen.print(f"{count} {what}")
        last[0] = count

    yield say


def _summary(report: Report) -> dict[str, Any]:
    return {
        "provider": report.provider,
        "since": moment(report.period.since) or None,
        "until": moment(report.period.until) or None,
        "rows": report.rows,
        "payments": report.payments,
        "differences": report.types.total(),
        "types": dict(report.types),
        "cases_opened": report.opened,
        "cases_closed": report.closed,
        "decided": report.decided,
        "still_moving": report.moving,
        "at_the_border": report.border,
        "of_other_merchants": report.elsewhere,
        "found": [
            {
                "type": each.type,
                "merchant_id": each.merchant_id,
                "subject": each.subject,
                "text": each.text,
                "line": each.line,
                "amount": sum_text(each.amount_minor, each.currency) or None,
                "state": state,
            }
            for each, state in report.differences
        ],
    }


def _show(report: Report) -> None:
    from kassa.reconcile import TYPES

    screen, period = reader(), report.period
    covered = f"from {moment(period.since)} to {moment(period.until)}" if period.since and period.until else "of no known time"
    screen.print(f"{report.rows} rows {covered} (UTC), about {report.payments} payments", soft_wrap=True)
    for count, what in (
        (report.moving, "still moving, not judged"),
        (report.border, "at the border of that time, their absence not judged"),
        (report.elsewhere, "of other merchants, left out"),
        (report.closed, "cases closed: reconciled by now"),
    ):
        if count:
            screen.print(f"{count} {what}")
    if not report.types:
        screen.print("[green]✓[/] No difference.")
        return
    shown: list[tuple[Difference, str]] = report.differences[:_PRINTED]
    rows = [(each.type, each.merchant_id, each.subject, each.line or "", each.text, state) for each, state in shown]
    screen.print(sheet("\nDifferences", ("type", "merchant", "about", "line#", "what", "case"), rows), soft_wrap=True)
    if report.types.total() > len(shown):
        screen.print(f"… and {report.types.total() - len(shown)} more: see `kassa payments cases`")
    counts = [(type_, report.types[type_], TYPES[type_]) for type_ in TYPES if report.types[type_]]
    screen.print(sheet("\nHow many", ("type", "times#", "meaning"), counts), soft_wrap=True)
