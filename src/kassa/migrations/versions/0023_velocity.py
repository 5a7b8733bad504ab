"""How often cards are tried: measures of cards, buyers, addresses and shops."""

from __future__ import annotations

from kassa.migrations import run

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

UP = """
-- How full a measure was at `at` (1 is full) and when it will have run empty by itself. Keys are keyed hashes: no card, person or
-- address can be read from them. `added` is what the last try was of the whole; `cards` are a buyer's, as keyed hashes.
-- `pending` is how many tries have no known end yet, as far as that is known.
CREATE TABLE card_watch (
    merchant_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('address', 'buyer', 'card', 'shop')),
    key bytea NOT NULL,
    level double precision NOT NULL,
    added double precision NOT NULL,
    pending integer NOT NULL,
    cards bytea[] NOT NULL,
    at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL CHECK (ends_at > at),
    PRIMARY KEY (merchant_id, kind, key)
) WITH (fillfactor = 70);
CREATE INDEX card_watch_old ON card_watch (ends_at);
"""

DOWN = "DROP TABLE card_watch;"


def upgrade() -> None:
    """Make the table."""
    run(UP)


def downgrade() -> None:
    """Drop it; for development only."""
    run(DOWN)
