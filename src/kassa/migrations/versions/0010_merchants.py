"""Merchants: who may call for them, and the plans that they have paid for."""

from __future__ import annotations

from kassa.migrations import run

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

UP = """
ALTER TABLE merchants
    ADD COLUMN email text,
    ADD COLUMN currency text NOT NULL DEFAULT 'USD' CHECK (currency ~ '^[A-Z]{3}$');

CREATE TABLE api_keys (
    merchant_id text NOT NULL REFERENCES merchants,
    key_id uuid NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (merchant_id, key_id)
);

-- Where a key leads, found before the merchant is known: a shared table, outside the rule that merchants come first.
CREATE TABLE api_key_hashes (
    key_hash bytea PRIMARY KEY CHECK (length(key_hash) = 32),
    merchant_id text NOT NULL,
    key_id uuid NOT NULL
);

-- What can be subscribed to; shared by all merchants, who keep what they bought when a plan changes.
CREATE TABLE plans (
    plan_id text PRIMARY KEY CHECK (length(plan_id) BETWEEN 1 AND 64),
    name text NOT NULL,
    price_minor bigint NOT NULL CHECK (price_minor >= 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    tokens bigint NOT NULL CHECK (tokens > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- `told`: 0 nothing, 1 that few tokens are left, 2 that none is; for each filling once.
CREATE TABLE subscriptions (
    merchant_id text NOT NULL REFERENCES merchants,
    plan_id text NOT NULL,
    name text NOT NULL,
    price_minor bigint NOT NULL CHECK (price_minor >= 0),
    currency text NOT NULL,
    tokens_total bigint NOT NULL CHECK (tokens_total >= 0),
    tokens_used bigint NOT NULL DEFAULT 0 CHECK (tokens_used >= 0),
    active boolean NOT NULL DEFAULT true,
    told integer NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, plan_id),
    CHECK (tokens_used <= tokens_total)
) WITH (fillfactor = 50);
"""

DOWN = """
DROP TABLE subscriptions;
DROP TABLE plans;
DROP TABLE api_key_hashes;
DROP TABLE api_keys;
ALTER TABLE merchants DROP COLUMN email, DROP COLUMN currency;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
