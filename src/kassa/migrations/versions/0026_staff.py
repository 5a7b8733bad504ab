"""The back office: accounts, sessions, tries to sign in, acts that wait for a second person; messages that are sent once more."""

from __future__ import annotations

from kassa.migrations import run

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

UP = """
-- People of the back office. `name` is what they type and what the audit log calls them; it is never given to somebody else.
CREATE TABLE staff_accounts (
    merchant_id text NOT NULL,
    account_id uuid NOT NULL,
    name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9._-]{1,63}$'),
    email text NOT NULL CHECK (length(email) <= 254),
    role text NOT NULL CHECK (role IN ('staff', 'admin')),
    password_hash text NOT NULL,
    password_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    disabled_at timestamptz,
    PRIMARY KEY (merchant_id, account_id)
);
CREATE UNIQUE INDEX staff_accounts_name ON staff_accounts (merchant_id, name);
CREATE UNIQUE INDEX staff_accounts_email ON staff_accounts (merchant_id, lower(email));

-- Who is signed in. The browser has the token; here is its hash.
CREATE TABLE staff_sessions (
    merchant_id text NOT NULL,
    session_id uuid NOT NULL,
    account_id uuid NOT NULL,
    token_hash bytea NOT NULL CHECK (length(token_hash) = 32),
    address text NOT NULL,
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (merchant_id, session_id),
    FOREIGN KEY (merchant_id, account_id) REFERENCES staff_accounts
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX staff_sessions_token ON staff_sessions (merchant_id, token_hash);
CREATE INDEX staff_sessions_of_account ON staff_sessions (merchant_id, account_id, created_at) WHERE ended_at IS NULL;
CREATE INDEX staff_sessions_old ON staff_sessions (created_at);

-- Failed tries to sign in since `since`, of an account or an address; keys are keyed hashes.
CREATE TABLE staff_tries (
    merchant_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('account', 'address')),
    key bytea NOT NULL,
    tries integer NOT NULL CHECK (tries > 0),
    since timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, kind, key)
) WITH (fillfactor = 70);
CREATE INDEX staff_tries_old ON staff_tries (since);

-- An act above the limit, as it was asked for: it is done when another admin says yes. `asked` has what the form said.
CREATE TABLE approvals (
    merchant_id text NOT NULL,
    approval_id uuid NOT NULL,
    act text NOT NULL,
    subject text NOT NULL,
    asked jsonb NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    why text NOT NULL,
    once_key text NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'rejected', 'done', 'failed')),
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    decided_by text,
    decided_why text,
    decided_at timestamptz,
    outcome text,
    PRIMARY KEY (merchant_id, approval_id),
    CHECK ((status = 'pending') = (decided_by IS NULL)),
    CHECK (decided_by IS NULL OR decided_by <> asked_by)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX approvals_once ON approvals (merchant_id, asked_by, once_key);
CREATE INDEX approvals_open ON approvals (approval_id) WHERE status IN ('pending', 'approved');
CREATE INDEX approvals_newest ON approvals (approval_id);
CREATE INDEX approvals_about ON approvals (merchant_id, subject);

-- How often a person has had a message sent once more: each time it is another message to its receiver.
ALTER TABLE notices ADD COLUMN again integer NOT NULL DEFAULT 0;
"""

DOWN = """
ALTER TABLE notices DROP COLUMN again;
DROP TABLE approvals;
DROP TABLE staff_tries;
DROP TABLE staff_sessions;
DROP TABLE staff_accounts;
"""


def upgrade() -> None:
    """Make the tables, and the column."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
