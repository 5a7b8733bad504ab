"""Payments: one effort to collect one amount once, and refunds."""

from __future__ import annotations

from kassa.migrations import run

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE payments (
    merchant_id text NOT NULL,
    payment_id uuid NOT NULL,
    ref_kind text NOT NULL CHECK (ref_kind IN ('order', 'outside', 'grpc')),
    ref text NOT NULL,
    holds_reference boolean NOT NULL DEFAULT true,
    provider text NOT NULL,
    method text NOT NULL,
    script text,
    status text NOT NULL CHECK (status IN ('opened', 'waiting', 'unknown', 'parked', 'paid', 'declined', 'expired', 'cancelled',
                                           'refunding', 'refunded', 'reversed')),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    captured_minor bigint NOT NULL DEFAULT 0 CHECK (captured_minor >= 0),
    refunded_minor bigint NOT NULL DEFAULT 0 CHECK (refunded_minor >= 0),
    refunding_minor bigint NOT NULL DEFAULT 0 CHECK (refunding_minor >= 0),
    provider_key text NOT NULL,
    provider_ref text,
    pay_url text,
    reason text,
    message text,
    card_brand text,
    card_first6 text CHECK (card_first6 ~ '^[0-9]{6}$'),
    card_last4 text CHECK (card_last4 ~ '^[0-9]{4}$'),
    card_fingerprint bytea,
    sends integer NOT NULL DEFAULT 0,
    last_sent_at timestamptz,
    asks integer NOT NULL DEFAULT 0,
    unanswerable integer NOT NULL DEFAULT 0,
    next_ask_at timestamptz,
    unknown_since timestamptz,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, payment_id),
    CHECK (captured_minor <= amount_minor),
    CHECK (refunded_minor + refunding_minor <= captured_minor),
    CHECK (status NOT IN ('paid', 'refunding', 'refunded', 'reversed') OR captured_minor = amount_minor),
    CHECK (status <> 'unknown' OR next_ask_at IS NOT NULL)
) WITH (fillfactor = 70);
-- One live or paid payment per reference.
CREATE UNIQUE INDEX payments_one_holder ON payments (merchant_id, ref_kind, ref) WHERE holds_reference;
CREATE INDEX payments_by_id ON payments (payment_id);
CREATE INDEX payments_to_ask ON payments (next_ask_at) WHERE next_ask_at IS NOT NULL;

CREATE TABLE refunds (
    merchant_id text NOT NULL,
    refund_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    currency text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed', 'parked')),
    owed boolean NOT NULL,
    reason text,
    provider_key text NOT NULL,
    provider_ref text,
    message text,
    sends integer NOT NULL DEFAULT 0,
    first_sent_at timestamptz,
    next_at timestamptz,
    lease_until timestamptz,
    lease_version bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    FOREIGN KEY (merchant_id, payment_id) REFERENCES payments,
    CHECK (NOT (owed AND status = 'failed'))
);
CREATE UNIQUE INDEX refunds_by_provider_key ON refunds (merchant_id, provider_key);
CREATE INDEX refunds_of_payment ON refunds (merchant_id, payment_id);
CREATE INDEX refunds_due ON refunds (next_at) WHERE next_at IS NOT NULL;
ALTER TABLE refunds ADD PRIMARY KEY (merchant_id, refund_id);
"""

DOWN = """
DROP TABLE refunds;
DROP TABLE payments;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
