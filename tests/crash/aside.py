"""Put aside what a player's dead process left to the workers, so that the next process dies of its own story; and give it back.

A day is added to the times of deliveries and taken away again, so leases that a dead process held are waited for in full. Where
there is a broker it names the deliveries at once to whoever comes next, and only the relay's work is put aside.
"""

from __future__ import annotations

from tests import rig

_LATER = """
    UPDATE deliveries SET next_at = next_at + interval '1 day', lease_until = lease_until + interval '1 day'
     WHERE merchant_id = $1 AND status NOT IN ('success', 'failed')
"""
_LED = """
    INSERT INTO feeds (merchant_id, lease_until) VALUES ($1, now() + interval '1 day')
    ON CONFLICT (merchant_id) DO UPDATE SET lease_until = excluded.lease_until
"""
_NOW = """
    UPDATE deliveries SET next_at = next_at - interval '1 day', lease_until = lease_until - interval '1 day'
     WHERE merchant_id = $1 AND status NOT IN ('success', 'failed')
"""
_LED_NO_MORE = "UPDATE feeds SET lease_until = now() WHERE merchant_id = $1"
_WAITED = (
    "UPDATE deliveries SET queued_until = now() WHERE queued_until > now()",
    "UPDATE notices SET lease_until = now() WHERE lease_until > now()",
)
"""The longest waits are cut short: a minute for what was given to the broker, half of one for a letter."""


def put(dsn: str, merchant_id: str, through_broker: bool) -> None:
    """Put aside what is to be done for a merchant."""
    if not through_broker:
        rig.query(dsn, _LATER, merchant_id)
    rig.query(dsn, _LED, merchant_id)


def give_back(dsn: str, merchant_ids: list[str], through_broker: bool) -> None:
    """Let it be done."""
    for merchant_id in merchant_ids:
        if not through_broker:
            rig.query(dsn, _NOW, merchant_id)
        rig.query(dsn, _LED_NO_MORE, merchant_id)
    for act in _WAITED:
        rig.query(dsn, act)
