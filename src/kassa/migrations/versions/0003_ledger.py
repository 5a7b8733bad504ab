"""Ledger: entries that cannot be out of balance."""

from __future__ import annotations

from kassa.migrations import run

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE ledger_entries (
    merchant_id text NOT NULL,
    entry_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('capture', 'refund', 'reversal')),
    payment_id uuid NOT NULL,
    reference text NOT NULL,
    occurred_at timestamptz NOT NULL
);
-- The same capture or refund can be booked once, whoever tries.
CREATE UNIQUE INDEX ledger_entries_once ON ledger_entries (merchant_id, payment_id, kind, reference);
ALTER TABLE ledger_entries ADD PRIMARY KEY (merchant_id, entry_id);

-- A posting moves an amount from one account to another, so an entry cannot be out of balance.
CREATE TABLE ledger_postings (
    merchant_id text NOT NULL,
    entry_id uuid NOT NULL,
    line_no integer NOT NULL,
    debit text NOT NULL,
    credit text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    PRIMARY KEY (merchant_id, entry_id, line_no),
    FOREIGN KEY (merchant_id, entry_id) REFERENCES ledger_entries,
    CHECK (debit <> credit)
);

-- The two sides of each posting as signed lines: debits positive, credits negative.
CREATE VIEW ledger_lines AS
    SELECT merchant_id, entry_id, line_no, debit AS account, currency, amount_minor FROM ledger_postings
    UNION ALL
    SELECT merchant_id, entry_id, line_no, credit, currency, -amount_minor FROM ledger_postings;
"""

DOWN = """
DROP VIEW ledger_lines;
DROP TABLE ledger_postings;
DROP TABLE ledger_entries;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
