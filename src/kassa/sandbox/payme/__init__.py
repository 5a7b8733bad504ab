"""Payme's side of the Merchant API: a robot that rehearses certification, and a page on which a buyer pays.

Section numbers are those of Payme's Merchant API as Kassa implements it. Amounts are whole tiyin, times milliseconds since 1970.
"""

from kassa.sandbox.payme.robot import Outcome, Rehearsal, rehearse
from kassa.sandbox.payme.script import Order, Wish
from kassa.sandbox.payme.wire import Endpoint

__all__ = ["Endpoint", "Order", "Outcome", "Rehearsal", "Wish", "rehearse"]
