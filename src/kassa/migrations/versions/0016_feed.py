"""The feed: each committed event gets a place in its merchant's order, under the lock of the merchant's feed row (rulings, 21)."""

from __future__ import annotations

from kassa.migrations import run

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

UP = """
-- `json` keeps the members as they were rendered: what is posted and signed must be the same bytes for ever.
ALTER TABLE events ALTER COLUMN data TYPE json USING data::json;
ALTER TABLE events DROP COLUMN relayed_at;
ALTER TABLE events ADD COLUMN place bigint CHECK (place > 0);
CREATE INDEX events_without_place ON events (merchant_id, event_id) WHERE place IS NULL;
CREATE UNIQUE INDEX events_by_place ON events (merchant_id, place) WHERE place IS NOT NULL;

-- `last` is the newest place that was given, `relayed` the newest that the broker has confirmed, `kept_from` the oldest that is
-- still shown. A relay leads a merchant's feed under a lease.
CREATE TABLE feeds (
    merchant_id text NOT NULL,
    last bigint NOT NULL DEFAULT 0,
    relayed bigint NOT NULL DEFAULT 0,
    kept_from bigint NOT NULL DEFAULT 1,
    lease_until timestamptz,
    lease_version integer NOT NULL DEFAULT 0,
    CHECK (relayed BETWEEN 0 AND last),
    PRIMARY KEY (merchant_id)
) WITH (fillfactor = 50);
"""

DOWN = """
DROP TABLE feeds;
DROP INDEX events_by_place;
DROP INDEX events_without_place;
ALTER TABLE events DROP COLUMN place;
ALTER TABLE events ADD COLUMN relayed_at timestamptz;
ALTER TABLE events ALTER COLUMN data TYPE jsonb USING data::jsonb;
"""


def upgrade() -> None:
    """Make the table, and the places."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
