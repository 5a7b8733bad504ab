"""Kit: the one clock, and idempotency keys."""

from __future__ import annotations

from kassa.migrations import run

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UP = """
CREATE TABLE clock (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    shift interval NOT NULL DEFAULT '0'
);
INSERT INTO clock DEFAULT VALUES;

-- The one clock of deadlines, retries and timelines: the start of the transaction plus the stored shift. Unmoved it is
-- now() itself and costs nothing; reading the shift from its row at each use took a quarter of a checkout's database time.
CREATE FUNCTION kassa_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT now()';

-- Moves the clock, for tests and the sandbox: the row says by how much in all, and the function is written anew.
CREATE FUNCTION kassa_move_clock(by_how_much interval) RETURNS timestamptz LANGUAGE plpgsql AS '
    DECLARE
        total interval;
    BEGIN
        UPDATE clock SET shift = shift + by_how_much RETURNING shift INTO total;
        EXECUTE format(
            ''CREATE OR REPLACE FUNCTION kassa_now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS %L'',
            format(''SELECT now() + interval %L'', total));
        RETURN now() + total;
    END ';

CREATE TABLE idempotency_keys (
    merchant_id text NOT NULL,
    caller text NOT NULL,
    operation text NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 8 AND 255),
    payload bytea NOT NULL,
    subject text,
    state text NOT NULL CHECK (state IN ('running', 'accepted', 'done')),
    status integer,
    answer bytea,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, caller, operation, key),
    CHECK ((state = 'done') = (answer IS NOT NULL AND status IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX idempotency_keys_expiring ON idempotency_keys (expires_at);
"""

DOWN = """
DROP TABLE idempotency_keys;
DROP FUNCTION kassa_move_clock(interval);
DROP FUNCTION kassa_now();
DROP TABLE clock;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
