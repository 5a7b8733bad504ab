"""Payme's Subscribe API, played: cards as tokens, receipts made, paid, asked about and cancelled, with the calls that follow.

Section numbers are those of Payme's Merchant API as Kassa implements it. Amounts are whole tiyin, times milliseconds since 1970.
"""

from kassa.sandbox.payme_api.clerk import ACTS, SERVICE, Clerk, Desk

__all__ = ["ACTS", "SERVICE", "Clerk", "Desk"]
