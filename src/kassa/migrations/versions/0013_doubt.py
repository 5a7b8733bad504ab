"""What an operator looks through: payments in doubt and refunds that need a person, found without reading whole tables."""

from __future__ import annotations

from kassa.migrations import run

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

UP = """
-- By `unknown_since` and not by `status`: with an index that mentions the status, every move of a payment would write to all
-- indexes.
CREATE INDEX payments_in_doubt ON payments (unknown_since) WHERE unknown_since IS NOT NULL;
CREATE INDEX refunds_parked ON refunds (created_at) WHERE status = 'parked';
"""

DOWN = """
DROP INDEX refunds_parked;
DROP INDEX payments_in_doubt;
"""


def upgrade() -> None:
    """Make the indexes."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
