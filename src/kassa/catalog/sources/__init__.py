"""Where a channel's products come from: our own tables, or a product service."""

from kassa.catalog.sources.own import OwnSource
from kassa.catalog.sources.product_service import ProductService
from kassa.catalog.sources.source import ProductsUnavailable, Source, Sources

__all__ = ["OwnSource", "ProductService", "ProductsUnavailable", "Source", "Sources"]
