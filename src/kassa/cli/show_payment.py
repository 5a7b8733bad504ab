"""`kassa payments show`: everything about one payment on one screen."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli.act import id_of, inside, moment, reader, sheet, sum_text
from kassa.cli.show import AsJson, say_json

if TYPE_CHECKING:
    from kassa.kit.context import Context
    from kassa.payments import Payment


def show(
    payment_id: Annotated[str, typer.Argument(metavar="PAYMENT_ID", help="The payment's id.")], as_json: AsJson = False
) -> None:
    """Show a payment: what it is, what happened, its refunds, what the books say, where it was routed, and its open cases.

    It only looks; nobody is asked.

    ```sh
    kassa payments show 019b76da-a801-7d90-a2b6-4c7f1e3d5b62
    ```
    """
    wanted = id_of(payment_id, "PAYMENT_ID")

    async def work(ctx: Context) -> dict[str, Any]:
        return await _look(ctx, wanted)

    found = inside(work)
    if as_json:
        say_json(found)
        return
    screen = reader()
    screen.print(
        sheet(f"Payment {wanted}", ("", ""), [(name, "" if value is None else value) for name, value in found["payment"].items()])
    )
    for name in ("timeline", "refunds", "ledger", "routing", "payme", "cases"):
        rows = found[name]
        if rows:
            cells = [["" if cell is None else cell for cell in row.values()] for row in rows]
            screen.print(sheet(f"\n{name.capitalize()}", [column.replace("_", " ") for column in rows[0]], cells), soft_wrap=True)


async def _attempts(ctx: Context, payment: Payment) -> list[dict[str, Any]]:
    """Payme's attempts to pay it, each with the fiscal receipts that came for it."""
    from kassa.payments import payme

    rows = []
    for attempt in await payme.of_payment(ctx.db, payment.merchant_id, payment.payment_id):
        receipts = await payme.receipts(ctx.db, payment.merchant_id, attempt.payme_id)
        rows.append(
            {
                "payme_id": attempt.payme_id,
                "state": attempt.state,
                "reason": attempt.reason,
                "created_at": moment(datetime.fromtimestamp(attempt.create_ms / 1000, UTC)),
                "performed_at": moment(datetime.fromtimestamp(attempt.perform_ms / 1000, UTC)) if attempt.perform_ms else None,
                "cancelled_at": moment(datetime.fromtimestamp(attempt.cancel_ms / 1000, UTC)) if attempt.cancel_ms else None,
                "fiscal_receipts": "; ".join(f"{kind} {data}" for kind, data in receipts.items()) or None,
            }
        )
    return rows


async def _look(ctx: Context, payment_id: uuid.UUID) -> dict[str, Any]:
    from kassa import cases, collect, ledger, payments

    # Whoever reads a payment in doubt has its provider asked in the background; here somebody only wants to look.
    ctx.once_at_a_time.begin(("resolve", payment_id))
    shown = await collect.read_payment(ctx, None, payment_id)
    payment, details = shown.payment, shown.details
    _, timeline = await collect.read_timeline(ctx, None, payment_id)
    refunds = await payments.refunds_of(ctx.db, payment.merchant_id, payment_id)
    lines = await ledger.lines_of_payment(ctx.db, payment.merchant_id, payment_id)
    subjects = [f"payment:{payment_id}", *(f"refund:{refund.refund_id}" for refund in refunds)]
    if shown.order is not None:
        subjects.append(f"checkout:{shown.order.checkout_id}")
    listed = await cases.cases_about(ctx.db, [payment.merchant_id], subjects, open_only=True)
    return {
        "payment": {
            "merchant": payment.merchant_id,
            "reference": f"{payment.ref_kind} {payment.ref}",
            "status": payment.status,
            "reason": payment.reason,
            "message": payment.message,
            "sum": sum_text(payment.amount_minor, payment.currency),
            "captured": sum_text(payment.captured_minor, payment.currency),
            "refunded": sum_text(payment.refunded_minor, payment.currency),
            "on its way back": sum_text(payment.refunding_minor, payment.currency),
            "method": payment.method,
            "provider": payment.account,
            "our key there": payment.provider_key,
            "its id there": payment.provider_ref,
            "times sent": payment.sends,
            "in doubt since": moment(payment.unknown_since) or None,
            "asked again at": moment(payment.next_ask_at) or None,
            "expires at": moment(payment.expires_at) or None,
            "created at": moment(payment.created_at),
            "updated at": moment(details.updated_at),
            "order status": shown.order.status if shown.order else None,
        },
        "timeline": [{"at": moment(each.at), "what": each.message} for each in timeline],
        "refunds": [
            {
                "refund_id": str(refund.refund_id),
                "status": refund.status,
                "sum": sum_text(refund.amount_minor, refund.currency),
                "reason": refund.reason,
                "last_answer": refund.message,
                "created_at": moment(refund.created_at),
            }
            for refund in refunds
        ],
        "ledger": [
            {
                "at": moment(line.occurred_at),
                "entry": line.kind,
                "account": line.account,
                "sum": sum_text(line.amount_minor, line.currency),
            }
            for line in lines
        ],
        "routing": [{name: each.get(name) for name in ("provider", "why", "outcome")} for each in details.routing or ()],
        "payme": await _attempts(ctx, payment),
        "cases": [
            {"case_id": str(case.case_id), "kind": case.kind, "since": moment(case.opened_at), "last_answer": case.last_answer}
            for case in listed
        ],
    }
