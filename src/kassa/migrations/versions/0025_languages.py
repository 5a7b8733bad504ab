"""The language in which a buyer is written to about an order."""

from __future__ import annotations

from kassa.migrations import run

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

UP = """
-- A constant default is written into no row, so this takes no time on a large table; a CHECK would look at each of them.
ALTER TABLE notice_recipients ADD COLUMN language text NOT NULL DEFAULT 'en';
"""

DOWN = """
ALTER TABLE notice_recipients DROP COLUMN language;
"""


def upgrade() -> None:
    """Add the column."""
    run(UP)


def downgrade() -> None:
    """Drop it; for development only."""
    run(DOWN)
