"""A write that did not touch what it had to ends its statement: the error names the write (`kassa.kit.writes`)."""

from __future__ import annotations

from kassa.migrations import run

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

UP = """
CREATE FUNCTION kassa_unmet(what text) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION USING ERRCODE = 'KA001', MESSAGE = what;
    END $$;
"""

DOWN = """
DROP FUNCTION kassa_unmet(text);
"""


def upgrade() -> None:
    """Make the function."""
    run(UP)


def downgrade() -> None:
    """Drop it; for development only."""
    run(DOWN)
