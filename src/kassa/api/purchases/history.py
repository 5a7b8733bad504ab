"""What a buyer has bought (purchases contract, section 7)."""

from __future__ import annotations

from fastapi import APIRouter

from kassa import orders
from kassa.api.answers import Answer, json_answer
from kassa.api.call import Call, whole
from kassa.api.describe import LIMIT, PAGE, operation
from kassa.api.purchases import shapes, shown
from kassa.api.shop import MERCHANT
from kassa.orders import AMBASSADORS

router = APIRouter(tags=["purchases"])

_LAST_PAGE = 2**31 - 1


@router.get("/purchases", response_model=None, responses=shown.HISTORY_ANSWERS, openapi_extra=operation(PAGE, LIMIT))
async def list_purchases(call: Call) -> Answer:
    """List the caller's paid purchases, newest first, one row for each ambassador."""
    buyer = call.caller.user
    asked = call.asked()
    page, limit = whole(asked, "page", 1, _LAST_PAGE), whole(asked, "limit", 20, 100)
    found = await orders.bought_page(call.ctx.db, MERCHANT, AMBASSADORS, buyer, page, limit)
    return json_answer(200, shapes.history(found))
