"""The audit log: who did what by hand, and why; one line an act, in the act's own transaction, chained per merchant."""

from kassa.audit.chain import Broken, Chain, check_chains
from kassa.audit.model import ACTS, EVERYBODY, UNNAMED, By, Hand, Line, Page
from kassa.audit.note import note
from kassa.audit.store import find_lines

__all__ = [
    "ACTS",
    "EVERYBODY",
    "UNNAMED",
    "Broken",
    "By",
    "Chain",
    "Hand",
    "Line",
    "Page",
    "check_chains",
    "find_lines",
    "note",
]
