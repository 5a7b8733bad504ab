"""The watch over the invariants: how far its look is, and what the last one found. And whose clock may be moved by hand."""

from __future__ import annotations

from kassa.migrations import run

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

UP = """
-- One process looks at a time. `place` says how far the look under way is and what it has found; another one goes on from there.
CREATE TABLE verify_look (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    lease_version bigint NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT '-infinity',
    began_at timestamptz,
    place jsonb,
    fresh_at timestamptz NOT NULL DEFAULT '-infinity',
    CHECK ((began_at IS NULL) = (place IS NULL))
);
INSERT INTO verify_look DEFAULT VALUES;

-- `breaches` is what the last whole look found, or more when a later look at what had just changed found more. `looked_at` and
-- `took_s` are of the last whole look.
CREATE TABLE verify_found (
    invariant integer PRIMARY KEY,
    breaches bigint NOT NULL CHECK (breaches >= 0),
    since timestamptz,
    looked_at timestamptz,
    took_s double precision NOT NULL DEFAULT 0,
    CHECK ((since IS NOT NULL) = (breaches > 0))
);

-- Who has worked here: once production has, the clock is not moved by hand any more.
ALTER TABLE clock ADD COLUMN belongs_to text CHECK (belongs_to IN ('development', 'production'));
"""

DOWN = """
ALTER TABLE clock DROP COLUMN belongs_to;
DROP TABLE verify_found;
DROP TABLE verify_look;
"""


def upgrade() -> None:
    """Make the tables and the column."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
