"""Every setting, read once from the environment and from `.env` in the current folder: the environment wins.

An empty value counts as not set, but for the cashbox, where it is a slip. Names are those of the contracts' READMEs, so that an
existing `.env` works. A setting that is missing, malformed or contradicts another raises `SettingsError` with one line that names
it and never its value.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from kassa.cardwatch import CardLimits
from kassa.events.catalogue import STATUS_CHANGES
from kassa.settings.forms import (
    PAGES,
    SURFACES,
    AccountField,
    Amounts,
    BrokerName,
    BrokerUrl,
    BusyCode,
    CardLimit,
    Currencies,
    DatabaseUrl,
    EmailSender,
    EventPatterns,
    Host,
    Networks,
    Origins,
    PageGroups,
    PaymeId,
    PaymeKey,
    PaymeLogin,
    PaymeNetworks,
    Port,
    Rate,
    RedisUrl,
    RetryPlan,
    ReturnAddress,
    SecretBytes,
    SigningSecret,
    Surfaces,
    WebAddress,
)
from kassa.settings.kept import SettingsError, kept_secret, make_home
from kassa.settings.production import check_production

REQUIRED = ("DATABASE_URL", "JWT_SECRET", "KASSA_SECRET")
"""What production cannot do without."""

SANDBOX_CASHBOX = "650000000000000000000001"
"""The cashbox of a development machine that has none at Payme; its key is made once and kept."""
_NOBODY = "Kassa <shop@localhost.localdomain>"
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - what a deployment wants


def _named(*names: str, default: Any = None, secret: bool = False, about: str = "") -> Any:
    """A setting under its environment names, the first wins; a secret one is not shown by `repr`."""
    return Field(default=default, validation_alias=AliasChoices(*names), repr=not secret, description=about)


class Settings(BaseSettings):
    """All settings of one process, frozen. Make it with `Settings.load`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        case_sensitive=True,
        validate_default=False,
    )

    production: bool = _named("PRODUCTION", default=False, about="no demo data, no sandbox, no secrets of our own making")
    kassa_home: Path = _named("KASSA_HOME", default=Path(".kassa"), about="embedded database, logs and development secrets")
    payments_db_url: DatabaseUrl | None = _named("PAYMENTS_DB_URL", secret=True, about="read when DATABASE_URL is unset")
    logs_db_url: str | None = _named("LOGS_DB_URL", secret=True, about="accepted and unused: events are committed with their facts")
    database_url: DatabaseUrl = _named(
        "DATABASE_URL",
        default="",
        secret=True,
        about="PostgreSQL 15 or newer; unset: the embedded one (development only)",
    )
    pool_size: Annotated[int, Field(ge=2, le=500)] = _named(
        "DATABASE_POOL_SIZE", default=16, about="database connections of one process"
    )

    drain_s: Annotated[float, Field(ge=0, le=300)] | None = _named(
        "DRAIN_S",
        about="seconds that a process which is to stop still serves while /ready says no; 5 in production, 0 in development",
    )
    surfaces: Surfaces = _named("SURFACES", default=SURFACES, about="which contracts this process serves")
    pages: PageGroups | None = _named(
        "PAGES", about="which pages for people are served, or off; all in development, buyer and office in production"
    )
    office_approval_above: Amounts | None = _named(
        "OFFICE_APPROVAL_ABOVE",
        about="acts at the back office on more than this need a second admin, in major units: INR=50000,USD=600",
    )
    http_host: str = _named("APP_HOST", default=_EVERYWHERE, about="where to listen; development always uses loopback")
    http_port: Port = _named("HTTP_PORT", "PORT", "APP_PORT", default=8000)
    grpc_port: Port = _named("GRPC_PORT", default=7000)
    port: Port | None = _named("PORT", about="the port of whichever surface runs alone")
    lan: bool = _named("LAN", default=False, about="development: listen on all addresses, not only on loopback")
    public_url: WebAddress | None = _named("PUBLIC_URL", about="how the world reaches this server")
    trusted_proxies: Networks = _named("TRUSTED_PROXIES", default=())
    cors_origins: Origins = _named("CORS_ORIGINS", default=())
    rate_limit: Rate = _named("RATE_LIMIT", default="off", about="per caller, such as 100/second")
    card_limits: CardLimit | None = _named(
        "CARD_LIMITS", about="how fast cards may be tried: on, off, or numbers such as card=5,buyer=5; always on in production"
    )
    api_docs: bool | None = _named("API_DOCS", about="serve /docs and /redoc; on in development, off in production")
    metrics_token: str | None = _named("METRICS_TOKEN", secret=True, about="bearer for /metrics from elsewhere than loopback")

    jwt_secret: str = _named("JWT_SECRET", default="", secret=True)
    jwt_algorithm: Literal["HS256", "HS384", "HS512"] = _named("JWT_ALGORITHM", default="HS256")
    jwt_issuer: str | None = _named("JWT_ISSUER", about="checked when set")
    jwt_audience: str | None = _named("JWT_AUDIENCE", about="checked when set")
    kassa_secret: SecretBytes = _named("KASSA_SECRET", default=b"", secret=True, about="32 random bytes in base64")
    kassa_secret_old: SecretBytes | None = _named("KASSA_SECRET_OLD", secret=True, about="while KASSA_SECRET is being rotated")

    product_service_url: WebAddress | None = _named("PRODUCT_SERVICE_URL")
    inventory_service_url: WebAddress | None = _named("INVENTORY_SERVICE_URL")
    payment_service_url: WebAddress | None = _named("PAYMENT_SERVICE_URL")
    order_service_url: WebAddress | None = _named("ORDER_SERVICE_URL")
    user_service_url: WebAddress | None = _named("USER_SERVICE_URL")
    notification_service_url: WebAddress | None = _named("NOTIFICATION_SERVICE_URL")
    provider_url: WebAddress | None = _named("PROVIDER_URL")
    provider_webhook_secret: str | None = _named("PROVIDER_WEBHOOK_SECRET", secret=True)
    redis_url: RedisUrl | None = _named("REDIS_URL", secret=True)
    redis_host: str | None = _named("REDIS_HOST", about="with REDIS_PORT, when REDIS_URL is unset")
    redis_port: Port = _named("REDIS_PORT", default=6379)
    rabbitmq_url: BrokerUrl | None = _named(
        "RABBITMQ_URL", secret=True, about="broker between events and deliveries; unset: straight from the database"
    )
    exchange_name: BrokerName = _named("EXCHANGE_NAME", default="payments")
    queue_name: BrokerName = _named("QUEUE_NAME", default="payments.merchant")

    merchant_callback_url: WebAddress | None = _named(
        "MERCHANT_CALLBACK_URL", about="who is told for every merchant without an endpoint of its own"
    )
    merchant_callback_secret: SigningSecret | None = _named(
        "MERCHANT_CALLBACK_SECRET", secret=True, about="whsec_…; unset: made once, `kassa merchants callback-secret` shows it"
    )
    merchant_callback_events: EventPatterns = _named(
        "MERCHANT_CALLBACK_EVENTS", default=STATUS_CHANGES, about="types, families such as payment.*, or *"
    )
    allow_private_callbacks: bool | None = _named(
        "ALLOW_PRIVATE_CALLBACKS", about="merchants may name private addresses and plain http; on in development"
    )
    egress_proxy: WebAddress | None = _named("EGRESS_PROXY", about="a proxy that makes every call to merchants")
    webhook_retry_seconds: RetryPlan = _named(
        "WEBHOOK_RETRY_SECONDS",
        default=(0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
        about="the wait before each attempt to tell a merchant",
    )
    webhook_timeout_s: Annotated[int, Field(ge=1, le=30)] = _named("WEBHOOK_TIMEOUT_S", default=15)

    email_backend: Literal["console", "smtp", "mailgun", "none"] | None = _named(
        "EMAIL_BACKEND", about="how buyers are written to without a notification service; console in development, else none"
    )
    email_from: EmailSender = _named("EMAIL_FROM", "MAILGUN_FROM_EMAIL", default=_NOBODY)
    smtp_host: str | None = _named("SMTP_HOST")
    smtp_port: Port = _named("SMTP_PORT", default=587)
    smtp_user: str | None = _named("SMTP_USER")
    smtp_password: str | None = _named("SMTP_PASSWORD", secret=True)
    smtp_tls: Literal["starttls", "implicit", "off"] = _named("SMTP_TLS", default="starttls")
    mailgun_url: WebAddress = _named("MAILGUN_URL", default="https://api.mailgun.net")
    mailgun_domain: str | None = _named("MAILGUN_DOMAIN")
    mailgun_api_key: str | None = _named("MAILGUN_API_KEY", secret=True)

    payme_id: PaymeId | None = _named("PAYME_ID", about="the house's cashbox at Payme; with PAYME_KEY, or neither")
    payme_key: PaymeKey | None = _named("PAYME_KEY", secret=True, about="the one key by which Payme proves itself")
    payme_login: PaymeLogin = _named("PAYME_LOGIN", default="Paycom")
    payme_is_test_mode: bool | None = _named(
        "PAYME_IS_TEST_MODE", about="links lead to Payme's sandbox; on with the cashbox that development makes, else off"
    )
    payme_account_field: AccountField = _named("PAYME_ACCOUNT_FIELD", default="order_id")
    payme_busy_order_code: BusyCode = _named("PAYME_BUSY_ORDER_CODE", default=-31051, about="or -31008")
    payme_tx_timeout_ms: Annotated[int, Field(ge=1, le=30 * 86_400_000)] = _named(
        "PAYME_TX_TIMEOUT_MS", default=43_200_000, about="milliseconds for which an attempt to pay holds its order"
    )
    payme_ip_allowlist: PaymeNetworks = _named(
        "PAYME_IP_ALLOWLIST",
        default=(),
        about="who may call as Payme: addresses, networks, or `payme`; none: everybody with the key",
    )
    payme_max_body_bytes: Annotated[int, Field(ge=1024, le=1024 * 1024)] = _named("PAYME_MAX_BODY_BYTES", default=65536)
    payme_link_ttl_s: Annotated[int, Field(ge=1, le=366 * 86400)] = _named(
        "PAYME_LINK_TTL_S", default=86400, about="seconds that a purchase may be paid at Payme"
    )
    payme_fiscal: bool = _named(
        "PAYME_FISCAL", default=False, about="the cashbox makes fiscal receipts: each order says what is in it"
    )
    payme_lang: Literal["ru", "uz", "en"] | None = _named("PAYME_LANG", about="the language of Payme's page")
    payme_return_url: ReturnAddress | None = _named("PAYME_RETURN_URL", about="where Payme sends the buyer afterwards")
    payme_subscribe: bool | None = _named(
        "PAYME_SUBSCRIBE",
        about="call Payme's Subscribe API: refunds from here, card tokens; on with the cashbox that development makes",
    )
    payme_api_url: WebAddress | None = _named("PAYME_API_URL", about="where the Subscribe API is, if not at Payme's own address")
    ambassador_grpc_host: Host | None = _named("AMBASSADOR_GRPC_HOST", about="unset: ambassadors are in Kassa's own catalogue")
    ambassador_grpc_port: Port = _named("AMBASSADOR_GRPC_PORT", default=50051)
    paytech_api_key: str | None = _named("PAYTECH_API_KEY", secret=True, about="accepted and unused: no licence is needed")
    app_name: str | None = _named("APP_NAME", about="accepted and unused")
    debug: str | None = _named("DEBUG", about="accepted and unused: see LOG_LEVEL")

    payment_link_ttl_s: Annotated[int, Field(ge=1, le=366 * 86400)] = _named(
        "PAYMENT_LINK_TTL_S", default=86400, about="seconds that a merchant's payment may wait for its buyer"
    )
    trust_merchant_header: bool | None = _named(
        "TRUST_MERCHANT_HEADER", about="believe X-Merchant-Id: a gateway stands in front; on in development"
    )
    grpc_currencies: Currencies = _named("GRPC_CURRENCIES", default=("USD", "EUR", "GBP", "JPY", "CAD", "AUD"))
    grpc_payment_provider: Literal["simulated", "external"] | None = _named(
        "GRPC_PAYMENT_PROVIDER", about="who collects what is asked for over gRPC; external in production"
    )
    grpc_require_api_key: bool | None = _named("GRPC_REQUIRE_API_KEY", about="no calls without a key; on in production")
    grpc_reflection: bool | None = _named("GRPC_REFLECTION", about="clients may ask for the proto; off in production")
    grpc_tls_cert: Path | None = _named("GRPC_TLS_CERT", about="PEM files, both or none")
    grpc_tls_key: Path | None = _named("GRPC_TLS_KEY")
    max_workers: Annotated[int, Field(ge=1, le=1000)] | None = _named(
        "MAX_WORKERS", about="gRPC calls handled at the same time; default: DATABASE_POOL_SIZE"
    )

    simulated_payments: bool | None = _named("SIMULATED_PAYMENTS", about="offer the methods that only pretend; on in development")
    max_waiting_orders: Annotated[int, Field(ge=1)] = _named(
        "MAX_WAITING_ORDERS", default=20, about="unpaid link orders of one buyer"
    )
    lease_s: Annotated[float, Field(gt=0, le=3600)] = _named(
        "KASSA_LEASE_S", default=5, about="seconds after which a dead owner's work is taken over"
    )
    verify_every_s: Annotated[float, Field(ge=0, le=86400)] | None = _named(
        "VERIFY_EVERY_S",
        about="seconds between looks at the invariants by the workers; 0: never. 60 in production, 0 in development",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _named("LOG_LEVEL", default="info")
    crash_at: str | None = _named("KASSA_CRASH_AT", about="tests only: the kill point at which this process ends itself")

    @classmethod
    def load(cls, development: bool, *, need: Iterable[str] = REQUIRED, **given: Any) -> Self:  # noqa: FBT001 - Settings.load(True) is said in few places
        """Read the settings. `development` makes PRODUCTION=false the default, else it is true.

        In development missing secrets are made once and kept under `KASSA_HOME`; in production those named in `need` must be set
        and good. `given` overrides by environment name (`HTTP_PORT=9000`). Raises `SettingsError`.
        """
        try:
            read = cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise SettingsError(_first_problem(error)) from None
        if "production" not in read.model_fields_set:
            read = read.model_copy(update={"production": not development})
        read = read.model_copy(update=_derived(read, development=development))
        _check_pairs(read)
        if read.production:
            check_production(read, need)
            return read
        make_home(read.kassa_home)
        return read.model_copy(update=_development_secrets(read))

    def for_serving(self) -> tuple[Self, list[str]]:
        """The settings with the HTTP surfaces that can be served, and a line for each that is left out.

        A surface that nobody named and none of whose required settings is there is left out; a named or half-configured one
        raises `SettingsError` (rulings, 33).
        """
        served, left_out = self.surfaces, []
        for surface, required in self._required().items():
            missing = [name for name, value in required.items() if not value]
            if not self.production or not missing or surface not in served:
                continue
            if "surfaces" in self.model_fields_set or len(missing) < len(required):
                raise SettingsError(f"{missing[0]} is not set; the {surface} surface needs it in production")
            served = tuple(name for name in served if name != surface)
            left_out.append(f"the {surface} surface is left out: {' and '.join(missing)} are not set")
        return (self.model_copy(update={"surfaces": served}) if left_out else self), left_out

    def _required(self) -> dict[str, dict[str, str | None]]:
        """What a surface cannot do without in production."""
        return {
            "payments": {"PROVIDER_URL": self.provider_url, "PROVIDER_WEBHOOK_SECRET": self.provider_webhook_secret},
            "purchases": {"PAYME_ID": self.payme_id, "PAYME_KEY": self.payme_key},
        }


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_input=False, include_url=False)[0]
    name = _as_written(str(problem["loc"][0]))
    text = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{name} {text[:1].lower()}{text[1:]}"


def _as_written(name: str) -> str:
    """Of the names of one setting, the one that stands in the environment."""
    for field in Settings.model_fields.values():
        choices = [str(choice) for choice in cast("AliasChoices", field.validation_alias).choices]
        if name in choices:
            return next((choice for choice in choices if os.environ.get(choice)), name)
    return name


def _derived(read: Settings, *, development: bool) -> dict[str, Any]:
    """The settings that follow from others when they are not set."""
    alone = read.surfaces == ("grpc",) and "grpc_port" not in read.model_fields_set
    loopback = not (read.production or read.lan)
    return {
        "kassa_home": read.kassa_home.expanduser().absolute(),
        "http_host": "127.0.0.1" if loopback else _EVERYWHERE if read.lan else read.http_host,
        "grpc_port": read.port if alone and read.port else read.grpc_port,
        "database_url": _one_database(read),
        "drain_s": (5.0 if read.production else 0.0) if read.drain_s is None else read.drain_s,
        "trust_merchant_header": development and not read.production
        if read.trust_merchant_header is None
        else read.trust_merchant_header,
        "verify_every_s": (60.0 if read.production else 0.0) if read.verify_every_s is None else read.verify_every_s,
        "card_limits": read.card_limits or CardLimits(on=read.production),
        "grpc_payment_provider": read.grpc_payment_provider or ("external" if read.production else "simulated"),
        "grpc_require_api_key": read.production if read.grpc_require_api_key is None else read.grpc_require_api_key,
        "grpc_reflection": not read.production if read.grpc_reflection is None else read.grpc_reflection,
        "max_workers": read.max_workers or read.pool_size,
        "public_url": read.public_url or f"http://localhost:{read.http_port}",
        "redis_url": read.redis_url or (f"redis://{read.redis_host}:{read.redis_port}/0" if read.redis_host else None),
        "api_docs": not read.production if read.api_docs is None else read.api_docs,
        "pages": (("buyer", "office") if read.production else PAGES) if read.pages is None else read.pages,
        "email_backend": read.email_backend or ("none" if read.production else "console"),
        "allow_private_callbacks": not read.production if read.allow_private_callbacks is None else read.allow_private_callbacks,
        "simulated_payments": not read.production if read.simulated_payments is None else read.simulated_payments,
        "payme_is_test_mode": not read.production and read.payme_id is None
        if read.payme_is_test_mode is None
        else read.payme_is_test_mode,
        "payme_subscribe": not read.production and read.payme_id is None if read.payme_subscribe is None else read.payme_subscribe,
    }


def _check_pairs(read: Settings) -> None:
    _check_email(read)
    _check_cashbox(read)
    if (read.grpc_tls_cert is None) != (read.grpc_tls_key is None):
        missing = "GRPC_TLS_KEY" if read.grpc_tls_key is None else "GRPC_TLS_CERT"
        raise SettingsError(f"{missing} is not set; a certificate and its key are needed, or neither")
    for name, path in (("GRPC_TLS_CERT", read.grpc_tls_cert), ("GRPC_TLS_KEY", read.grpc_tls_key)):
        if path is not None and not os.access(path, os.R_OK):
            raise SettingsError(f"{name} names a file that cannot be read")


def _check_email(read: Settings) -> None:
    sender = read.email_from if read.email_from != _NOBODY else None
    needed = {
        "smtp": {"SMTP_HOST": read.smtp_host, "EMAIL_FROM": sender},
        "mailgun": {"MAILGUN_DOMAIN": read.mailgun_domain, "MAILGUN_API_KEY": read.mailgun_api_key, "EMAIL_FROM": sender},
    }
    for name, value in needed.get(read.email_backend or "", {}).items():
        if not value:
            raise SettingsError(f"{name} is not set; EMAIL_BACKEND={read.email_backend} needs it")


def _check_cashbox(read: Settings) -> None:
    """One of the pair alone would be a webhook that lets nobody in, or a key that opens nothing. An empty one is a slip."""
    pair = {"PAYME_ID": read.payme_id, "PAYME_KEY": read.payme_key}
    missing = [name for name, value in pair.items() if value is None]
    for name in missing:
        if name in os.environ:
            raise SettingsError(f"{name} is empty; set PAYME_ID and PAYME_KEY, or neither")
    if len(missing) == 1:
        raise SettingsError(f"{missing[0]} is not set; set PAYME_ID and PAYME_KEY, or neither")


def _one_database(read: Settings) -> str:
    """`DATABASE_URL`, or `PAYMENTS_DB_URL` where that is what an older installation has."""
    if read.database_url and read.payments_db_url and read.database_url != read.payments_db_url:
        raise SettingsError("PAYMENTS_DB_URL names another database than DATABASE_URL; set one of them")
    return read.database_url or read.payments_db_url or ""


def _development_secrets(read: Settings) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if not read.jwt_secret:
        made["jwt_secret"] = kept_secret(read.kassa_home, "jwt_secret", lambda: secrets.token_urlsafe(48))
    if not read.kassa_secret:
        text = kept_secret(read.kassa_home, "kassa_secret", lambda: base64.b64encode(secrets.token_bytes(32)).decode())
        made["kassa_secret"] = base64.b64decode(text)
    if not read.provider_webhook_secret:
        made["provider_webhook_secret"] = kept_secret(read.kassa_home, "provider_webhook_secret", lambda: secrets.token_urlsafe(32))
    if not read.payme_id:
        made["payme_id"] = SANDBOX_CASHBOX
        made["payme_key"] = kept_secret(read.kassa_home, "payme_key", lambda: secrets.token_hex(18))
    return made
