"""Catalog: merchants' channels, products, stock and its journal."""

from __future__ import annotations

from kassa.migrations import run

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE merchants (
    merchant_id text PRIMARY KEY CHECK (length(merchant_id) BETWEEN 1 AND 64),
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE channels (
    merchant_id text NOT NULL REFERENCES merchants,
    channel text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    delivery_days integer NOT NULL DEFAULT 5 CHECK (delivery_days >= 0),
    methods text[] NOT NULL,
    aliases text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (merchant_id, channel),
    UNIQUE (merchant_id, channel, currency)
);

CREATE TABLE products (
    merchant_id text NOT NULL,
    channel text NOT NULL,
    product_id text NOT NULL CHECK (product_id ~ '^[A-Za-z0-9_.-]{1,50}$'),
    sku text NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    price_minor bigint NOT NULL CHECK (price_minor >= 0),
    currency text NOT NULL,
    images text[] NOT NULL DEFAULT '{}',
    sold boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (merchant_id, channel, product_id),
    FOREIGN KEY (merchant_id, channel, currency) REFERENCES channels (merchant_id, channel, currency)
);
CREATE INDEX products_by_name ON products (merchant_id, channel, name, product_id) WHERE sold;

-- A product without a row here is untracked: there is always enough of it.
CREATE TABLE stock_levels (
    merchant_id text NOT NULL,
    channel text NOT NULL,
    product_id text NOT NULL,
    on_hand bigint NOT NULL CHECK (on_hand >= 0),
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    PRIMARY KEY (merchant_id, channel, product_id),
    FOREIGN KEY (merchant_id, channel, product_id) REFERENCES products,
    CHECK (reserved <= on_hand)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.02);

-- Holds against the stock of a product service are counted here, under this lock.
CREATE TABLE remote_stock (
    merchant_id text NOT NULL,
    channel text NOT NULL,
    product_id text NOT NULL,
    PRIMARY KEY (merchant_id, channel, product_id)
);

CREATE TABLE reservations (
    merchant_id text NOT NULL,
    checkout_id uuid NOT NULL,
    product_id text NOT NULL,
    channel text NOT NULL,
    source text NOT NULL CHECK (source IN ('own', 'product_service')),
    quantity bigint NOT NULL CHECK (quantity > 0),
    state text NOT NULL CHECK (state IN ('held', 'consumed', 'released')),
    held_until timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (merchant_id, checkout_id, product_id),
    CHECK ((state = 'held') = (ended_at IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX reservations_remote ON reservations (merchant_id, channel, product_id, ended_at) WHERE source = 'product_service';

-- What moved stock on hand, only added to. One sale and one return per checkout and product, whoever tries.
CREATE TABLE stock_journal (
    merchant_id text NOT NULL,
    channel text NOT NULL,
    product_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('initial', 'adjusted', 'sold', 'returned')),
    reference text NOT NULL,
    quantity bigint NOT NULL CHECK (quantity <> 0 OR kind = 'initial'),
    at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, channel, product_id, kind, reference),
    CHECK (kind NOT IN ('sold', 'returned') OR quantity > 0)
);
"""

DOWN = """
DROP TABLE stock_journal;
DROP TABLE reservations;
DROP TABLE remote_stock;
DROP TABLE stock_levels;
DROP TABLE products;
DROP TABLE channels;
DROP TABLE merchants;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
