"""`kassa payments`: look at payments, find out what is in doubt, and give money back, by an operator's hand.

What changes something is safe to repeat, and prints the state before and after it.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kassa.cli import cases, show_payment
from kassa.cli.act import ACTING, Limit, hand_of, id_of, inside, moment, money_of, reader, say_change, say_list, sum_text
from kassa.cli.show import AsJson, CommandError

if TYPE_CHECKING:
    from kassa.collect import Refunded
    from kassa.kit.context import Context
    from kassa.payments import Payment
    from kassa.payments.requests.overview import BookedRefund

app = typer.Typer(
    name="payments",
    no_args_is_help=True,
    help="""Payments: look at them, find out what is in doubt, give money back, close cases.

```sh
kassa payments doubt             # what waits for a person, and what to type next
kassa payments show ID
```
""",
)
app.command("show")(show_payment.show)
app.command("doubt")(cases.doubt)
app.command("cases")(cases.list_cases)
app.command("close")(cases.close)

PaymentId = Annotated[str, typer.Argument(metavar="PAYMENT_ID", help="The payment's id.")]
Reason = Annotated[str, typer.Option(help="Why, in a few words; it is kept.")]
_OPEN = frozenset({"opened", "waiting", "unknown", "parked"})
_SETTING = {"card": "PAYMENT_SERVICE_URL", "link": "PROVIDER_URL", "external": "PROVIDER_URL"}


@app.command("list")
def list_payments(
    merchant: Annotated[str | None, typer.Option(help="Of this merchant.  [default: all]")] = None,
    status: Annotated[
        list[str] | None, typer.Option(help="In this state, such as unknown, parked or paid; may be repeated.")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="At this provider or alias.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List payments, newest first.

    ```sh
    kassa payments list --status unknown --status parked
    kassa payments list --merchant 2 --provider stripe --limit 200 --json
    ```
    """
    from kassa.payments import MOVES
    from kassa.payments.requests import overview

    unknown = [each for each in status or () if each not in MOVES.statuses()]
    if unknown:
        raise CommandError(f"--status must be one of {', '.join(sorted(MOVES.statuses()))}")

    async def work(ctx: Context) -> list[Payment]:
        return await overview.newest(ctx.db, merchant_id=merchant, statuses=status or None, provider=provider, limit=limit)

    say_list("payments", [_row(payment) for payment in inside(work)], as_json)


