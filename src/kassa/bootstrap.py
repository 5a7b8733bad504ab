"""The only file that knows every concrete thing: it reads the settings once and builds the world."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from kassa import demo, migrate, workers
from kassa.api.app import create_app
from kassa.api.checkout.shapes import render_checkout
from kassa.api.options import ApiOptions, ASGIApp, TokenRules
from kassa.catalog import Sources
from kassa.catalog.sources import OwnSource, ProductService, Source
from kassa.checkout import Neighbours, Rules
from kassa.checkout.wishes import Replies
from kassa.events import FanOut
from kassa.kit import crash
from kassa.kit.context import Background, Context
from kassa.kit.database import Database
from kassa.kit.neighbour import Neighbour, new_session
from kassa.kit.secrets import Keys
from kassa.notices import Notifier, write_notices
from kassa.payments import Provider, Providers
from kassa.payments.providers import CardService, Cash, Links, Simulated
from kassa.sandbox import create_sandbox
from kassa.settings import Settings

DRAIN_S = 10.0
SHOP = "shop"


@dataclass(frozen=True, slots=True)
class Kassa:
    """One process of Kassa, assembled: its HTTP app, its context, its workers and its demo data."""

    ctx: Context
    app: ASGIApp
    production: bool

    async def run_workers(self, stop: asyncio.Event, only: tuple[str, ...] = ()) -> None:
        """Run the workers until `stop` is set."""
        await workers.run(self.ctx, stop, only)

    async def seed(self) -> int:
        """Load the demo shop; returns how many products were new. Refused in production."""
        if self.production:
            raise RuntimeError("demo data is not for production")
        return await demo.load(self.ctx)


@contextlib.asynccontextmanager
async def assemble(settings: Settings) -> AsyncIterator[Kassa]:
    """Connect, build, and at the end let running work finish (10 s at most) before everything is closed.

    Raises `DatabaseAway` when the database does not answer.
    """
    crash.arm(settings.crash_at)
    async with contextlib.AsyncExitStack() as stack:
        db = await Database.connect(settings.database_url, size=settings.pool_size)
        stack.push_async_callback(db.close)
        if settings.notification_service_url:
            db.ports[FanOut] = FanOut(write_notices)
        session = await stack.enter_async_context(new_session())
        background = Background()
        stack.push_async_callback(background.drain, DRAIN_S)
        ctx = Context(
            db=db,
            keys=Keys(settings.kassa_secret, settings.kassa_secret_old),
            background=background,
            ports=_ports(settings, session),
            lease_s=settings.lease_s,
        )
        sandbox = None
        if not settings.production:
            sandbox = create_sandbox(
                settings.kassa_home / "sandbox.db",
                public_url=settings.public_url,
                webhook_url=f"http://127.0.0.1:{settings.http_port}/api/v1/payments/webhook",
                webhook_secret=settings.provider_webhook_secret,
            )
            stack.push_async_callback(sandbox.stop)
        yield Kassa(ctx, create_app(ctx, _options(settings, sandbox)), settings.production)


def _ports(settings: Settings, session: aiohttp.ClientSession) -> dict[type, object]:
    product = _neighbour("product", settings.product_service_url, session)
    inventory = _neighbour("inventory", settings.inventory_service_url, session)
    order = _neighbour("order", settings.order_service_url, session)
    payment = _neighbour("payment", settings.payment_service_url, session)
    links = _neighbour("link", _provider_url(settings), session)
    providers: list[Provider] = [Simulated(), Cash()]
    providers += [CardService(payment)] if payment else []
    providers += [Links(links)] if links else []
    shop: Source = ProductService(product) if product else OwnSource(counted=inventory is None)
    return {
        Sources: Sources({SHOP: shop}),
        Providers: Providers({provider.name: provider for provider in providers}),
        Neighbours: Neighbours(inventory=inventory, order=order, product=product),
        Rules: Rules(
            payment_service=payment is not None,
            inventory_service=inventory is not None,
            order_service=order is not None,
            product_service=product is not None,
            links=links is not None,
            simulated_payments=bool(settings.simulated_payments),
            max_waiting_orders=settings.max_waiting_orders,
        ),
        Replies: Replies(checkout=render_checkout),
        Notifier: Notifier(_neighbour("notification", settings.notification_service_url, session)),
    }


def _neighbour(name: str, url: str | None, session: aiohttp.ClientSession) -> Neighbour | None:
    return Neighbour(name, url, session) if url else None


def _provider_url(settings: Settings) -> str | None:
    if settings.provider_url or settings.production:
        return settings.provider_url
    return f"http://127.0.0.1:{settings.http_port}/sandbox/link"


def _options(settings: Settings, sandbox: ASGIApp | None) -> ApiOptions:
    async def schema_is_current() -> bool:
        try:
            await migrate.check(settings.database_url)
        except (migrate.SchemaOutdated, migrate.SchemaTooNew, migrate.WrongServer):
            return False
        return True

    return ApiOptions(
        surfaces=frozenset(settings.surfaces),
        tokens=TokenRules(settings.jwt_secret.encode(), settings.jwt_algorithm, settings.jwt_issuer, settings.jwt_audience),
        schema_is_current=schema_is_current,
        docs=bool(settings.api_docs),
        rate_limit=settings.rate_limit,
        trusted_proxies=settings.trusted_proxies,
        cors_origins=settings.cors_origins,
        provider_webhook_secret=settings.provider_webhook_secret,
        metrics_token=settings.metrics_token,
        sandbox=sandbox,
    )
