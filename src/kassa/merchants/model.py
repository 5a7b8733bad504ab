"""A merchant, its keys and its subscriptions, and what can be refused to whoever calls for it. No I/O here."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kassa.kit.errors import NotAllowed, NotFound, Refused
from kassa.kit.ids import in_json

SCOPES = (
    "payments:read",
    "payments:write",
    "refunds:write",
    "merchant:read",
    "events:read",
    "webhooks:manage",
    "keys:manage",
)
"""What a key may be allowed to do (payments contract, section 2)."""
TRUSTED_SCOPES = frozenset(SCOPES) - {"keys:manage"}
"""What a gateway that names a merchant may do in its name (rulings, 37)."""

_SHOWN = 8
LONGEST_KEY = 255


class Unauthorized(NotAllowed):
    """Unauthorized"""  # noqa: D400 - the contract's own word, without a full stop

    code = "unauthorized"
    advice = "Send `X-Api-Key` with a key of the merchant."


class UnknownMerchant(NotAllowed):
    """Unknown merchant"""  # noqa: D400

    code = "unknown_merchant"
    advice = "Name a merchant that there is, or use a key: it names its own."


class InvalidApiKey(NotAllowed):
    """Invalid API key"""  # noqa: D400

    code = "invalid_api_key"
    advice = "Use a key that is good: this one is unknown, malformed or revoked."


class MerchantMismatch(NotAllowed):
    """Merchant mismatch"""  # noqa: D400

    code = "merchant_mismatch"
    advice = "Name the merchant of the key, or leave the header out."


class InsufficientScope(NotAllowed):
    """Insufficient scope"""  # noqa: D400

    code = "insufficient_scope"
    advice = "Use a key that has the scope which the answer names."

    def __init__(self, required: str) -> None:
        super().__init__(required=required)
        self.required = required


class KeyMissing(NotFound):
    """API key not found"""  # noqa: D400

    code = "api_key_not_found"


class MerchantMissing(NotFound):
    """There is no such merchant."""

    code = "merchant_not_found"


class PlanMissing(NotFound):
    """There is no such plan."""

    code = "plan_not_found"


class SubscriptionMissing(Refused):
    """Active subscription not found"""  # noqa: D400

    code = "subscription_not_found"
    advice = "Have the operator subscribe the merchant to a plan, or activate the one that it has."


class QuotaExceeded(Refused):
    """quota_exceeded"""  # noqa: D400 - the contract's own word

    code = "quota_exceeded"
    advice = "Have the plan filled up; waiting does not help."


def hash_of(secret: str) -> bytes:
    """How a key is stored and found: the SHA-256 of its text, which has 256 random bits of its own."""
    return hashlib.sha256(secret.encode()).digest()


def shown_prefix(secret: str) -> str:
    """The part of a key that may be shown, so that its owner tells it from others."""
    return secret[:_SHOWN]


@dataclass(frozen=True, slots=True)
class Merchant:
    """A tenant who sells. `currency` is that of the payments it asks for."""

    merchant_id: str
    name: str
    email: str | None
    currency: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it may be shown: never its secret."""

    merchant_id: str
    key_id: uuid.UUID
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a request acts, and what it may do. `key_id` None: a trusted gateway named the merchant."""

    merchant: Merchant
    scopes: frozenset[str]
    key_id: uuid.UUID | None = None
    stale: bool = False
    """Whether the key's last use was noted more than a minute ago."""

    def needs(self, scope: str) -> None:
        """Raise `InsufficientScope` unless the caller has `scope`."""
        if scope not in self.scopes:
            raise InsufficientScope(scope)


@dataclass(frozen=True, slots=True)
class Plan:
    """What can be subscribed to: a price for a number of tokens. `price_minor` is in minor units of `currency`."""

    plan_id: str
    name: str
    price_minor: int
    currency: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Subscription:
    """A merchant's prepaid plan, with name and price as they were when it was bought; each accepted payment spends one token."""

    merchant_id: str
    plan_id: str
    name: str
    price_minor: int
    currency: str
    tokens_total: int
    tokens_used: int
    active: bool
    started_at: datetime

    @property
    def tokens_left(self) -> int:
        """How many payments can still be accepted."""
        return self.tokens_total - self.tokens_used

    def event_data(self) -> dict[str, Any]:
        """The members of a `subscription.*` event."""
        return {
            "subscription_id": in_json(self.plan_id),
            "plan": self.name,
            "tokens_total": self.tokens_total,
            "tokens_used": self.tokens_used,
            "tokens_left": self.tokens_left,
        }
