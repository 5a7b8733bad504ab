"""Payments that merchants ask for: what they asked, where it was routed, what providers reported, and lines given back."""

from __future__ import annotations

from kassa.migrations import run

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

UP = """
-- quantity, ref_is_number, event_ref: as the merchant said it. token_plan: whose token was spent, until it is given back.
-- routed_to: the provider that holds the money, where an alias stands for one. client_key: the caller's key, for ever (gRPC);
-- metadata: what it said beside, as JSON bytes, because text and jsonb cannot hold every character.
ALTER TABLE payments
    ADD COLUMN quantity text NOT NULL DEFAULT '1',
    ADD COLUMN ref_is_number boolean NOT NULL DEFAULT false,
    ADD COLUMN event_ref text,
    ADD COLUMN token_plan text,
    ADD COLUMN routed_to text,
    ADD COLUMN routing jsonb,
    ADD COLUMN client_key text,
    ADD COLUMN metadata bytea;
CREATE UNIQUE INDEX payments_by_client_key ON payments (merchant_id, client_key) WHERE client_key IS NOT NULL;
CREATE INDEX payments_of_reference ON payments (merchant_id, ref, ref_kind);
CREATE INDEX payments_listed ON payments (merchant_id, created_at DESC, payment_id DESC);
-- Payments of orders are led by their checkouts; all others lead themselves.
DROP INDEX payments_to_ask;
CREATE INDEX payments_due ON payments (next_ask_at) WHERE next_ask_at IS NOT NULL AND ref_kind <> 'order';

CREATE TABLE refund_lines (
    merchant_id text NOT NULL,
    refund_id uuid NOT NULL,
    line_id text NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0),
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    restock boolean NOT NULL DEFAULT false,
    PRIMARY KEY (merchant_id, refund_id, line_id),
    FOREIGN KEY (merchant_id, refund_id) REFERENCES refunds
);

-- Which provider serves an alias: the first rule that fits, by position. Merchant '*' means all that have no rule of their own.
CREATE TABLE routes (
    merchant_id text NOT NULL,
    alias text NOT NULL CHECK (length(alias) BETWEEN 1 AND 64),
    position integer NOT NULL,
    provider text NOT NULL CHECK (length(provider) BETWEEN 1 AND 64),
    currency text CHECK (currency ~ '^[A-Z]{3}$'),
    min_minor bigint CHECK (min_minor >= 0),
    max_minor bigint CHECK (max_minor >= 0),
    share integer NOT NULL DEFAULT 100 CHECK (share BETWEEN 1 AND 100),
    enabled boolean NOT NULL DEFAULT true,
    PRIMARY KEY (merchant_id, alias, position)
);

-- What providers reported, as accepted: one row a call, in the transaction of its effect.
CREATE TABLE inbox (
    merchant_id text NOT NULL,
    message_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    refund_id uuid,
    status text NOT NULL,
    outcome text NOT NULL,
    received_at timestamptz NOT NULL
);
CREATE INDEX inbox_of_payment ON inbox (merchant_id, payment_id);
ALTER TABLE inbox ADD PRIMARY KEY (merchant_id, message_id);

-- Reports of payments that are not known (yet): a shared table, as nobody knows whose they are. Tried every second for 72 h.
CREATE TABLE inbox_unmatched (
    message_id uuid PRIMARY KEY,
    payment_id uuid NOT NULL,
    refund_id uuid,
    status text NOT NULL,
    price text,
    currency text,
    received_at timestamptz NOT NULL,
    next_at timestamptz
);
CREATE INDEX inbox_unmatched_due ON inbox_unmatched (next_at) WHERE next_at IS NOT NULL;
"""

DOWN = """
DROP TABLE inbox_unmatched;
DROP TABLE inbox;
DROP TABLE routes;
DROP TABLE refund_lines;
DROP INDEX payments_due;
CREATE INDEX payments_to_ask ON payments (next_ask_at) WHERE next_ask_at IS NOT NULL;
DROP INDEX payments_listed;
DROP INDEX payments_of_reference;
DROP INDEX payments_by_client_key;
ALTER TABLE payments
    DROP COLUMN quantity, DROP COLUMN ref_is_number, DROP COLUMN event_ref, DROP COLUMN token_plan, DROP COLUMN routed_to,
    DROP COLUMN routing, DROP COLUMN client_key, DROP COLUMN metadata;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
