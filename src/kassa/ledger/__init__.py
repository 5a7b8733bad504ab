"""What the money did: double entry, only added to."""

from kassa.ledger.balances import Line, lines_of_payment, payment_balance
from kassa.ledger.model import Entry, Posting
from kassa.ledger.post import post, post_all, post_later

__all__ = ["Entry", "Line", "Posting", "lines_of_payment", "payment_balance", "post", "post_all", "post_later"]
