"""A level is one number, what can be had: a sale does not touch it any more."""

from __future__ import annotations

from kassa.migrations import run

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

UP = """
-- On hand is what can be had and what is held for open checkouts; it was written twice for each purchase, under the same lock.
ALTER TABLE stock_levels ADD COLUMN available bigint;
UPDATE stock_levels SET available = on_hand - reserved;
ALTER TABLE stock_levels ALTER COLUMN available SET NOT NULL, ADD CHECK (available >= 0), DROP COLUMN on_hand, DROP COLUMN reserved;
CREATE INDEX reservations_held ON reservations (merchant_id, channel, product_id) WHERE state = 'held' AND source = 'own';
"""

DOWN = """
DROP INDEX reservations_held;
ALTER TABLE stock_levels ADD COLUMN on_hand bigint, ADD COLUMN reserved bigint NOT NULL DEFAULT 0;
UPDATE stock_levels s SET reserved = h.quantity
  FROM (SELECT merchant_id, channel, product_id, sum(quantity) AS quantity FROM reservations
         WHERE state = 'held' AND source = 'own' GROUP BY merchant_id, channel, product_id) h
 WHERE s.merchant_id = h.merchant_id AND s.channel = h.channel AND s.product_id = h.product_id;
UPDATE stock_levels SET on_hand = available + reserved;
ALTER TABLE stock_levels ALTER COLUMN on_hand SET NOT NULL, ADD CHECK (on_hand >= 0), ADD CHECK (reserved >= 0),
    ADD CHECK (reserved <= on_hand), DROP COLUMN available;
"""


def upgrade() -> None:
    """Put one number in the place of two."""
    run(UP)


def downgrade() -> None:
    """Count the holds again; for development only."""
    run(DOWN)
