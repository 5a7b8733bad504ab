"""The audit log: what people did by hand, chained; and the installation's own keys, sealed."""

from __future__ import annotations

from kassa.migrations import run

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

UP = """
-- Random keys of this installation, sealed with KASSA_SECRET. Whoever cannot open them has another secret. Shared by all merchants.
CREATE TABLE sealed_keys (
    name text PRIMARY KEY,
    sealed bytea NOT NULL,
    made_at timestamptz NOT NULL,
    resealed_at timestamptz
);

-- The end of a merchant's chain; whoever adds a line locks this row, as the last one of its transaction.
CREATE TABLE audit_heads (
    merchant_id text PRIMARY KEY,
    last bigint NOT NULL CHECK (last >= 0),
    hash bytea NOT NULL CHECK (length(hash) = 32)
) WITH (fillfactor = 50);

-- One line for each act of a person: merchant '*' for what concerns all. `hash` is keyed, over all of the line and `previous`.
CREATE TABLE audit_log (
    merchant_id text NOT NULL,
    place bigint NOT NULL CHECK (place > 0),
    who_kind text NOT NULL CHECK (who_kind IN ('operator', 'staff', 'admin', 'key', 'gateway')),
    who_name text NOT NULL,
    act text NOT NULL,
    subject text NOT NULL,
    why text,
    what jsonb NOT NULL,
    request_id text,
    at timestamptz NOT NULL,
    previous bytea NOT NULL CHECK (length(previous) = 32),
    hash bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX audit_log_by_time ON audit_log (at, merchant_id, place);
CREATE INDEX audit_log_of_subject ON audit_log (merchant_id, subject, place);
ALTER TABLE audit_log ADD PRIMARY KEY (merchant_id, place);
-- Only added to: the owner itself may not change or remove a line. A superuser can; the chain tells.
REVOKE UPDATE, DELETE, TRUNCATE ON audit_log FROM PUBLIC, CURRENT_USER;
"""

DOWN = """
DROP TABLE audit_log;
DROP TABLE audit_heads;
DROP TABLE sealed_keys;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
