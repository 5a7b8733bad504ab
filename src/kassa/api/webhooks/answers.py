"""Models of the answers about webhooks, for the OpenAPI document. What is sent is written by `shapes.py`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class EndpointShown(BaseModel):
    """An endpoint without its secret."""

    endpoint_id: str
    url: str
    events: list[str]
    format: str = Field(description="`payment` or `event`")
    ordered: bool
    description: str | None
    status: str = Field(description="`enabled` or `disabled`")
    disabled_reason: str | None = Field(description="`manual`, `gone` (410) or `failing`")
    created_at: str
    updated_at: str


class EndpointMade(EndpointShown):
    """An endpoint with a new secret, which is shown this once."""

    secret: str


class Endpoints(BaseModel):
    """The endpoints of a merchant, oldest first."""

    items: list[EndpointShown]


class Sent(BaseModel):
    """A test that is being sent."""

    event_id: str
    delivery_id: str


class DeliveryShown(BaseModel):
    """One event on its way to one endpoint."""

    delivery_id: str
    event_id: str
    event_type: str
    subject: str
    sequence: int
    status: str = Field(description="`pending`, `processing`, `success`, `retrying`, `blocked` or `failed`")
    attempts_made: int
    next_attempt_at: str | None
    last_status_code: int | None
    last_error: str | None
    created_at: str
    delivered_at: str | None


class AttemptShown(BaseModel):
    """One request, and what came back."""

    number: int
    began_at: str
    duration_ms: int
    status_code: int | None
    error: str | None
    response: str | None


class DeliveryWhole(DeliveryShown):
    """A delivery with its attempts, the first one first."""

    attempts: list[AttemptShown]


class DeliveryPage(BaseModel):
    """A page of deliveries, newest first."""

    limit: int
    has_next: bool
    next_cursor: str | None
    items: list[DeliveryShown]


class Again(BaseModel):
    """How many deliveries are sent again."""

    replayed: int


class EventShown(BaseModel):
    """An event as it was recorded."""

    id: str
    type: str
    version: int
    subject: str
    sequence: int
    occurred_at: str
    merchant_id: int | str
    data: dict[str, Any]


class EventPage(BaseModel):
    """A page of the feed, oldest first."""

    items: list[EventShown]
    next_after: str | None
    has_next: bool
