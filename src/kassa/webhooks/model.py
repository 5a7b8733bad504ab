"""An endpoint, a delivery and its attempts, and what can be refused to a merchant who asks about them. No I/O here."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from kassa.events.catalogue import STATUS_CHANGES
from kassa.kit.errors import KassaError, NotFound, Refused

PLAN: Final = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""Seconds before each attempt, counted from the end of the one before (webhooks contract, section 4)."""
MOST_ENDPOINTS: Final = 10
"""How many endpoints of its own a merchant may have."""
FORMATS: Final = ("payment", "event")
LOG_STATUS: Final[Mapping[str, int]] = {"pending": 1, "success": 2, "failed": 3, "retrying": 4, "blocked": 5, "processing": 6}
"""The states of a delivery, and the number of each in a payment's timeline."""
OVERLAP_S: Final = 86400
LONGEST_OVERLAP_S: Final = 604_800


class EndpointMissing(NotFound):
    """Endpoint not found"""  # noqa: D400 - the contract's own words, without a full stop

    code = "endpoint_not_found"


class DeliveryMissing(NotFound):
    """Delivery not found"""  # noqa: D400

    code = "delivery_not_found"


class EndpointDisabled(Refused):
    """The endpoint is disabled"""  # noqa: D400

    code = "endpoint_disabled"
    advice = "Enable the endpoint first."


class EndpointLimit(Refused):
    """A merchant may have at most 10 endpoints"""  # noqa: D400

    code = "endpoint_limit"
    advice = "Delete an endpoint that is not needed."


class CallbackUrlRefused(Refused):
    """Callback URL refused"""  # noqa: D400

    code = "callback_url_refused"
    advice = "Name a public https address without user, password or fragment."

    def __init__(self, reason: str) -> None:
        super().__init__(f"Callback URL refused: {reason}")
        self.reason = reason


class SecretLost(KassaError):
    """A stored secret cannot be opened: `KASSA_SECRET` was changed without `KASSA_SECRET_OLD`."""

    code = "secret_lost"


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """The port that bootstrap fills. `plan` and `timeout_s` are seconds; `callback_url` is the operator's default endpoint."""

    plan: tuple[int, ...] = PLAN
    timeout_s: float = 15
    private: bool = False
    callback_url: str | None = None
    callback_secret: str | None = field(default=None, repr=False)
    callback_events: tuple[str, ...] = STATUS_CHANGES
    user_agent: str = "Kassa"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a merchant wants to be told, and what. Secrets are sealed; `hidden` is the operator's default endpoint.

    Its health: `failures` in a row, `throttled` to one request at a time, `paused_until` while its breaker is open.
    """

    merchant_id: str
    endpoint_id: uuid.UUID
    url: str = field(repr=False)
    events: tuple[str, ...]
    format: str
    ordered: bool
    description: str | None = field(repr=False)
    hidden: bool
    status: str
    disabled_reason: str | None
    secret: bytes = field(repr=False)
    old_secret: bytes | None = field(repr=False)
    old_secret_until: datetime | None
    failures: int
    throttled: bool
    paused_until: datetime | None
    pause_s: int
    attempts_since_success: int
    good_at: datetime
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None

    @property
    def subject(self) -> str:
        """Whose events tell of the endpoint itself."""
        return f"endpoint:{self.endpoint_id}"


@dataclass(frozen=True, slots=True)
class Wish:
    """An endpoint that a merchant asks for."""

    url: str = field(repr=False)
    events: tuple[str, ...] = STATUS_CHANGES
    format: str = "payment"
    ordered: bool = True
    description: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be changed of an endpoint; None leaves it. `describe`: `description` is meant, which may become None."""

    url: str | None = field(default=None, repr=False)
    events: tuple[str, ...] | None = None
    ordered: bool | None = None
    description: str | None = field(default=None, repr=False)
    describe: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one endpoint. `attempts` counts over all plans, `next_at` is when it is due."""

    merchant_id: str
    endpoint_id: uuid.UUID
    delivery_id: uuid.UUID
    event_id: uuid.UUID
    event_type: str
    subject: str
    sequence: int
    status: str
    replayed: bool
    attempts: int
    next_at: datetime | None
    last_status_code: int | None
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of a delivery, and what came back."""

    number: int
    began_at: datetime
    duration_ms: int | None
    status_code: int | None
    error: str | None
    response: str | None = field(repr=False)
