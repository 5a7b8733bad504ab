"""Look at what the shop sells (orders contract, section 3). Anybody may."""

# ruff: noqa: FAST003 - a handler finds the values of its path in its Call

from __future__ import annotations

import re

from fastapi import APIRouter

from kassa import catalog
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.describe import LIMIT, PAGE, operation, parameter
from kassa.api.orders import shapes, shown
from kassa.api.shop import the_shop

router = APIRouter(tags=["products"])

_PRODUCT_ID = re.compile(r"[A-Za-z0-9_.-]{1,50}")
_FARTHEST = 10**15
"""Beyond any last page, and still a number that the database can count to."""


@router.get(
    "/api/products",
    response_model=None,
    responses=shown.answers(
        200, shown.ProductPage, "A page, by name, then id.", shown.PRODUCTS, {422: ["invalid_input"], 503: shown.AWAY_PRODUCTS}
    ),
    openapi_extra=operation(PAGE, LIMIT, secured=False),
)
async def list_products(call: Call) -> Answer:
    """List products. A page after the last one is empty."""
    page, limit = call.page()
    found = await catalog.browse(call.ctx, await the_shop(call.ctx), min(page, _FARTHEST), limit)
    rows = [shapes.product(offer) for offer in found.offers]
    return shapes.success(200, "Products retrieved successfully", shapes.page_of("products", rows, page, limit, found.total))


@router.get(
    "/api/products/{product_id}",
    response_model=None,
    responses=shown.answers(
        200, shown.ProductAnswer, "The product.", shown.PRODUCT, {404: ["unknown_product"], 503: shown.AWAY_PRODUCTS}
    ),
    openapi_extra=operation(parameter("path", "product_id", "The product's id."), secured=False),
)
async def read_product(call: Call) -> Answer:
    """Look at one product."""
    product_id = call.in_path["product_id"]
    if not _PRODUCT_ID.fullmatch(product_id):
        raise catalog.UnknownProduct
    offer = await catalog.browse_one(call.ctx, await the_shop(call.ctx), product_id)
    return shapes.success(200, "Product retrieved successfully", shapes.product(offer))
