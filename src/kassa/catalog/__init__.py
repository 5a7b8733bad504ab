"""What can be bought: products, live prices, and the stock that is held and moved for checkouts."""

from kassa.catalog.browse import browse, browse_one
from kassa.catalog.channels import channel_of
from kassa.catalog.fiscal import fiscal_codes_of
from kassa.catalog.here import OfferHere
from kassa.catalog.model import Channel, Hold, Offer, Shortage
from kassa.catalog.prices import UnknownProduct, offer_here, offer_of, offers_of, offers_page, recent_offers_of
from kassa.catalog.publish import Publication, adjust, publish, publish_channel, retire
from kassa.catalog.shelf import Shelf
from kassa.catalog.sources import ProductsUnavailable, Sources
from kassa.catalog.stock import consume, give_back, release, reserve, reserve_later, restock
from kassa.catalog.store import StockMoved

__all__ = [
    "Channel",
    "Hold",
    "Offer",
    "OfferHere",
    "ProductsUnavailable",
    "Publication",
    "Shelf",
    "Shortage",
    "Sources",
    "StockMoved",
    "UnknownProduct",
    "adjust",
    "browse",
    "browse_one",
    "channel_of",
    "consume",
    "fiscal_codes_of",
    "give_back",
    "offer_here",
    "offer_of",
    "offers_of",
    "offers_page",
    "publish",
    "publish_channel",
    "recent_offers_of",
    "release",
    "reserve",
    "reserve_later",
    "restock",
    "retire",
]
