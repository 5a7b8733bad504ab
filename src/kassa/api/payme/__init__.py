"""Payme's Merchant API over HTTP: its door, its words, and how it reads a call. What a call means is decided by its verbs."""

from kassa.api.payme.described import router
from kassa.api.payme.door import Door
from kassa.api.payme.words import Rpc

ROUTERS = (router,)
"""For the document only: the door stands before the routes."""

__all__ = ["ROUTERS", "Door", "Rpc"]
