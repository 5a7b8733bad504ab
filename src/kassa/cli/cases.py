"""What needs a person: the work list (`doubt`), cases, and closing one with a reason."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli.act import ACTING, Limit, age, changing, id_of, inside, moment, reader, say_change, say_list, sheet, sum_text
from kassa.cli.show import AsJson, CommandError, say_json

if TYPE_CHECKING:
    from kassa.cases import Case
    from kassa.kit.context import Context
    from kassa.payments import Payment
    from kassa.payments.requests.overview import BookedRefund, UnmatchedReport


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to work on: what, of whom, how much, since when, and the safe next step as a command to type."""

    what: str
    merchant: str
    subject: str
    sum: str
    age: str
    why: str
    next_step: str


def doubt(
    merchant: Annotated[str | None, typer.Option(help="Of this merchant.  [default: all]")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what is in doubt or waits for a person, oldest first of each sort, each with the safe next step.

    Payments whose end is not known, refunds that no machine can give back, open cases, and reports of payments that nobody knows.

    ```sh
    kassa payments doubt
    kassa payments doubt --json | jq -r '.doubt[].next_step'
    ```
    """

    async def work(ctx: Context) -> list[Item]:
        return await _collect(ctx, merchant, limit)

    items = inside(work)
    if as_json:
        say_json({"doubt": [asdict(item) for item in items]})
        return
    if not items:
        reader().print("[green]✓[/] Nothing is in doubt.")
        return
    screen = reader()
    rows = [(item.what, item.merchant, item.subject, item.sum, item.age, item.why) for item in items]
    screen.print(sheet("In doubt", ("what", "merchant", "about", "sum#", "age#", "why"), rows), soft_wrap=True)
    screen.print("\n[bold]What to type next[/]")
    for item in items:
        screen.out(f"  {item.next_step}", highlight=False)


def list_cases(
    everything: Annotated[bool, typer.Option("--all", help="Closed ones, too.")] = False,
    kind: Annotated[list[str] | None, typer.Option(help="Of this kind; may be repeated.")] = None,
    merchant: Annotated[str | None, typer.Option(help="Of this merchant.  [default: all]")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List cases, oldest first: what a machine could not decide.

    ```sh
    kassa payments cases --kind refund_parked
    kassa payments cases --all --json
    ```
    """
    from kassa import cases

    async def work(ctx: Context) -> list[Case]:
        return await cases.find_cases(ctx.db, merchant_id=merchant, open_only=not everything, kinds=tuple(kind or ()), limit=limit)

    say_list("cases", [_row(case) for case in inside(work)], as_json)


def close(
    case_id: Annotated[str, typer.Argument(metavar="CASE_ID", help="The case's id.")],
    reason: Annotated[str, typer.Option(help="What was decided and done; it is kept.")],
    as_json: AsJson = False,
) -> None:
    """Close a case by your word. It changes nothing but the list: do what the case asks for first.

    ```sh
    kassa payments close 019b76da-a801-7d90-a2b6-4c7f1e3d5b62 --reason "refunded by bank transfer 4711"
    ```
    """
    wanted, decision = id_of(case_id, "CASE_ID"), reason.strip()
    if not decision:
        raise CommandError("--reason must not be empty: say what was decided")
    from kassa import cases

    async def work(ctx: Context) -> tuple[Case, Case]:
        before = await cases.find_case(ctx.db, wanted)
        if before is None:
            raise CommandError("there is no such case; see `kassa payments cases --all`")
        async with changing(ctx, "cases.close", "case.close", before.merchant_id, f"case:{wanted}", decision) as change:
            after = await cases.close_case(change.tx, before.merchant_id, wanted, decision)
            if after is None:
                raise CommandError(f"this case was closed at {moment(before.closed_at)}: {before.decision}")
            change.what = {"kind": before.kind, "about": before.subject}
        return before, after

    before, after = inside(work, need=ACTING)
    say_change(as_json, f"Case {wanted}", _row(before), _row(after))


async def _collect(ctx: Context, merchant: str | None, limit: int) -> list[Item]:
    from kassa import cases
    from kassa.kit import clock
    from kassa.payments.requests import overview

    now = await clock.now(ctx.db)
    in_doubt = await overview.in_doubt(ctx.db, merchant_id=merchant, limit=limit)
    parked = await overview.parked_refunds(ctx.db, merchant_id=merchant, limit=limit)
    told = {f"refund:{refund.refund_id}" for refund in parked} | await _checkouts_of(ctx, in_doubt)
    listed = await cases.find_cases(ctx.db, merchant_id=merchant, limit=limit)
    others = [case for case in listed if case.kind not in {"refund_parked", "payment_unknown"} or case.subject not in told]
    reports = await overview.unmatched_reports(ctx.db, limit) if merchant is None else []
    return [
        *(_payment(payment, now) for payment in in_doubt),
        *(_refund(refund, now) for refund in parked),
        *(_case(case, now) for case in others),
        *(_report(report, now) for report in reports if not report.given_up),
    ]


async def _checkouts_of(ctx: Context, in_doubt: Sequence[Payment]) -> set[str]:
    """The checkouts behind these payments: their cases say the same thing once more."""
    from kassa import orders

    of_orders = [payment for payment in in_doubt if payment.ref_kind == "order"]
    found = [await orders.find(ctx.db, payment.merchant_id, uuid.UUID(payment.ref)) for payment in of_orders]
    return {f"checkout:{order.checkout_id}" for order in found if order is not None}


def _payment(payment: Payment, now: datetime) -> Item:
    why = "asked about, not answered yet" if payment.status == "unknown" else "nobody says whether it was paid"
    return Item(
        f"{payment.status} payment", payment.merchant_id, f"payment:{payment.payment_id}",
        sum_text(payment.amount_minor, payment.currency), age(payment.unknown_since or payment.created_at, now),
        f"{payment.account}: {why}", f"kassa payments resolve {payment.payment_id}",
    )  # fmt: skip


def _refund(refund: BookedRefund, now: datetime) -> Item:
    return Item(
        "parked refund", refund.merchant_id, f"refund:{refund.refund_id}", sum_text(refund.amount_minor, refund.currency),
        age(refund.created_at, now), f"give it back by hand: {refund.message or 'the provider did not'}",
        f'kassa payments refund-done {refund.refund_id} --reason "…"',
    )  # fmt: skip


def _case(case: Case, now: datetime) -> Item:
    return Item(
        case.kind, case.merchant_id, case.subject, sum_text(case.amount_minor, case.currency), age(case.opened_at, now),
        case.last_answer or case.act, next_step(case.kind, case.subject, str(case.case_id)),
    )  # fmt: skip


def _report(report: UnmatchedReport, now: datetime) -> Item:
    subject = f"payment:{report.payment_id}"
    why = f"a provider reports {report.status} of a payment that is not known here; tried again for 72 h"
    return Item("unmatched report", "-", subject, "", age(report.received_at, now), why, f"kassa payments show {report.payment_id}")


def next_step(kind: str, subject: str, case_id: str) -> str:
    """The command that helps with a case and harms nobody: look first where there is something to look at, else close it."""
    about, _, named = subject.partition(":")
    if kind == "refund_parked":
        return f'kassa payments refund-done {named} --reason "…"'
    if kind == "invariant_broken":
        return f"kassa verify --only {named}"
    if about == "payment" and kind not in {"report_unmatched", "reconcile_missing_here"}:
        return f"kassa payments show {named}"
    return f'kassa payments close {case_id} --reason "…"'


def _row(case: Case) -> dict[str, Any]:
    return {
        "case_id": str(case.case_id),
        "merchant_id": case.merchant_id,
        "kind": case.kind,
        "subject": case.subject,
        "act": case.act or None,
        "sum": sum_text(case.amount_minor, case.currency) or None,
        "last_answer": case.last_answer,
        "opened_at": moment(case.opened_at),
        "closed_at": moment(case.closed_at) or None,
        "decision": case.decision,
    }
