"""Where a channel's products come from: our own tables, a product service, or the ambassadors service."""

from kassa.catalog.sources.ambassadors import AmbassadorService, AmbassadorsUnavailable, OwnAmbassadors
from kassa.catalog.sources.own import OwnSource
from kassa.catalog.sources.product_service import ProductService
from kassa.catalog.sources.source import ProductsUnavailable, Source, Sources

__all__ = [
    "AmbassadorService",
    "AmbassadorsUnavailable",
    "OwnAmbassadors",
    "OwnSource",
    "ProductService",
    "ProductsUnavailable",
    "Source",
    "Sources",
]
