"""Whose order it is, found by an e-mail address that is kept sealed."""

from __future__ import annotations

from kassa.migrations import run

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

UP = """
-- A keyed hash of the address in small letters: it finds the orders of somebody who writes to us, and tells nobody the address.
ALTER TABLE notice_recipients ADD COLUMN email_key bytea CHECK (length(email_key) = 32);
CREATE INDEX notice_recipients_by_email ON notice_recipients (merchant_id, email_key, order_id) WHERE email_key IS NOT NULL;
"""

DOWN = """
DROP INDEX notice_recipients_by_email;
ALTER TABLE notice_recipients DROP COLUMN email_key;
"""


def upgrade() -> None:
    """Add the column and its index."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
