"""Take in merchants and plans, and subscribe one to the other. An operator's acts; each is safe to repeat."""

from __future__ import annotations

from kassa.kit.database import Tx
from kassa.merchants import store
from kassa.merchants.model import MerchantMissing, Plan, PlanMissing, Subscription


async def add_merchant(tx: Tx, merchant_id: str, name: str, email: str | None, currency: str) -> bool:
    """Add a merchant; False, and nothing changes, when there is one of that id with an e-mail address.

    A house merchant that so far only has a channel gets its address and currency.
    """
    return await store.insert_merchant(tx, merchant_id, name, email, currency)


async def add_plan(tx: Tx, plan: Plan) -> bool:
    """Offer a plan; False, and nothing changes, when there is one of that id."""
    return await store.insert_plan(tx, plan)


async def subscribe(tx: Tx, merchant_id: str, plan_id: str, *, tokens: int | None = None, active: bool = True) -> Subscription:
    """Subscribe a merchant to a plan, or fill up the subscription that it has by `tokens` (the plan's number, if None).

    Done twice, it was bought twice. Raises `MerchantMissing`, `PlanMissing`.
    """
    if await store.find(tx, merchant_id) is None:
        raise MerchantMissing
    plan = next((each for each in await store.plans(tx) if each.plan_id == plan_id), None)
    if plan is None:
        raise PlanMissing
    return await store.fill(tx, merchant_id, plan, plan.tokens if tokens is None else tokens, active=active)


async def suspend(tx: Tx, merchant_id: str, plan_id: str, *, active: bool) -> bool | None:
    """Make a subscription inactive, or active again; False when it was so before, None when the merchant has no such one."""
    return await store.set_active(tx, merchant_id, plan_id, active=active)
