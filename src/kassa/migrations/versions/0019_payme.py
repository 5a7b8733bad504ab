"""Payme: cashboxes, its transactions with their own states, fiscal receipts; and what a buyer of ambassadors has bought."""

from __future__ import annotations

from kassa.migrations import run

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

UP = """
-- The attempt of a provider that holds the payment: while there is one, nobody closes the payment.
ALTER TABLE payments ADD COLUMN held_by uuid,
    ADD CHECK (held_by IS NULL OR status IN ('opened', 'waiting'));

ALTER TABLE checkouts DROP CONSTRAINT checkouts_surface_check,
    ADD CONSTRAINT checkouts_surface_check CHECK (surface IN ('orders', 'checkout', 'purchases'));

-- A merchant's own cashbox at Payme; the house has that of the settings.
CREATE TABLE payme_cashboxes (
    merchant_id text PRIMARY KEY REFERENCES merchants,
    cashbox_id text NOT NULL CHECK (cashbox_id ~ '^[A-Za-z0-9_.:-]{1,64}$'),
    key bytea NOT NULL,
    is_test boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Payme's attempts to pay a payment. Times are milliseconds: ours but for `time_ms`, which is Payme's. `account` as it was sent.
CREATE TABLE payme_transactions (
    merchant_id text NOT NULL,
    transaction_id uuid NOT NULL,
    payme_id text NOT NULL CHECK (payme_id ~ '^[ -~]{1,64}$'),
    cashbox_id text NOT NULL,
    payment_id uuid NOT NULL,
    account json NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    time_ms bigint NOT NULL,
    deadline_ms bigint NOT NULL,
    create_ms bigint NOT NULL CHECK (create_ms > 0),
    perform_ms bigint NOT NULL DEFAULT 0,
    cancel_ms bigint NOT NULL DEFAULT 0,
    state smallint NOT NULL CHECK (state IN (1, 2, -1, -2)),
    reason numeric,
    FOREIGN KEY (merchant_id, payment_id) REFERENCES payments,
    CHECK (perform_ms >= 0 AND (perform_ms > 0) = (state IN (2, -2))),
    CHECK (cancel_ms >= 0 AND (cancel_ms > 0) = (state < 0)),
    CHECK ((reason IS NOT NULL) = (state < 0))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX payme_transactions_by_payme_id ON payme_transactions (merchant_id, payme_id);
-- One live or performed attempt of a payment.
CREATE UNIQUE INDEX payme_transactions_one_live ON payme_transactions (merchant_id, payment_id) WHERE state IN (1, 2);
CREATE INDEX payme_transactions_of_payment ON payme_transactions (merchant_id, payment_id, create_ms);
CREATE INDEX payme_transactions_stated ON payme_transactions (merchant_id, cashbox_id, time_ms, create_ms, payme_id);
CREATE INDEX payme_transactions_to_expire ON payme_transactions (deadline_ms) WHERE state = 1;
ALTER TABLE payme_transactions ADD PRIMARY KEY (merchant_id, transaction_id);

-- What the tax authority said, verbatim: a receipt for the payment and one for its cancellation.
CREATE TABLE payme_receipts (
    merchant_id text NOT NULL,
    payme_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('PERFORM', 'CANCEL')),
    data json NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, payme_id, kind)
);

-- What a receipt must say of a product to the tax authority; product '*' stands for all of a channel that have no row of their own.
CREATE TABLE fiscal_codes (
    merchant_id text NOT NULL,
    channel text NOT NULL,
    product_id text NOT NULL,
    code text NOT NULL CHECK (code ~ '^[0-9]{1,32}$'),
    package_code text NOT NULL CHECK (package_code ~ '^[0-9]{1,32}$'),
    vat_percent integer NOT NULL CHECK (vat_percent BETWEEN 0 AND 100),
    units integer CHECK (units > 0),
    PRIMARY KEY (merchant_id, channel, product_id),
    FOREIGN KEY (merchant_id, channel) REFERENCES channels
);

-- What a buyer has: one row a line, from the moment it was paid until it is given back.
CREATE TABLE bought_lines (
    merchant_id text NOT NULL,
    line_id uuid NOT NULL,
    order_id uuid NOT NULL,
    channel text NOT NULL,
    buyer_id text NOT NULL,
    product_id text NOT NULL,
    price_minor bigint NOT NULL CHECK (price_minor >= 0),
    bought_at timestamptz NOT NULL,
    given_back_at timestamptz,
    FOREIGN KEY (merchant_id, order_id, product_id) REFERENCES order_lines
);
CREATE UNIQUE INDEX bought_lines_of_order ON bought_lines (merchant_id, order_id, product_id);
CREATE INDEX bought_lines_of_buyer ON bought_lines (merchant_id, channel, buyer_id, bought_at DESC, line_id DESC)
    WHERE given_back_at IS NULL;
ALTER TABLE bought_lines ADD PRIMARY KEY (merchant_id, line_id);

-- Ids of messages from elsewhere that have had their effect, so that one that is told again has none. Forgotten after 30 days.
CREATE TABLE heard_messages (
    merchant_id text NOT NULL,
    source text NOT NULL,
    message_id text NOT NULL,
    heard_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, source, message_id)
);
CREATE INDEX heard_messages_by_age ON heard_messages (heard_at);

CREATE INDEX checkouts_open_of_channel ON checkouts (merchant_id, channel, cart_id, order_id)
    WHERE status = 'paying' AND surface = 'purchases';
CREATE INDEX cart_lines_of_product ON cart_lines (merchant_id, product_id, cart_id);

-- The tables that the purchases contract's readers know. Each is a join, so that nothing can be written through it.
CREATE SCHEMA purchases;
CREATE VIEW purchases.carts AS
    SELECT c.merchant_id, c.cart_id AS id, c.buyer_id AS user_id, c.created_at
      FROM public.carts c JOIN public.channels h USING (merchant_id, channel) WHERE c.channel = 'ambassadors';
CREATE VIEW purchases.cart_items AS
    SELECT l.merchant_id, l.line_id AS id, l.cart_id, l.product_id::bigint AS ambassador_id, l.added_at AS created_at
      FROM public.cart_lines l JOIN public.carts c USING (merchant_id, cart_id) WHERE c.channel = 'ambassadors';
CREATE VIEW purchases.purchases AS
    SELECT b.merchant_id, b.line_id AS id, b.buyer_id AS user_id, b.product_id::bigint AS ambassador_id,
           b.price_minor AS price_paid, b.bought_at AS created_at, b.order_id
      FROM public.bought_lines b JOIN public.channels h USING (merchant_id, channel)
     WHERE b.channel = 'ambassadors' AND b.given_back_at IS NULL;
CREATE VIEW purchases.payments AS
    SELECT p.merchant_id, p.payment_id AS id, t.payme_id AS transaction_id, c.order_id AS purchase_id,
           CASE WHEN p.status IN ('opened', 'waiting', 'unknown', 'parked') THEN 'pending'
                WHEN p.status = 'paid' THEN 'completed'
                WHEN p.status = 'declined' THEN 'failed' ELSE 'cancelled' END AS status,
           p.amount_minor AS amount, t.payme_id AS payme_transaction_id, t.time_ms AS payme_time, t.state AS payme_state,
           t.reason AS payme_reason, p.created_at, p.updated_at
      FROM public.checkouts c JOIN public.payments p USING (merchant_id, payment_id)
      LEFT JOIN LATERAL (
           SELECT * FROM public.payme_transactions x WHERE x.merchant_id = p.merchant_id AND x.payment_id = p.payment_id
            ORDER BY x.create_ms DESC, x.transaction_id DESC LIMIT 1) t ON true
     WHERE c.channel = 'ambassadors' AND c.surface = 'purchases';
"""

DOWN = """
DROP SCHEMA purchases CASCADE;
DROP INDEX cart_lines_of_product;
DROP TABLE heard_messages;
DROP INDEX checkouts_open_of_channel;
DROP TABLE bought_lines;
DROP TABLE fiscal_codes;
DROP TABLE payme_receipts;
DROP TABLE payme_transactions;
DROP TABLE payme_cashboxes;
ALTER TABLE checkouts DROP CONSTRAINT checkouts_surface_check,
    ADD CONSTRAINT checkouts_surface_check CHECK (surface IN ('orders', 'checkout'));
ALTER TABLE payments DROP COLUMN held_by;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
