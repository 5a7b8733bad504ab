"""Card testing: how many cards and how many failed tries one card, buyer, address or shop may have in a while."""

from kassa.cardwatch.admit import Tried, admit
from kassa.cardwatch.forget import forget
from kassa.cardwatch.model import Attempt, CardLimits, TooManyTries
from kassa.cardwatch.store import sweep

__all__ = ["Attempt", "CardLimits", "TooManyTries", "Tried", "admit", "forget", "sweep"]
