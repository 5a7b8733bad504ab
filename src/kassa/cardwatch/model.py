"""Who tries a card, how much of that is too much, and the error that says so. No I/O here."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from kassa.kit.errors import Busy
from kassa.kit.secrets import Keys

CARD, BUYER, ADDRESS, SHOP = "card", "buyer", "address", "shop"

SPANS: Final = {
    CARD: timedelta(hours=1),
    BUYER: timedelta(minutes=10),
    ADDRESS: timedelta(minutes=10),
    SHOP: timedelta(minutes=10),
}
"""How long a full measure takes to run empty: it does so evenly, so that there is no moment at which all may begin anew."""

EARNED: Final = 1 / 4
"""How much of a failed try more an address may have for each purchase that was paid: of many real buyers some fail now and then."""
MOST_EARNED: Final = 4.0
"""How many measures an address can earn at most."""

_NETWORK_OF_ONE = 64
"""Bits of an IPv6 address that are a customer's; whoever has one address there has all."""


class TooManyTries(Busy):
    """Too many cards or failed payments; try again later."""

    code = "rate_limited"
    advice = "Wait `Retry-After` seconds; nothing was charged and nothing was begun."

    def __init__(self, by: str, retry_after: int) -> None:
        super().__init__()
        self.by = by
        """Which measure is full: `card`, `buyer`, `address` or `shop`."""
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class CardLimits:
    """The port that bootstrap fills: how much each measure holds.

    `card`: failed tries of one card in an hour, whoever makes them. `buyer`: different cards of one buyer, or guest's e-mail
    address, in ten minutes. `address`: failed tries from one address in ten minutes, and a quarter more for each that was paid.
    `shop`: refused cards of a merchant in ten minutes; beyond it guests wait, and buyers who are signed in go on.
    `looks_again_s`: seconds between looks at a full address: others there may be paid in a moment and leave room, so a crowd behind
    one address need not come again.
    """

    on: bool = True
    card: int = 5
    buyer: int = 5
    address: int = 6
    shop: int = 300
    looks_again_s: tuple[float, ...] = (0.3, 0.7, 1.5)

    def cost(self, kind: str) -> float:
        """What one try is of a whole measure."""
        return 1 / {CARD: self.card, BUYER: self.buyer, ADDRESS: self.address, SHOP: self.shop}[kind]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A card that is about to be tried. `card` is its keyed fingerprint; `buyer` a user's id or, of a guest, an e-mail address."""

    merchant_id: str
    card: bytes
    buyer: str
    is_guest: bool
    address: str

    @property
    def network(self) -> str:
        """The address as it is counted: of IPv6 the network of one customer. What is no address is counted as it is."""
        try:
            found = ipaddress.ip_address(self.address)
        except ValueError:
            return self.address
        if isinstance(found, ipaddress.IPv6Address):
            if found.ipv4_mapped is not None:
                return str(found.ipv4_mapped)
            return str(ipaddress.ip_network((found, _NETWORK_OF_ONE), strict=False))
        return str(found)


def key_of_buyer(keys: Keys, buyer: str, *, is_guest: bool) -> bytes:
    """Under what a buyer is counted: a keyed hash of the id or, of a guest, of the e-mail address without regard to its case."""
    who = f"guest:{buyer.strip().lower()}" if is_guest else f"user:{buyer}"
    return keys.fingerprint(f"cardwatch:{who}".encode())
