"""Revision 0029 makes one number of two, for a shop that sells already, and gives both back."""

from __future__ import annotations

from alembic import command
from tests import rig

from kassa import migrate

_SHOP = (
    "INSERT INTO merchants (merchant_id, name) VALUES ('1', 'Shop')",
    "INSERT INTO channels (merchant_id, channel, currency, methods) VALUES ('1', 'shop', 'INR', '{credit_card}')",
    """
    INSERT INTO products (merchant_id, channel, product_id, sku, name, price_minor, currency)
    SELECT '1', 'shop', name, name, name, 100, 'INR' FROM unnest(ARRAY['lamp', 'mouse', 'gift']) AS name
    """,
    """
    INSERT INTO stock_levels (merchant_id, channel, product_id, on_hand, reserved)
    VALUES ('1', 'shop', 'lamp', 10, 3), ('1', 'shop', 'mouse', 5, 5), ('1', 'shop', 'gift', 0, 0)
    """,
    """
    INSERT INTO reservations (merchant_id, checkout_id, product_id, channel, source, quantity, state, ended_at)
    VALUES ('1', gen_random_uuid(), 'lamp', 'shop', 'own', 2, 'held', NULL),
           ('1', gen_random_uuid(), 'lamp', 'shop', 'own', 1, 'held', NULL),
           ('1', gen_random_uuid(), 'lamp', 'shop', 'own', 9, 'consumed', now()),
           ('1', gen_random_uuid(), 'lamp', 'shop', 'product_service', 4, 'held', NULL),
           ('1', gen_random_uuid(), 'mouse', 'shop', 'own', 5, 'held', NULL)
    """,
)


def test_what_can_be_had_is_on_hand_less_what_is_reserved_there_and_back(database_server: rig.DatabaseServer) -> None:
    dsn = database_server.empty()
    config = migrate.configuration(dsn)
    command.upgrade(config, "0028")
    for statement in _SHOP:
        rig.query(dsn, statement)
    before = rig.query(dsn, "SELECT product_id, on_hand, reserved FROM stock_levels ORDER BY product_id")
    command.upgrade(config, "0029")
    assert rig.query(dsn, "SELECT product_id, available FROM stock_levels ORDER BY product_id") == [
        {"product_id": "gift", "available": 0},
        {"product_id": "lamp", "available": 7},
        {"product_id": "mouse", "available": 0},
    ]
    command.downgrade(config, "0028")
    assert rig.query(dsn, "SELECT product_id, on_hand, reserved FROM stock_levels ORDER BY product_id") == before
