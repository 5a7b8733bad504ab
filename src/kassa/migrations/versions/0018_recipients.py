"""Who is told of an order, sealed, and which event each notice is about."""

from __future__ import annotations

from kassa.migrations import run

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

UP = """
-- `sealed` holds the address and the name of a buyer, encrypted; a forgotten one has neither, and never gets them again.
CREATE TABLE notice_recipients (
    merchant_id text NOT NULL,
    order_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    buyer_id text,
    sealed bytea,
    forgotten boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, order_id),
    CHECK (NOT forgotten OR (buyer_id IS NULL AND sealed IS NULL))
) WITH (fillfactor = 90);
INSERT INTO notice_recipients (merchant_id, order_id, payment_id, buyer_id, created_at)
SELECT merchant_id, order_id, payment_id, buyer_id, created_at FROM orders;

ALTER TABLE notices ADD COLUMN event_type text;
ALTER TABLE notices ADD COLUMN amount text;
UPDATE notices n SET event_type = e.type FROM events e WHERE e.merchant_id = n.merchant_id AND e.event_id = n.event_id;
CREATE INDEX notices_due ON notices (next_at) WHERE status = 'pending';
CREATE INDEX notices_sent ON notices (updated_at) WHERE status = 'sent';
"""

DOWN = """
DROP INDEX notices_sent;
DROP INDEX notices_due;
ALTER TABLE notices DROP COLUMN amount;
ALTER TABLE notices DROP COLUMN event_type;
DROP TABLE notice_recipients;
"""


def upgrade() -> None:
    """Make the table, the columns and the indexes."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
