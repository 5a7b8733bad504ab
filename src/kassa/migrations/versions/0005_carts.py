"""Carts: one open cart per buyer and channel."""

from __future__ import annotations

from kassa.migrations import run

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE carts (
    merchant_id text NOT NULL,
    cart_id uuid NOT NULL,
    channel text NOT NULL,
    buyer_id text NOT NULL CHECK (length(buyer_id) BETWEEN 1 AND 255),
    version bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX carts_of_buyer ON carts (merchant_id, channel, buyer_id);
ALTER TABLE carts ADD PRIMARY KEY (merchant_id, cart_id);

CREATE TABLE cart_lines (
    merchant_id text NOT NULL,
    cart_id uuid NOT NULL,
    line_id uuid NOT NULL,
    product_id text NOT NULL,
    quantity bigint NOT NULL CHECK (quantity BETWEEN 1 AND 999),
    seen_price_minor bigint NOT NULL CHECK (seen_price_minor >= 0),
    seen_name text NOT NULL,
    seen_image text,
    added_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, cart_id, line_id),
    UNIQUE (merchant_id, cart_id, product_id),
    FOREIGN KEY (merchant_id, cart_id) REFERENCES carts
) WITH (fillfactor = 80);
"""

DOWN = """
DROP TABLE cart_lines;
DROP TABLE carts;
"""


def upgrade() -> None:
    """Make the tables."""
    run(UP)


def downgrade() -> None:
    """Drop them; for development only."""
    run(DOWN)
