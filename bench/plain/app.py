"""The plain service. Run as `python -m bench.plain.app PORT DSN NEIGHBOURS`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from bench.plain.neighbours import Declined, Neighbours
from bench.plain.requests import CheckoutRequest
from bench.plain.tables import Base, Checkout


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.sessions() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(_session)]


def make(dsn: str, neighbours: Neighbours) -> FastAPI:
    """The application on the database at `dsn`."""
    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://", 1))
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    @asynccontextmanager
    async def alive(_: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield
        await engine.dispose()

    app = FastAPI(lifespan=alive)
    app.state.sessions = sessions

    @app.post("/checkout/process")
    async def process(asked: CheckoutRequest, db: Session) -> dict[str, Any]:
        return await _process(asked, db, neighbours)

    return app


async def _process(asked: CheckoutRequest, db: AsyncSession, neighbours: Neighbours) -> dict[str, Any]:
    total = sum(item.price * item.quantity for item in asked.items)
    address, email = asked.shipping_address.model_dump(), asked.customer_email
    checkout = Checkout(
        customer_email=email, shipping_address=address, items=[item.model_dump(mode="json") for item in asked.items], total=total
    )
    db.add(checkout)
    await db.commit()
    items = [{"product_id": item.product_id, "quantity": item.quantity} for item in asked.items]
    try:
        card = asked.payment_method.model_dump()
        checkout.transaction_id = await neighbours.pay({"amount": float(total), "payment_method": card, "customer_email": email})
        await neighbours.deduct(items)
        order = {"checkout_id": str(checkout.id), "customer_email": email, "shipping_address": address, "items": items}
        checkout.order_id = await neighbours.order(order)
    except Declined as error:
        checkout.status, checkout.error = "failed", str(error)
        await db.commit()
        raise HTTPException(422, str(error)) from error
    checkout.status = "completed"
    await db.commit()
    return {"checkout_id": str(checkout.id), "order_id": checkout.order_id, "total": float(total), "status": "completed"}


if __name__ == "__main__":
    port, dsn, url = sys.argv[1:]
    uvicorn.run(make(dsn, Neighbours(url)), host="127.0.0.1", port=int(port), loop="uvloop", log_level="warning", access_log=False)
