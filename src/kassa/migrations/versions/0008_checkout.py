"""Checkout: the durable saga, its journal, and cases for a person."""

from __future__ import annotations

from kassa.migrations import run

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE checkouts (
    merchant_id text NOT NULL,
    checkout_id uuid NOT NULL,
    channel text NOT NULL,
    surface text NOT NULL CHECK (surface IN ('orders', 'checkout')),
    buyer_id text,
    status text NOT NULL CHECK (status IN ('started', 'reserved', 'paying', 'paid', 'completed', 'undoing', 'undone', 'returning',
                                           'parked')),
    method text NOT NULL,
    acts text[] NOT NULL,
    cart_id uuid,
    cart_version bigint,
    asked bytea,
    order_id uuid,
    payment_id uuid,
    currency text NOT NULL,
    total_minor bigint,
    customer_email text,
    request_id text,
    error text,
    error_code text,
    error_message text,
    error_items jsonb,
    deadline timestamptz,
    next_at timestamptz,
    tries integer NOT NULL DEFAULT 0,
    lease_until timestamptz,
    lease_version bigint NOT NULL DEFAULT 0,
    idempotency jsonb,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (merchant_id, checkout_id),
    CHECK ((cart_id IS NULL) = (cart_version IS NULL)),
    CHECK (status IN ('completed', 'undone', 'parked') OR next_at IS NOT NULL),
    CHECK (status = 'undone' OR (order_id IS NOT NULL AND payment_id IS NOT NULL AND total_minor IS NOT NULL))
) WITH (fillfactor = 60);
-- A cart version becomes one checkout.
CREATE UNIQUE INDEX checkouts_of_cart ON checkouts (merchant_id, cart_id, cart_version) WHERE cart_id IS NOT NULL;
CREATE INDEX checkouts_due ON checkouts (next_at) WHERE next_at IS NOT NULL;

CREATE TABLE checkout_steps (
    merchant_id text NOT NULL,
    checkout_id uuid NOT NULL,
    step text NOT NULL,
    position integer NOT NULL,
    status text NOT NULL CHECK (status IN ('running', 'done', 'refused', 'unknown', 'undoing', 'undone', 'stuck')),
    ref text,
    answer jsonb,
    sends integer NOT NULL DEFAULT 0,
    first_sent_at timestamptz,
    undos integer NOT NULL DEFAULT 0,
    undo_since timestamptz,
    began_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, checkout_id, step),
    FOREIGN KEY (merchant_id, checkout_id) REFERENCES checkouts
) WITH (fillfactor = 80);

CREATE TABLE cases (
    merchant_id text NOT NULL,
    case_id uuid NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    act text NOT NULL,
    amount_minor bigint,
    currency text,
    last_answer text,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    decision text,
    PRIMARY KEY (merchant_id, case_id)
);
CREATE UNIQUE INDEX cases_open ON cases (merchant_id, kind, subject, act) WHERE closed_at IS NULL;
"""

DOWN = """
DROP TABLE cases;
DROP TABLE checkout_steps;
DROP TABLE checkouts;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
