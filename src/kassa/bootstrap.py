"""The only file that knows every concrete thing: it reads the settings once and builds the world."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import aiohttp

from kassa import __version__, demo, migrate, webhooks, workers
from kassa.api.app import Api, create_app, create_watch
from kassa.api.checkout.shapes import render_checkout
from kassa.api.options import ApiOptions, ASGIApp, Pages, PaymeOptions, TokenRules
from kassa.cardwatch import CardLimits
from kassa.catalog import Shelf, Sources
from kassa.catalog.sources import AmbassadorService, OwnAmbassadors, OwnSource, ProductService, Source
from kassa.checkout import Neighbours, Rules
from kassa.checkout.wishes import Replies
from kassa.collect import CollectRules
from kassa.events import FanOut
from kassa.events.broker import Broker
from kassa.kit import clock, crash
from kassa.kit.bell import Bell
from kassa.kit.context import Background, Context
from kassa.kit.database import Database
from kassa.kit.egress import Egress
from kassa.kit.figures import SECRET_ROTATING
from kassa.kit.neighbour import Neighbour, new_session
from kassa.kit.own_keys import own_key
from kassa.kit.redis import Redis
from kassa.kit.secrets import Keys
from kassa.kit.tokens import issue_token
from kassa.notices import NOTICE_WRITTEN, NOTICE_WRITTEN_AFTER_ASKING, Notifier, Users
from kassa.notices.ways.console import Console
from kassa.notices.ways.mail import Mail, Post, Sender
from kassa.notices.ways.mailgun import Mailgun
from kassa.notices.ways.notification import NotificationService
from kassa.notices.ways.smtp import Smtp
from kassa.pages import PREFIXES, PageOptions, Refusals, pages_routers
from kassa.pages.buyer.track import tracking_address
from kassa.payments import Provider, Providers, payme
from kassa.payments.payme.give_back import Subscribe
from kassa.payments.payme.model import Cashbox, PaymeRules
from kassa.payments.payme.subscribe import LIVE_API, TEST_API, Receipts
from kassa.payments.providers import CardService, Cash, External, Links, Payme, Simulated
from kassa.rpc.options import RpcOptions
from kassa.sandbox import Sandbox, create_sandbox
from kassa.settings import SAMPLERS, SANDBOX_CASHBOX, Settings, demo_password, traces_headers, traces_ratio, traces_url
from kassa.verify import WatchRules
from kassa.webhooks import WebhookRules, delivery_made
from kassa.webhooks.delivery import Deliverer

DRAIN_S = 10.0
_DELIVERIES_DRAIN_S = 5.0
_DEMO_TOKEN_S = 12 * 3600
SHOP, AMBASSADORS = "shop", "ambassadors"
HOUSE = "1"


@dataclass(frozen=True, slots=True)
class Kassa:
    """One process of Kassa, assembled: its HTTP app, its context, its workers and its demo data."""

    ctx: Context
    make_app: Callable[[], Api]
    make_watch: Callable[[], Api]
    """Makes what a process without an HTTP surface shows of itself: `/metrics`, `/health`, `/ready`."""
    production: bool
    rpc: RpcOptions
    sandbox: Sandbox | None
    demo_password: Callable[[], str] | None = None
    """Gives the password of the back office's demo accounts; never in production."""

    @property
    def app(self) -> Api:
        """The HTTP application, made when it is asked for: commands need none, and none of its secrets."""
        return self.make_app()

    async def prepare(self) -> None:
        """Before the first event: every merchant without an endpoint of its own has the operator's, where there is one.

        Raises `WrongSecret` in a process that has another secret than those that were here before.
        """
        await own_key(self.ctx.db, self.ctx.keys)
        await clock.own(self.ctx.db, production=self.production)
        if self.ctx.port(WebhookRules).callback_url:
            await webhooks.ensure_callbacks(self.ctx)

    async def run_workers(self, stop: asyncio.Event, only: tuple[str, ...] = ()) -> None:
        """Run the workers until `stop` is set."""
        await workers.run(self.ctx, stop, only)

    async def seed(self) -> int:
        """Load the demo shop; returns how many products were new. Refused in production."""
        if self.production:
            raise RuntimeError("demo data is not for production")
        new = await demo.load(self.ctx)
        if self.demo_password is not None:
            await demo.load_staff(self.ctx, self.demo_password())
        return new


