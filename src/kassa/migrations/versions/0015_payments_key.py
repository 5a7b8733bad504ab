"""The primary key of payments is made last again (decision 0015): a plan made on an empty table took `payments_listed` for it."""

from __future__ import annotations

from kassa.migrations import run

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

UP = """
ALTER TABLE refunds DROP CONSTRAINT refunds_merchant_id_payment_id_fkey;
ALTER TABLE payments DROP CONSTRAINT payments_pkey;
ALTER TABLE payments ADD PRIMARY KEY (merchant_id, payment_id);
ALTER TABLE refunds ADD FOREIGN KEY (merchant_id, payment_id) REFERENCES payments;
"""


def upgrade() -> None:
    """Make the key anew, and what refers to it."""
    run(UP)


def downgrade() -> None:
    """Nothing to undo: the key is the same."""
