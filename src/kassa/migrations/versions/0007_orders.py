"""Orders: frozen lines, a status, a timeline."""

from __future__ import annotations

from kassa.migrations import run

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE orders (
    merchant_id text NOT NULL,
    order_id uuid NOT NULL,
    checkout_id uuid NOT NULL,
    channel text NOT NULL,
    buyer_id text,
    order_number text NOT NULL,
    status text NOT NULL CHECK (status IN ('pending', 'paid', 'processing', 'shipped', 'delivered', 'cancelled')),
    payment_status text NOT NULL CHECK (payment_status IN ('pending', 'paid', 'failed', 'refunded')),
    payment_id uuid NOT NULL,
    payment_method text NOT NULL,
    payment_url text,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    lines_minor bigint NOT NULL CHECK (lines_minor >= 0),
    shipping_minor bigint NOT NULL DEFAULT 0 CHECK (shipping_minor >= 0),
    tax_minor bigint NOT NULL DEFAULT 0 CHECK (tax_minor >= 0),
    discount_minor bigint NOT NULL DEFAULT 0 CHECK (discount_minor >= 0),
    total_minor bigint NOT NULL CHECK (total_minor >= 0),
    shipping_address json,
    tracking_number text,
    carrier text,
    external_id text,
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    estimated_delivery timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (lines_minor + shipping_minor + tax_minor - discount_minor = total_minor)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX orders_by_number ON orders (merchant_id, order_number);
CREATE UNIQUE INDEX orders_by_checkout ON orders (merchant_id, checkout_id);
ALTER TABLE orders ADD PRIMARY KEY (merchant_id, order_id);
CREATE INDEX orders_of_buyer ON orders (merchant_id, channel, buyer_id, created_at DESC, order_id DESC) WHERE buyer_id IS NOT NULL;

CREATE TABLE order_lines (
    merchant_id text NOT NULL,
    order_id uuid NOT NULL,
    product_id text NOT NULL,
    position integer NOT NULL,
    product_name text NOT NULL,
    price_minor bigint NOT NULL CHECK (price_minor >= 0),
    quantity bigint NOT NULL CHECK (quantity > 0),
    total_minor bigint NOT NULL,
    image text,
    PRIMARY KEY (merchant_id, order_id, product_id),
    FOREIGN KEY (merchant_id, order_id) REFERENCES orders,
    CHECK (total_minor = price_minor * quantity)
);

-- One row for each event of an order, under the same number: what live pages and tracking show.
CREATE TABLE order_timeline (
    merchant_id text NOT NULL,
    order_id uuid NOT NULL,
    sequence integer NOT NULL,
    status text NOT NULL,
    payment_status text NOT NULL,
    moved boolean NOT NULL,
    note text,
    tracking_number text,
    carrier text,
    at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, order_id, sequence),
    FOREIGN KEY (merchant_id, order_id) REFERENCES orders
);
"""

DOWN = """
DROP TABLE order_timeline;
DROP TABLE order_lines;
DROP TABLE orders;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