@contextlib.asynccontextmanager
async def assemble(settings: Settings) -> AsyncIterator[Kassa]:
    """Connect, build, and at the end let running work finish (10 s at most) before everything is closed.

    Raises `DatabaseAway` when the database does not answer.
    """
    crash.arm(settings.crash_at)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(_traces(settings))
        db = await Database.connect(settings.database_url, size=settings.pool_size)
        stack.push_async_callback(db.close)
        db.ports[FanOut] = _fan_out(settings)
        db.ports[Bell] = bell = Bell()
        redis = Redis(settings.redis_url) if settings.redis_url else None
        if redis is not None:
            stack.push_async_callback(redis.close)
            await stack.enter_async_context(bell.together(redis))
            db.ports[Shelf] = shelf = Shelf(redis)
            stack.push_async_callback(shelf.close)
        session = await stack.enter_async_context(new_session())
        ambassadors: AmbassadorService | None = None
        if settings.ambassador_grpc_host:
            ambassadors = AmbassadorService(settings.ambassador_grpc_host, settings.ambassador_grpc_port)
            stack.push_async_callback(ambassadors.close)
        egress = await stack.enter_async_context(
            Egress(private=bool(settings.allow_private_callbacks), proxy=settings.egress_proxy)
        )
        broker = _broker(settings)
        if broker is not None:
            stack.push_async_callback(broker.close)
        deliverer = Deliverer()
        stack.push_async_callback(deliverer.drain, _DELIVERIES_DRAIN_S)
        background = Background()
        stack.push_async_callback(background.drain, DRAIN_S)
        here: dict[type, object] = {Bell: bell, Egress: egress, Deliverer: deliverer, Broker: broker, Redis: redis}
        keys = Keys(settings.kassa_secret, settings.kassa_secret_old)
        _show_rotations(settings)
        subscribe = _subscribe(settings, session, db, keys)
        here |= {Subscribe: subscribe} if subscribe else {}
        ctx = Context(
            db=db,
            keys=keys,
            background=background,
            ports=_ports(settings, session, ambassadors, subscribe, keys) | here,
            lease_s=settings.lease_s,
        )
        sandbox, has_office = None, "office" in (settings.pages or ())
        if not settings.production:
            sandbox = _sandbox(settings, db)
            stack.push_async_callback(sandbox.stop)
        yield Kassa(
            ctx,
            lambda: create_app(ctx, _options(settings, sandbox, redis, _pages(settings, keys, session))),
            lambda: create_watch(ctx, _options(settings, None, None, None)),
            settings.production,
            _rpc_options(settings, redis),
            sandbox,
            (lambda: demo_password(settings.kassa_home)) if has_office and not settings.production else None,
        )


def _traces(settings: Settings) -> contextlib.AbstractAsyncContextManager[None]:
    """Spans are recorded where a collector is named; what records them is loaded only then."""
    url = traces_url(settings)
    if url is None:
        return contextlib.nullcontext()
    from kassa.kit import spans  # noqa: PLC0415 - nobody else needs to have it installed

    sampler = settings.otel_sampler or SAMPLERS[0]
    headers, ratio = traces_headers(settings), traces_ratio(settings)
    return spans.recording(spans.Collector(url, settings.otel_service_name, __version__, sampler, ratio, headers))


def _sandbox(settings: Settings, db: Database) -> Sandbox:
    async def amount_of(order_id: str) -> int | None:
        payment = await payme.payment_for(db, HOUSE, uuid.UUID(order_id))
        return payment.amount_minor if payment else None

    async def turn_clock(step: str | None) -> dict[str, object]:
        try:
            moved = await (clock.step(db, step) if step is not None else clock.shown(db))
        except (clock.ClockStep, clock.ClockStays) as error:
            return {"detail": error.message}
        return {"now": clock.rfc3339_micros(moved.now), "ahead_s": round(moved.ahead.total_seconds())}

    here = f"http://127.0.0.1:{settings.http_port}"
    has_cashbox = settings.payme_key is not None
    return create_sandbox(
        settings.kassa_home / "sandbox.db",
        public_url=settings.public_url,
        webhook_url=f"{here}/api/v1/payments/webhook",
        webhook_secret=settings.provider_webhook_secret,
        payme_url=f"{here}/payme/webhook" if has_cashbox else None,
        payme_key=settings.payme_key,
        payme_login=settings.payme_login,
        payme_account_field=settings.payme_account_field,
        payme_amount=amount_of,
        clock=turn_clock,
    )


def _subscribe(settings: Settings, session: aiohttp.ClientSession, db: Database, keys: Keys) -> Subscribe | None:
    """Payme's Subscribe API, where it is switched on; the sandbox plays it for the cashbox that development makes."""
    if not settings.payme_subscribe:
        return None
    ours = settings.payme_api_url
    if ours is None and not settings.production and settings.payme_id == SANDBOX_CASHBOX:
        ours = f"http://127.0.0.1:{settings.http_port}/sandbox/payme-api"
    hosts = {
        is_test: Neighbour("payme", ours or url, session, hears_trace=False)
        for is_test, url in ((False, LIVE_API), (True, TEST_API))
    }
    return Subscribe(Receipts(hosts), db, keys, _payme_rules(settings))


