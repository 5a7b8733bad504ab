"""Payme's Subscribe API: payments that were begun with the token of a card."""

from __future__ import annotations

from kassa.migrations import run

revision = "0021"
down_revision = "0019"
branch_labels = None
depends_on = None

UP = """
-- One payment that was begun with a card's token: the receipt that Payme made for it, and how far that is. The token is nowhere.
-- Whether it is paid is not said here: that is Payme's PerformTransaction alone.
CREATE TABLE payme_charges (
    merchant_id text NOT NULL,
    payment_id uuid NOT NULL,
    receipt_id text CHECK (receipt_id ~ '^[!-~]{1,64}$'),
    state text NOT NULL CHECK (state IN ('begun', 'paying', 'paid', 'declined', 'lost')),
    message text,
    asks integer NOT NULL DEFAULT 0,
    next_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    FOREIGN KEY (merchant_id, payment_id) REFERENCES payments,
    CHECK (state <> 'paying' OR receipt_id IS NOT NULL),
    CHECK ((next_at IS NOT NULL) = (state IN ('begun', 'paying')))
);
CREATE INDEX payme_charges_due ON payme_charges (next_at) WHERE next_at IS NOT NULL;
ALTER TABLE payme_charges ADD PRIMARY KEY (merchant_id, payment_id);
"""

DOWN = "DROP TABLE payme_charges;"


def upgrade() -> None:
    """Make the table."""
    run(UP)


def downgrade() -> None:
    """Drop it; for development only."""
    run(DOWN)
