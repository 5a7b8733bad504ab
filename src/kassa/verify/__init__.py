"""The invariants of the whole shop, recomputed from the tables: what must be true whatever has failed.

Each question is SQL that finds what is wrong, asked window by window, so that neither the memory it takes nor the time of one
statement grows with the shop. Nothing is written but how far the watch is, what it has found, and a case where something is broken.
"""

from kassa.verify.book import Book, Booked, summary_of
from kassa.verify.model import Breach, Question
from kassa.verify.run import INVARIANTS, Found, check, run, sweep
from kassa.verify.watch import Seen, WatchRules, read_seen, turn

__all__ = [
    "INVARIANTS",
    "Book",
    "Booked",
    "Breach",
    "Found",
    "Question",
    "Seen",
    "WatchRules",
    "check",
    "read_seen",
    "run",
    "summary_of",
    "sweep",
    "turn",
]
