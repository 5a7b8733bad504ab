"""Events: what happened, numbered without gaps per subject."""

from __future__ import annotations

from kassa.migrations import run

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE event_counters (
    merchant_id text NOT NULL,
    subject text NOT NULL,
    last integer NOT NULL CHECK (last > 0),
    PRIMARY KEY (merchant_id, subject)
) WITH (fillfactor = 70);

CREATE TABLE events (
    merchant_id text NOT NULL,
    event_id uuid NOT NULL,
    subject text NOT NULL,
    sequence integer NOT NULL CHECK (sequence > 0),
    type text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    occurred_at timestamptz NOT NULL,
    data jsonb NOT NULL,
    relayed_at timestamptz
);
-- Where two indexes begin alike and a table is still empty, the planner takes the newer one and keeps that plan: so the primary key
-- comes after the others, here and below.
CREATE UNIQUE INDEX events_of_subject ON events (merchant_id, subject, sequence);
ALTER TABLE events ADD PRIMARY KEY (merchant_id, event_id);
"""

DOWN = """
DROP TABLE events;
DROP TABLE event_counters;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
