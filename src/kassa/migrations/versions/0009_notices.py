"""Notices: what a buyer is told of an order, each sent once and in order."""

from __future__ import annotations

from kassa.migrations import run

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE notices (
    merchant_id text NOT NULL,
    notice_id uuid NOT NULL,
    order_id uuid NOT NULL,
    event_id uuid NOT NULL,
    type text NOT NULL CHECK (type IN ('order_confirmation', 'payment_confirmation', 'status_update', 'order_cancellation')),
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'sent', 'dead')),
    place integer NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    last_answer text,
    next_at timestamptz NOT NULL,
    lease_until timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX notices_of_event ON notices (merchant_id, event_id);
ALTER TABLE notices ADD PRIMARY KEY (merchant_id, notice_id);
CREATE INDEX notices_waiting ON notices (merchant_id, order_id, created_at, place) WHERE status = 'pending';
"""

DOWN = """
DROP TABLE notices;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
