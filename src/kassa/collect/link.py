"""Get the link of a payment: ask its provider, another one if that certainly did nothing, and note what came of it.

Asking for a link moves no money. No link is the end of the payment: its token goes back, and the caller may ask anew.
"""

from __future__ import annotations

from kassa import merchants, payments
from kassa.collect.model import ProviderLinkFailed, ProviderUnreachable, RenderPayment
from kassa.kit import once
from kassa.kit.context import Context, concerns
from kassa.kit.database import Tx
from kassa.kit.money import Money
from kassa.payments import requests
from kassa.payments.model import Payment, Verdict

_UNREACHABLE = "provider_unreachable"
_NO_LINK = frozenset({_UNREACHABLE, "provider_link_failed"})
_AT_MOST = 2
"""Providers that are asked for one payment."""


async def get_link(
    ctx: Context,
    payment: Payment,
    key: once.Key | None = None,
    render: RenderPayment | None = None,
    *,
    fresh: bool = False,
) -> tuple[Payment, str | None]:
    """The payment and its link. Asked twice, the provider is told the same payment id, and one answer is noted.

    With `key` the answer that `render` writes is kept under it. `fresh`: nobody can have asked before; only then may another
    provider be asked, because an earlier request of a process that died may have arrived. Raises `ProviderUnreachable` or
    `ProviderLinkFailed`; the payment has failed then.
    """
    concerns(merchant_id=payment.merchant_id, payment_id=payment.payment_id)
    tried: list[str] = []
    while True:
        verdict = await payments.take(ctx, payment, None, None)
        tried.append(payment.account)
        choice = await _another(ctx, payment, tried) if fresh and verdict.elsewhere and len(tried) < _AT_MOST else None
        if choice is None:
            break
        async with ctx.db.transaction("collect.link") as tx:
            rerouted = await requests.reroute(tx, payment, choice, verdict.code or "refused")
        if rerouted is None:  # it has moved on by a report, and nobody is asked any more
            break
        payment = rerouted
    return await _conclude(ctx, payment, verdict, key, render)


async def _another(ctx: Context, payment: Payment, tried: list[str]) -> requests.Choice | None:
    rules = await requests.routes(ctx.db, payment.merchant_id, payment.alias)
    return requests.choose(rules, Money(payment.amount_minor, payment.currency), payment.payment_id, tried)


async def _conclude(
    ctx: Context, payment: Payment, verdict: Verdict, key: once.Key | None, render: RenderPayment | None
) -> tuple[Payment, str | None]:
    async with ctx.db.transaction("collect.link") as tx:
        payment = await requests.lock(tx, payment.merchant_id, payment.payment_id)
        if verdict.kind == "waiting" and verdict.url:
            payment = await _note_link(tx, payment, verdict.url)
        else:
            payment = await _note_no_link(tx, payment, verdict.code or _UNREACHABLE)
        # Money that was reported before the link came makes the payment good, with a link or without.
        failed = payment.pay_url is None and not payment.captured_minor
        if key is not None and failed:
            await once.release(tx, key, str(payment.payment_id))
        elif key is not None and render is not None:
            await once.answer(tx, ctx.keys, key, *render(payment.payment_id, payment.pay_url))
    if failed:
        raise (ProviderUnreachable if verdict.code == _UNREACHABLE else ProviderLinkFailed)(payment.payment_id)
    return payment, payment.pay_url


async def _note_link(tx: Tx, payment: Payment, url: str) -> Payment:
    """The buyer may pay until the payment expires. One that has moved on by a report keeps the link, too.

    One that has failed for want of a link stays so: its token has gone back, and its caller has been told.
    """
    if payment.status != "opened":
        if payment.pay_url is None and not (payment.status == "declined" and payment.reason in _NO_LINK):
            await requests.note_url(tx, payment, url)
            return await requests.lock(tx, payment.merchant_id, payment.payment_id)
        return payment
    left = (payment.expires_at - payment.read_at).total_seconds() if payment.expires_at else None
    return (
        await payments.settle(tx, payment, Verdict("waiting", url=url, ask_in_s=None if left is None else max(0.0, left)))
    ).payment


async def _note_no_link(tx: Tx, payment: Payment, reason: str) -> Payment:
    """There is no link. A payment that has one by now, or its money, is left as it is; any other one has failed, for no token."""
    if payment.status == "opened":
        verdict = Verdict("declined", code=reason, message="The provider gave no link.")
        payment = (await payments.settle(tx, payment, verdict)).payment
    if payment.pay_url is None and not payment.captured_minor:
        plan_id = await requests.take_token_back(tx, payment)
        if plan_id is not None:
            await merchants.give_back(tx, payment.merchant_id, plan_id)
    return payment
