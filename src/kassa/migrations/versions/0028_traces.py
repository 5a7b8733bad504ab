"""Which trace an event was recorded in."""

from __future__ import annotations

from kassa.migrations import run

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

UP = """
-- As a caller says it (W3C Trace Context), so that whoever goes on with the work is told the same. Found by subject, not by trace:
-- a collector knows which payment a trace is about.
ALTER TABLE events ADD COLUMN traceparent text;
"""

DOWN = """
ALTER TABLE events DROP COLUMN traceparent;
"""


def upgrade() -> None:
    """Add the column."""
    run(UP)


def downgrade() -> None:
    """Drop it; for development only."""
    run(DOWN)
