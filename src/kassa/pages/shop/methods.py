"""The ways to pay that the channel offers here, as the conductor's rules allow them."""

from __future__ import annotations

from kassa.catalog import Channel
from kassa.checkout import Rules
from kassa.kit.context import Context
from kassa.kit.errors import Refused

CARD = "credit_card"
_ORDER = (CARD, "upi", "net_banking", "payme", "link", "cash_on_delivery")


def methods_of(ctx: Context, channel: Channel) -> list[str]:
    """The methods as the orders contract names them, `link:stripe` for each alias; best known first."""
    rules = ctx.port(Rules)
    named = [
        name for kind in _ORDER for name in ([f"link:{each}" for each in sorted(channel.aliases)] if kind == "link" else [kind])
    ]
    return [name for name in named if _is_offered(rules, channel, name)]


def _is_offered(rules: Rules, channel: Channel, method: str) -> bool:
    try:
        rules.provider_of_order(channel, method)
    except Refused:
        return False
    return True
