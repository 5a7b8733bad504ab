"""What the pages of an order and of a payment share: one merged timeline, the books, the papers, the cases."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from kassa import audit, cases, checkout, desk, ledger, payments, timeline
from kassa.cases import Case
from kassa.checkout.model import Step
from kassa.desk.mask import masked
from kassa.desk.model import Papers
from kassa.pages.office.doubt import link_of, meaning
from kassa.pages.office.look import Look
from kassa.payments.model import Payment, Refund
from kassa.timeline import Story


@dataclass(frozen=True, slots=True)
class Told:
    """One line of the merged timeline. `kind` says what it tells of; `act` lines are of people."""

    at: datetime
    kind: str
    title: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Money:
    """A payment with its refunds and its lines in the books."""

    payment: Payment
    refunds: Sequence[Refund]
    lines: Sequence[ledger.Line]
    balance_minor: int


@dataclass(frozen=True, slots=True)
class Family:
    """Everything that belongs together with an order or a payment."""

    story: Story
    told: Sequence[Told]
    money: Sequence[Money]
    steps: Sequence[Step]
    papers: Papers
    raw: Sequence[str | None]
    """The raw parts of `papers.messages`, as JSON text."""
    cases: Sequence[tuple[Case, str, str | None]]


async def read_family(look: Look, wanted: uuid.UUID) -> Family:
    """What belongs to an order, a payment or a checkout of the look's merchant. Raises `StoryMissing`.

    Nobody is asked about a payment in doubt: somebody only looks.
    """
    reader, merchant_id = look.reader, look.merchant_id
    story = await timeline.read_story(reader, merchant_id, wanted)
    money = [each for payment_id in story.payment_ids if (each := await _money(look, payment_id)) is not None]
    subjects = [f"payment:{each}" for each in story.payment_ids]
    subjects += [f"refund:{refund.refund_id}" for each in money for refund in each.refunds]
    subjects += [f"order:{story.order_id}"] if story.order_id else []
    subjects += [f"checkout:{story.checkout_id}"] if story.checkout_id else []
    papers = await desk.read_papers(
        reader,
        merchant_id,
        subjects=subjects,
        payment_ids=story.payment_ids,
        order_id=story.order_id,
        checkout_id=story.checkout_id,
    )
    journal = await checkout.read_journal(reader, merchant_id, story.checkout_id) if story.checkout_id else None
    listed = await cases.cases_about(reader, [merchant_id], subjects, open_only=False)
    return Family(
        story=story,
        told=_told(story, papers),
        money=money,
        steps=journal.steps if journal else (),
        papers=papers,
        raw=[_text(each.raw) if each.raw else None for each in papers.messages],
        cases=[(each, meaning("case", each.kind), link_of(look, each.subject)) for each in listed],
    )


async def _money(look: Look, payment_id: uuid.UUID) -> Money | None:
    payment = await payments.find(look.reader, look.merchant_id, payment_id)
    if payment is None:
        return None
    refunds = await payments.refunds_of(look.reader, look.merchant_id, payment_id)
    lines = await ledger.lines_of_payment(look.reader, look.merchant_id, payment_id)
    balance = sum(each.amount_minor for each in lines if each.account.startswith("provider:"))
    return Money(payment, refunds, lines, balance)


def _told(story: Story, papers: Papers) -> list[Told]:
    """Events, acts of the saga, deliveries and notices as the story tells them, with what people did and what reports said."""
    told = [Told(each.at, each.kind, each.title, each.details) for each in story.entries]
    told += [
        Told(each.at, "report", f"The provider reported: {each.said}", {"outcome": each.outcome})
        for each in papers.messages
        if each.source == "report of the provider"
    ]
    told += [
        Told(each.at, "act", f"{each.who}: {audit.ACTS.get(each.act, each.act)}", {"why": each.why, **masked(each.what)})
        for each in papers.acts
    ]
    return sorted(told, key=lambda each: each.at)


def _text(raw: Any) -> str:
    return orjson.dumps(raw, option=orjson.OPT_INDENT_2, default=str).decode()