def _ports(
    settings: Settings,
    session: aiohttp.ClientSession,
    ambassadors: AmbassadorService | None,
    subscribe: Subscribe | None,
    keys: Keys,
) -> dict[type, object]:
    product = _neighbour("product", settings.product_service_url, session)
    inventory = _neighbour("inventory", settings.inventory_service_url, session)
    order = _neighbour("order", settings.order_service_url, session)
    payment = _neighbour("payment", settings.payment_service_url, session)
    gateway = _provider_url(settings)
    links = Neighbour("link", gateway, session, errors_are_silence=False) if gateway else None
    providers: list[Provider] = [Simulated(), Cash(), Payme(subscribe)]
    providers += [CardService(payment)] if payment else []
    providers += [Links(links), External(links)] if links else []
    shop: Source = ProductService(product) if product else OwnSource(counted=inventory is None)
    return {
        Sources: Sources({SHOP: shop, AMBASSADORS: ambassadors or OwnAmbassadors()}),
        Providers: Providers({provider.name: provider for provider in providers}),
        Neighbours: Neighbours(inventory=inventory, order=order, product=product, payment=payment),
        Rules: Rules(
            payment_service=payment is not None,
            inventory_service=inventory is not None,
            order_service=order is not None,
            product_service=product is not None,
            links=links is not None,
            simulated_payments=bool(settings.simulated_payments),
            max_waiting_orders=settings.max_waiting_orders,
            payme=settings.payme_id is not None,
        ),
        PaymeRules: _payme_rules(settings),
        Replies: Replies(checkout=render_checkout),
        CollectRules: CollectRules(
            link_ttl=timedelta(seconds=settings.payment_link_ttl_s),
            keyed_provider=settings.grpc_payment_provider or "external",
        ),
        Notifier: _notifier(settings, session, keys),
        WebhookRules: _webhook_rules(settings),
        CardLimits: settings.card_limits or CardLimits(),
        WatchRules: WatchRules(every_s=settings.verify_every_s or 0),
    }


def _payme_rules(settings: Settings) -> PaymeRules:
    login, field = settings.payme_login, settings.payme_account_field
    house = None
    if settings.payme_id and settings.payme_key:
        house = Cashbox(
            HOUSE, settings.payme_id, settings.payme_key, bool(settings.payme_is_test_mode), login, field, settings.payme_fiscal
        )
    return PaymeRules(
        house=house,
        login=login,
        account_field=field,
        busy_code=settings.payme_busy_order_code,
        timeout_ms=settings.payme_tx_timeout_ms,
        link_ttl_s=settings.payme_link_ttl_s,
        language=settings.payme_lang,
        return_url=settings.payme_return_url,
    )


def _broker(settings: Settings) -> Broker | None:
    return Broker(settings.rabbitmq_url, settings.exchange_name, settings.queue_name) if settings.rabbitmq_url else None


def _fan_out(settings: Settings) -> FanOut:
    told = delivery_made(settings.webhook_retry_seconds[0])
    if not settings.notification_service_url and settings.email_backend == "none":
        return FanOut((told,))
    asks = settings.user_service_url and not settings.notification_service_url
    return FanOut((NOTICE_WRITTEN_AFTER_ASKING if asks else NOTICE_WRITTEN, told))


def _notifier(settings: Settings, session: aiohttp.ClientSession, keys: Keys) -> Notifier:
    service = _neighbour("notification", settings.notification_service_url, session)
    if service is not None:  # it knows its buyers' addresses
        return Notifier(NotificationService(service))
    post = _post(settings, session)
    user = _neighbour("user", settings.user_service_url, session)
    mail = Mail(post, Sender.read(settings.email_from), _follow(settings, keys)) if post else None
    return Notifier(mail, Users(user) if user else None)


def _follow(settings: Settings, keys: Keys) -> Callable[[str, uuid.UUID], str] | None:
    """Where an order can be followed, for letters; in production only where it was said how the world reaches the pages."""
    here = settings.public_url or ""
    unknown = settings.production and here == f"http://localhost:{settings.http_port}"
    if unknown or "buyer" not in (settings.pages or ()):
        return None
    return lambda merchant_id, order_id: here + tracking_address(keys, merchant_id, order_id)


def _post(settings: Settings, session: aiohttp.ClientSession) -> Post | None:
    if settings.email_backend == "smtp":
        host = settings.smtp_host or ""
        return Smtp(host, settings.smtp_port, settings.smtp_user, settings.smtp_password, settings.smtp_tls)
    if settings.email_backend == "mailgun":
        mailgun = Neighbour("mailgun", settings.mailgun_url, session, hears_trace=False)
        return Mailgun.of(mailgun, settings.mailgun_domain or "", settings.mailgun_api_key or "")
    return Console() if settings.email_backend == "console" else None


