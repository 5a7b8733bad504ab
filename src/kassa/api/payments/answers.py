"""Models of the payments contract's answers, for its OpenAPI document. What is sent is written by `shapes.py`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

Money = Field(description="Major units with exactly the currency's decimals.", examples=["349.70"])


class Created(BaseModel):
    """A payment that waits for its buyer."""

    payment_id: str
    status: str
    payment_url: str | None


class PaymentShown(BaseModel):
    """A payment in a list."""

    payment_id: str
    order_id: int | str
    provider: str
    amount: str = Field(description="The quantity, as text.")
    price: str = Money
    currency: str
    status: int = Field(description="1 pending, 2 finished, 3 failed, 6 refunded")
    status_name: str
    created_at: str


class Page(BaseModel):
    """A page of payments, newest first. With `cursor` there is no `page` and no `total`."""

    page: int | None = None
    limit: int
    total: int | None = None
    has_next: bool
    next_cursor: str | None
    items: list[PaymentShown]


class ShownLine(BaseModel):
    """A line of the shop's own order."""

    line_id: str
    name: str
    quantity: int
    price: str = Money
    total: str = Money


class Whole(PaymentShown):
    """One payment."""

    merchant_id: int | str
    payment_url: str | None
    captured: str = Money
    refunded: str = Money
    refundable: str = Money
    reason: str | None
    event_id: str | None
    updated_at: str
    lines: list[ShownLine] | None = Field(default=None, description="Only where the shop's own order is behind the payment.")


class TimelineEvent(BaseModel):
    """One line of the timeline."""

    event_type: int
    event_name: str
    status: int
    status_name: str
    message: str
    payload: dict[str, Any] | None
    timestamp: str


class Tracking(BaseModel):
    """What happened to a payment, oldest first."""

    payment_id: str
    payment_status: int
    payment_status_name: str
    events: list[TimelineEvent]


class StoryEntry(BaseModel):
    """One line of a story. It keeps its number; what goes on says how far it is now."""

    number: int
    at: str
    kind: str = Field(description="`checkout`, `step`, `order`, `payment`, `refund`, `delivery` or `notice`")
    title: str = Field(description="A short sentence for people.")
    subject: str = Field(examples=["payment:019b76da-a801-7d90-a2b6-4c7f1e3d5b62"])
    sequence: int = Field(description="The number of the event within its subject; of a step, its place.")
    details: dict[str, Any]


class WholeStory(BaseModel):
    """A page of the story of a payment, with its order, its purchase, and who was told, oldest first."""

    payment_id: str
    items: list[StoryEntry]
    next_after: int
    has_next: bool


class RefundedLine(BaseModel):
    """A line that a refund gives back."""

    line_id: str
    quantity: int
    restock: bool


class RefundShown(BaseModel):
    """A refund, with the payment's totals after it."""

    refund_id: str
    payment_id: str
    amount: str = Money
    currency: str
    reason: str | None
    lines: list[RefundedLine]
    status: str = Field(description="`succeeded`, `pending` or `failed`")
    created_at: str
    refunded: str = Money
    refundable: str = Money


class Refunds(BaseModel):
    """All refunds of a payment, oldest first."""

    payment_id: str
    currency: str
    captured: str = Money
    refunded: str = Money
    pending: str = Money
    refundable: str = Money
    items: list[RefundShown]


class PostingShown(BaseModel):
    """One side of a posting: debits are positive."""

    account: str
    amount: str = Money


class EntryShown(BaseModel):
    """A balanced entry of the books."""

    entry_id: str
    kind: str
    occurred_at: str
    postings: list[PostingShown]


class Ledger(BaseModel):
    """The books of a payment; `balance` is what the provider still holds of it."""

    payment_id: str
    currency: str
    balance: str = Money
    entries: list[EntryShown]


class SubscriptionShown(BaseModel):
    """A prepaid plan."""

    subscription_id: int | str
    plan: str
    price: str = Money
    status: int = Field(description="1 active, 2 inactive")
    status_name: str
    tokens_total: int
    tokens_used: int
    tokens_left: int
    started_at: str


class Me(BaseModel):
    """The merchant whose credentials were sent."""

    merchant_id: int | str
    name: str
    email: str | None
    currency: str
    created_at: str
    subscription: SubscriptionShown | None
    subscriptions: list[SubscriptionShown]


class KeyShown(BaseModel):
    """A key without its secret."""

    key_id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: str
    last_used_at: str | None
    revoked_at: str | None


class KeyMade(KeyShown):
    """A new key with its secret, which is shown this once."""

    key: str


class Keys(BaseModel):
    """The keys of a merchant, oldest first."""

    items: list[KeyShown]


class Pong(BaseModel):
    """The service answers."""

    ok: bool


class ReportTaken(BaseModel):
    """What became of a provider's report."""

    status: str
    result: dict[str, Any]


class Forged(BaseModel):
    """A report whose signature does not fit."""

    error: str


class Problem(BaseModel):
    """An error: a text for people and a word for programs. Malformed input has a list of `{loc, msg, type}` as `detail`."""

    detail: str | list[dict[str, Any]]
    code: str