@app.command()
def resolve(
    payment_id: PaymentId,
    paid: Annotated[bool, typer.Option("--paid", help="Take your word that it was paid; needs --reason.")] = False,
    declined: Annotated[bool, typer.Option("--declined", help="Take your word that it was not; needs --reason.")] = False,
    reason: Annotated[str | None, typer.Option(help="How you know; it is kept.")] = None,
    ref: Annotated[str | None, typer.Option(help="The provider's own id of the charge; some cannot refund without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find out what became of a payment: ask its provider now, or take your word for it. Exit code 1 if it is still not known.

    Without --paid or --declined nothing is taken for granted: the provider is asked once, and a final answer is applied. Your word
    has the same effect as the provider's, so look at its own records first. Said twice, the second changes nothing.

    ```sh
    kassa payments resolve 019b76da-a801-7d90-a2b6-4c7f1e3d5b62
    kassa payments resolve 019b76da-a801-7d90-a2b6-4c7f1e3d5b62 --declined --reason "not in the provider's list"
    ```
    """
    wanted = id_of(payment_id, "PAYMENT_ID")
    if paid and declined:
        raise CommandError("--paid and --declined contradict each other")
    word = "paid" if paid else "declined" if declined else None
    if word and not (reason or "").strip():
        raise CommandError(f"--{word} needs --reason: say how you know")
    from kassa import collect

    async def work(ctx: Context) -> tuple[Payment, Payment]:
        before = await _find(ctx, wanted)
        if word is not None:
            _may_become(before, word)
            await collect.decide(ctx, wanted, word, (reason or "").strip(), ref, by=hand_of(ctx).by)
        elif before.status in {"unknown", "parked"}:
            _is_configured(ctx, before)
            await collect.resolve(ctx, before)
        await ctx.background.drain(5)
        return before, await _find(ctx, wanted)

    before, after = inside(work, need=ACTING if word else ("DATABASE_URL",))
    say_change(as_json, f"Payment {wanted}", _state(before), _state(after))
    if after.status in _OPEN:
        if not as_json:
            reader().print(f"\nIt is still not known: {_still(before)}", soft_wrap=True)
        raise typer.Exit(1)


@app.command()
def settle(
    payment_id: PaymentId,
    declined: Annotated[bool, typer.Option("--declined", help="End it unpaid.  [default: paid]")] = False,
    as_json: AsJson = False,
) -> None:
    """End a simulated payment of the gRPC contract that was told to wait. No money moves.

    ```sh
    kassa payments settle 019b76da-a801-7d90-a2b6-4c7f1e3d5b62
    ```
    """
    wanted, word = id_of(payment_id, "PAYMENT_ID"), "declined" if declined else "paid"
    from kassa import collect

    async def work(ctx: Context) -> tuple[Payment, Payment]:
        before = await _find(ctx, wanted)
        if before.ref_kind != "grpc" or before.provider != "simulated":
            raise CommandError(
                f"only simulated gRPC payments are settled; see `kassa payments resolve {wanted} --{word} --reason …`"
            )
        _may_become(before, word)
        return before, await collect.decide(ctx, wanted, word, "settled by an operator", by=hand_of(ctx).by)

    before, after = inside(work, need=ACTING)
    say_change(as_json, f"Payment {wanted}", _state(before), _state(after))


@app.command()
def refund(
    payment_id: PaymentId,
    amount: Annotated[str | None, typer.Option(help="How much, in major units.  [default: all that is left]")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; merchants see it.")] = None,
    key: Annotated[str | None, typer.Option(help="The key of an earlier try: repeats it, and never gives back twice.")] = None,
    given: Annotated[
        str | None, typer.Option(metavar="REF", help="The provider gave it back already, under this id of its own: only book it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give money back through the payment's provider. Exit code 1 if the provider refused.

    The key is printed before anything is sent. If you do not see the end of this command, run it again with that --key.

    With --given nothing is sent: the books follow what `kassa reconcile` found in the provider's statement. Typed again with the
    same REF, the second changes nothing.

    ```sh
    kassa payments refund 019b76da-a801-7d90-a2b6-4c7f1e3d5b62 --amount 10.00 --reason damaged
    kassa payments refund 019b76da-a801-7d90-a2b6-4c7f1e3d5b62 --amount 10.00 --given re_4711
    ```
    """
    wanted = id_of(payment_id, "PAYMENT_ID")
    if len(reason or "") > 255:
        raise CommandError("--reason must be at most 255 characters")
    if given is not None and not 0 < len(given.strip()) <= 255:
        raise CommandError("--given is the provider's own id of the refund, at most 255 characters")
    if given is not None and key is not None:
        raise CommandError("--given needs no --key: the provider's id is the key")
    chosen = key or (f"cli-{secrets.token_hex(8)}" if given is None else _key_of_given(wanted, given))
    import orjson

    from kassa import collect
    from kassa.kit.once import InvalidKey, read_header

    try:
        read_header(chosen)
    except InvalidKey as error:
        raise CommandError(f"--key: {error.message}") from None

    async def work(ctx: Context) -> tuple[Payment, Payment, dict[str, Any], bool]:
        before = await _find(ctx, wanted)
        if given is None:
            _is_configured(ctx, before)
        money = None if amount is None else money_of(amount, before.currency, "--amount")
        if money is not None and not money.minor:
            raise CommandError("--amount must be above zero")
        if key is None and given is None:
            _may_give_back(before, money.minor if money else None)
            typer.echo(f"kassa: the key of this refund is {chosen}", err=True)
        said = orjson.dumps([str(wanted), money.minor if money else None, reason if given is None else given])
        claim = _key_of(ctx, before.merchant_id, chosen, said)
        wish = collect.RefundWish(before.merchant_id, wanted, claim, money, reason=reason, by=hand_of(ctx).by, given=given)
        made = await collect.refund_payment(ctx, wish, _render)
        replayed = isinstance(made, collect.Replayed)
        told = orjson.loads(made.body if isinstance(made, collect.Replayed) else _render(made)[1])
        return before, await _find(ctx, wanted), told, replayed

    before, after, made, replayed = inside(work, need=ACTING)
    say_change(as_json, f"Payment {wanted}", _state(before), _state(after), refund=made, key=chosen, replayed=replayed)
    if not as_json:
        again = " (the answer to the first try under this key)" if replayed else ""
        reader().print(
            f"\nRefund {made['refund_id']} of {made['amount']} {made['currency']}: {made['status']}{again}", soft_wrap=True
        )
    raise typer.Exit(1 if made["status"] == "failed" else 0)


@app.command("refund-done")
def refund_done(
    refund_id: Annotated[str, typer.Argument(metavar="REFUND_ID", help="The refund's id.")],
    reason: Annotated[str, typer.Option(help="How it was given back; it is kept.")] = "given back",
    as_json: AsJson = False,
) -> None:
    """Say that you gave a refund back by hand: pay the buyer first, then type this. Said twice, the second changes nothing.

    ```sh
    kassa payments refund-done 019b76da-a801-7d90-a2b6-4c7f1e3d5b62 --reason "bank transfer 4711"
    ```
    """
    wanted = id_of(refund_id, "REFUND_ID")
    if not reason.strip():
        raise CommandError("--reason must not be empty: say how it was given back")
    from kassa import collect
    from kassa.payments import requests
    from kassa.payments.requests import overview

    async def look(ctx: Context) -> BookedRefund:
        found = await overview.refund_anywhere(ctx.db, wanted)
        if found is None:
            raise CommandError("there is no such refund; see `kassa payments doubt`")
        return found

    async def work(ctx: Context) -> tuple[BookedRefund, BookedRefund]:
        before = await look(ctx)
        if before.status == "failed":
            raise CommandError("this refund failed and its sum was freed; give it back with `kassa payments refund`")
        refund = await requests.find_refund(ctx.db, before.merchant_id, wanted)
        if refund is not None and before.status != "succeeded":
            await collect.mark_refund_done(ctx, refund, reason.strip(), by=hand_of(ctx).by)
        return before, await look(ctx)

    before, after = inside(work, need=ACTING)
    say_change(as_json, f"Refund {wanted}", _refund_state(before), _refund_state(after))


async def _find(ctx: Context, payment_id: uuid.UUID) -> Payment:
    from kassa import payments

    found = await payments.find_anywhere(ctx.db, payment_id)
    if found is None:
        raise CommandError("there is no such payment")
    return found


def _may_become(payment: Payment, word: str) -> None:
    from kassa.payments import MOVES

    if payment.status != word and not MOVES.allows(payment.status, word):
        raise CommandError(f"a payment that is {payment.status} cannot become {word}; nothing was changed")


def _may_give_back(payment: Payment, minor: int | None) -> None:
    """What can be refused before anything is begun; the row's lock judges once more."""
    left = payment.refundable_minor if payment.status == "paid" else 0
    if not left or (minor or 0) > left:
        raise CommandError(f"this payment is {payment.status}, and {sum_text(left, payment.currency)} of it can be given back")


def _is_configured(ctx: Context, payment: Payment) -> None:
    """The provider must be in reach from here. Raises `CommandError` that names the setting."""
    from kassa.payments import Providers

    if payment.provider not in ctx.port(Providers).by_name:
        name = _SETTING.get(payment.provider, "the provider's address")
        raise CommandError(f"{name} is not set, so the provider cannot be reached; run this with the settings of `kassa serve`")


def _key_of_given(payment_id: uuid.UUID, given: str) -> str:
    """The key of a refund that was made already: one payment and one id of the provider's are booked once."""
    return f"given-{hashlib.sha256(f'{payment_id} {given}'.encode()).hexdigest()[:32]}"


def _key_of(ctx: Context, merchant_id: str, key: str, said: bytes) -> Any:
    """The operator's key, kept for 30 days, and known under a secret that is being replaced, too."""
    from datetime import timedelta

    from kassa.kit import once

    def under(keys: Any, before: once.Key | None) -> once.Key:
        payload = keys.fingerprint(said)
        return once.Key(merchant_id, "operator", "kassa payments refund", key, payload, timedelta(days=30), before)

    old = ctx.keys.before
    return under(ctx.keys, under(old, None) if old else None)


def _render(made: Refunded) -> tuple[int, bytes]:
    import orjson

    from kassa.kit.money import fixed_text

    refund = made.refund
    told = {
        "refund_id": str(refund.refund_id),
        "amount": fixed_text(refund.amount_minor, refund.currency),
        "currency": refund.currency,
    }
    return 201, orjson.dumps({**told, "status": refund.shown_status})


def _still(payment: Payment) -> str:
    if payment.status in {"unknown", "parked"}:
        return f"look for {payment.provider_key} at the provider, then say `--paid` or `--declined` with a `--reason`"
    return "its provider reports by itself when the buyer has decided, and the deadline ends it"


def _row(payment: Payment) -> dict[str, Any]:
    return {
        "payment_id": str(payment.payment_id),
        "merchant_id": payment.merchant_id,
        "reference": payment.ref,
        "provider": payment.account,
        "status": payment.status,
        "sum": sum_text(payment.amount_minor, payment.currency),
        "refunded": sum_text(payment.refunded_minor, payment.currency),
        "created_at": moment(payment.created_at),
    }


def _state(payment: Payment) -> dict[str, Any]:
    return {
        "status": payment.status,
        "captured": sum_text(payment.captured_minor, payment.currency),
        "refunded": sum_text(payment.refunded_minor, payment.currency),
        "refunding": sum_text(payment.refunding_minor, payment.currency),
        "reason": payment.reason,
    }


def _refund_state(refund: BookedRefund) -> dict[str, Any]:
    return {
        "status": refund.status,
        "amount": sum_text(refund.amount_minor, refund.currency),
        "payment_id": str(refund.payment_id),
        "message": refund.message,
    }
