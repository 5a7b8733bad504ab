"""Stock that comes back in parts: each reservation counts what has been returned of it."""

from __future__ import annotations

from kassa.migrations import run

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

UP = """
ALTER TABLE reservations ADD COLUMN returned bigint NOT NULL DEFAULT 0;
UPDATE reservations r SET returned = j.quantity
  FROM stock_journal j
 WHERE j.merchant_id = r.merchant_id AND j.channel = r.channel AND j.product_id = r.product_id AND j.kind = 'returned'
   AND j.reference = r.checkout_id::text AND r.source = 'own';
ALTER TABLE reservations ADD CHECK (returned BETWEEN 0 AND quantity);
"""

DOWN = """
ALTER TABLE reservations DROP COLUMN returned;
"""


def upgrade() -> None:
    """Add the column."""
    run(UP)


def downgrade() -> None:
    """Drop it; for development only."""
    run(DOWN)
