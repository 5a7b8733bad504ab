"""The invariants of the whole shop, recomputed from the tables: what must be true whatever has failed.

Nothing here writes. Each question is SQL that finds what is wrong, so the memory it takes does not grow with the shop.
"""

from kassa.verify.book import Book, Booked, summary_of
from kassa.verify.model import Breach, Question
from kassa.verify.run import INVARIANTS, check, run

__all__ = ["INVARIANTS", "Book", "Booked", "Breach", "Question", "check", "run", "summary_of"]