def _webhook_rules(settings: Settings) -> WebhookRules:
    return WebhookRules(
        plan=settings.webhook_retry_seconds,
        timeout_s=settings.webhook_timeout_s,
        private=bool(settings.allow_private_callbacks),
        callback_url=settings.merchant_callback_url,
        callback_secret=settings.merchant_callback_secret,
        callback_events=settings.merchant_callback_events,
        user_agent=f"Kassa/{__version__}",
    )


def _neighbour(name: str, url: str | None, session: aiohttp.ClientSession) -> Neighbour | None:
    return Neighbour(name, url, session) if url else None


def _provider_url(settings: Settings) -> str | None:
    if settings.provider_url or settings.production:
        return settings.provider_url
    return f"http://127.0.0.1:{settings.http_port}/sandbox/link"


def _schema_is_current(settings: Settings) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        try:
            await migrate.check(settings.database_url)
        except migrate.SchemaTooNew:
            return True  # it fitted when this process began, and a newer one fits the version before it
        except (migrate.SchemaOutdated, migrate.WrongServer):
            return False
        return True

    return ask


def _rpc_options(settings: Settings, redis: Redis | None) -> RpcOptions:
    return RpcOptions(
        host="127.0.0.1" if settings.http_host == "127.0.0.1" else "[::]",
        port=settings.grpc_port,
        currencies=settings.grpc_currencies,
        at_once=settings.max_workers or settings.pool_size,
        trust_merchant_header=bool(settings.trust_merchant_header),
        require_api_key=bool(settings.grpc_require_api_key),
        reflection=bool(settings.grpc_reflection),
        tls=(settings.grpc_tls_cert, settings.grpc_tls_key) if settings.grpc_tls_cert and settings.grpc_tls_key else None,
        rate_limit=settings.rate_limit,
        schema_is_current=_schema_is_current(settings),
        redis=redis,
        ambassadors=None if settings.production else dict(demo.AMBASSADOR_PRICES),
    )


def _pages(settings: Settings, keys: Keys, session: aiohttp.ClientSession) -> Pages | None:
    if not settings.pages:
        return None
    options = PageOptions(
        groups=settings.pages,
        keys=keys,
        secure=_https_only(settings),
        sandbox=not settings.production,
        public_url=settings.public_url,
        approval_above=settings.office_approval_above or {},
        surfaces=settings.surfaces,
        docs=bool(settings.api_docs),
        demo_token=None if settings.production else _demo_token(settings),
        bank=None if settings.production else Neighbour("sandbox", f"http://127.0.0.1:{settings.http_port}/sandbox", session),
    )
    return Pages(pages_routers(options), PREFIXES, Refusals())


def _demo_token(settings: Settings) -> Callable[[str, str], str]:
    def make(user: str, role: str) -> str:
        now = int(time.time())
        return issue_token(
            settings.jwt_secret,
            settings.jwt_algorithm,
            user,
            role,
            issued=now,
            expires=now + _DEMO_TOKEN_S,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        )

    return make


def _https_only(settings: Settings) -> bool:
    return settings.production and (settings.public_url or "").startswith("https://")


def _show_rotations(settings: Settings) -> None:
    former = {
        "KASSA_SECRET": settings.kassa_secret_old,
        "JWT_SECRET": settings.jwt_secret_old,
        "PROVIDER_WEBHOOK_SECRET": settings.provider_webhook_secret_old,
    }
    for name, old in former.items():
        SECRET_ROTATING.labels(name).set(bool(old))


def _token_rules(settings: Settings) -> TokenRules:
    old = settings.jwt_secret_old.encode() if settings.jwt_secret_old else None
    return TokenRules(settings.jwt_secret.encode(), settings.jwt_algorithm, settings.jwt_issuer, settings.jwt_audience, old)


def _options(settings: Settings, sandbox: ASGIApp | None, redis: Redis | None, pages: Pages | None) -> ApiOptions:
    return ApiOptions(
        surfaces=frozenset(settings.surfaces),
        tokens=_token_rules(settings),
        schema_is_current=_schema_is_current(settings),
        docs=bool(settings.api_docs),
        rate_limit=settings.rate_limit,
        trusted_proxies=settings.trusted_proxies,
        cors_origins=settings.cors_origins,
        provider_webhook_secret=settings.provider_webhook_secret,
        provider_webhook_secret_old=settings.provider_webhook_secret_old,
        trust_merchant_header=bool(settings.trust_merchant_header),
        metrics_token=settings.metrics_token,
        sandbox=sandbox,
        redis=redis,
        https_only=_https_only(settings),
        payme=PaymeOptions(settings.payme_max_body_bytes, settings.payme_ip_allowlist),
        pages=pages,
    )
