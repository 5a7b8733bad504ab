"""The ways to move money; strangers to each other."""

from kassa.payments.providers.card import CardService
from kassa.payments.providers.cash import Cash
from kassa.payments.providers.link import External, Links
from kassa.payments.providers.payme import Payme
from kassa.payments.providers.simulated import Simulated

__all__ = ["CardService", "Cash", "External", "Links", "Payme", "Simulated"]
