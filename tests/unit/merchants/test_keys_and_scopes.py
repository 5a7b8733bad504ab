"""Keys and scopes, as far as they can be judged without a database."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from kassa.merchants import Caller, Merchant, Subscription
from kassa.merchants.model import SCOPES, TRUSTED_SCOPES, InsufficientScope, hash_of, shown_prefix

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SOMEBODY = Merchant("1", "A merchant", None, "USD", NOON)


def test_the_scopes_are_those_of_the_contract() -> None:
    assert SCOPES == (
        "payments:read", "payments:write", "refunds:write", "merchant:read", "events:read", "webhooks:manage", "keys:manage",
    )  # fmt: skip


def test_a_gateway_may_do_all_but_make_keys() -> None:
    assert set(SCOPES) - TRUSTED_SCOPES == {"keys:manage"}
    assert set(SCOPES) > TRUSTED_SCOPES


@pytest.mark.parametrize("scope", SCOPES)
def test_a_caller_needs_the_very_scope(scope: str) -> None:
    Caller(SOMEBODY, frozenset({scope})).needs(scope)
    others = Caller(SOMEBODY, frozenset(SCOPES) - {scope})
    with pytest.raises(InsufficientScope) as refused:
        others.needs(scope)
    assert refused.value.required == scope


def test_a_key_is_found_by_the_hash_of_its_text() -> None:
    assert hash_of("sk_demo_1") == hashlib.sha256(b"sk_demo_1").digest()


def test_of_a_key_eight_characters_may_be_shown() -> None:
    assert shown_prefix("sk_" + "x" * 43) == "sk_xxxxx"


def test_a_subscription_tells_what_is_left_of_it() -> None:
    bought = Subscription("1", "5", "Taster", 0, "USD", tokens_total=3, tokens_used=2, active=True, started_at=NOON)
    assert bought.tokens_left == 1
    assert bought.event_data() == {"subscription_id": 5, "plan": "Taster", "tokens_total": 3, "tokens_used": 2, "tokens_left": 1}
