"""Acts above a limit wait here for a second person."""

from kassa.approvals.model import Approval, Wish
from kassa.approvals.second import ask, decide, note_outcome
from kassa.approvals.store import find, forget, newest, open_ones

__all__ = ["Approval", "Wish", "ask", "decide", "find", "forget", "newest", "note_outcome", "open_ones"]
