"""Every setting, read once from the environment and from `.env` in the current folder: the environment wins.

An empty value counts as not set, but for the cashbox, where it is a slip. What is secret may come from a file (`files.py`). Names
are those of the contracts' READMEs, so that an existing `.env` works. A setting that is missing, malformed or contradicts another
raises `SettingsError` with one line that names it and never its value. `.env.example` is printed from here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from kassa.events.catalogue import STATUS_CHANGES
from kassa.settings.derived import EVERYWHERE, NOBODY, check_pairs, derived, development_secrets
from kassa.settings.files import Files
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
from kassa.settings.kept import SettingsError, make_home
from kassa.settings.production import check_production
from kassa.settings.traces import SAMPLERS, check_traces

REQUIRED = ("DATABASE_URL", "JWT_SECRET", "KASSA_SECRET")
"""What production cannot do without."""


def _named(*names: str, default: Any = None, secret: bool = False, about: str, section: str = "", example: str = "") -> Any:
    """A setting under its environment names, the first wins; a secret one is not shown by `repr`, and may come from a file.

    For `.env.example` and the reference: `about` says what it is for and what holds when it is not set, `section` begins a new
    heading, `example` is shown where there is no default that could be.
    """
    said: dict[str, Any] = {"section": section, "example": example}
    return Field(default=default, validation_alias=AliasChoices(*names), repr=not secret, description=about, json_schema_extra=said)


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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given wins over the environment, that over secrets from files, and those over `.env`."""
        said = {**cast("EnvSettingsSource", dotenv_settings).env_vars, **cast("EnvSettingsSource", env_settings).env_vars}
        return init_settings, env_settings, Files(settings_cls, said), dotenv_settings

    database_url: DatabaseUrl = _named(
        "DATABASE_URL",
        default="",
        secret=True,
        section="Where it lives",
        example="postgresql://kassa:password@localhost:5432/kassa",
        about="PostgreSQL 15 or newer. Unset: an embedded one under KASSA_HOME (development only). "
        "Several servers, of which one takes writes: postgresql://kassa:password@db1:5432,db2:5432/kassa",
    )
    pool_size: Annotated[int, Field(ge=2, le=500)] = _named(
        "DATABASE_POOL_SIZE", default=16, about="Database connections of one process."
    )
    payments_db_url: DatabaseUrl | None = _named(
        "PAYMENTS_DB_URL", secret=True, about="The name of an older installation, read when DATABASE_URL is unset."
    )
    logs_db_url: str | None = _named(
        "LOGS_DB_URL",
        secret=True,
        about="Of an older installation, too: accepted and not used, because events are committed with their facts.",
    )
    kassa_home: Path = _named("KASSA_HOME", default=Path(".kassa"), about="Embedded database, logs and development secrets.")
    production: bool = _named(
        "PRODUCTION",
        default=False,
        example="true",
        about="true: no demo data, no sandbox, no secrets of our own making. "
        "Default: true for `kassa serve`, `kassa rpc` and `kassa work`, false for the others.",
    )
    drain_s: Annotated[float, Field(ge=0, le=300)] | None = _named(
        "DRAIN_S",
        about="Seconds that a process which is to stop still serves while /ready says no, so that balancers hear of it. "
        "5 in production, 0 in development.",
    )

    jwt_secret: str = _named(
        "JWT_SECRET",
        default="",
        secret=True,
        section="Secrets: required in production, made once under KASSA_HOME in development",
        about="Signs the tokens of buyers and staff: openssl rand -base64 48",
    )
    jwt_secret_old: str | None = _named(
        "JWT_SECRET_OLD",
        secret=True,
        about="The one before, while it is being rotated: what it signed is good, too, until the last such token is over.",
    )
    kassa_secret: SecretBytes = _named(
        "KASSA_SECRET",
        default=b"",
        secret=True,
        about="Seals what is stored encrypted, and keys hashes; 32 random bytes in base64: openssl rand -base64 32",
    )
    kassa_secret_old: SecretBytes | None = _named(
        "KASSA_SECRET_OLD", secret=True, about="The one before, while it is being rotated."
    )

    jwt_algorithm: Literal["HS256", "HS384", "HS512"] = _named(
        "JWT_ALGORITHM", default="HS256", section="Who is let in", about="How tokens are signed: HS256, HS384 or HS512."
    )
    jwt_issuer: str | None = _named("JWT_ISSUER", about="Who must have issued a token (`iss`). Checked when set.")
    jwt_audience: str | None = _named("JWT_AUDIENCE", about="For whom a token must be (`aud`). Checked when set.")
    rate_limit: Rate = _named("RATE_LIMIT", default="off", about="`off`, or per caller: 100/second, 1000/minute")
    card_limits: CardLimit | None = _named(
        "CARD_LIMITS",
        about="How fast cards may be tried at a payment service: on, off (not in production), or other numbers than "
        "card=5,buyer=5,address=6,shop=300: failed tries of one card in an hour, cards of one buyer, failed tries of one address, "
        "refused cards of the shop in ten minutes. On in production, off in development.",
    )
    trusted_proxies: Networks = _named(
        "TRUSTED_PROXIES", default=(), about="Addresses or networks, with commas: whose X-Forwarded-For is believed."
    )
    cors_origins: Origins = _named(
        "CORS_ORIGINS", default=(), about="Origins of pages elsewhere that may call, with commas: https://shop.example"
    )
    metrics_token: str | None = _named("METRICS_TOKEN", secret=True, about="Bearer for /metrics from elsewhere than this machine.")

    surfaces: Surfaces = _named(
        "SURFACES", default=SURFACES, section="What is served, and where", about="Which contracts this process serves."
    )
    pages: PageGroups | None = _named(
        "PAGES",
        example=",".join(PAGES),
        about="Pages for people, or off; in production buyer,office unless set.",
    )
    office_approval_above: Amounts | None = _named(
        "OFFICE_APPROVAL_ABOVE",
        about="Acts at the back office on more than this need a second admin; major units by currency: INR=50000,USD=600. "
        "Unset: none does.",
    )
    port: Port | None = _named("PORT", about="The port of whichever surface runs alone.")
    http_port: Port = _named("HTTP_PORT", "PORT", "APP_PORT", default=8000, about="HTTP_PORT, else PORT, else APP_PORT")
    grpc_port: Port = _named("GRPC_PORT", default=7000, about="The port of gRPC. Where gRPC runs alone: GRPC_PORT, else PORT.")
    metrics_port: Port | None = _named(
        "METRICS_PORT",
        about="Where `kassa work` and `kassa rpc` serve /metrics, /health and /ready; unset: nowhere. `kassa serve` has them at "
        "its own port.",
    )
    http_host: str = _named(
        "APP_HOST",
        default=EVERYWHERE,
        about="The address to listen on in production; development listens on this machine only, unless LAN=1.",
    )
    lan: bool = _named("LAN", default=False, about="Development: listen on all addresses, not only on this machine's own.")
    public_url: WebAddress | None = _named(
        "PUBLIC_URL", example="http://localhost:8000", about="How the world reaches this server: links in letters lead there."
    )
    api_docs: bool | None = _named("API_DOCS", about="/docs and /redoc: on in development, off in production.")

    product_service_url: WebAddress | None = _named(
        "PRODUCT_SERVICE_URL",
        section="Neighbours: unset means that Kassa does it itself",
        example="http://localhost:8082",
        about="Knows products, prices and stock.",
    )
    inventory_service_url: WebAddress | None = _named(
        "INVENTORY_SERVICE_URL", example="http://localhost:8082", about="Counts stock down."
    )
    payment_service_url: WebAddress | None = _named("PAYMENT_SERVICE_URL", example="http://localhost:8081", about="Charges cards.")
    order_service_url: WebAddress | None = _named(
        "ORDER_SERVICE_URL", example="http://localhost:8083", about="Is told of each order."
    )
    user_service_url: WebAddress | None = _named(
        "USER_SERVICE_URL", example="http://localhost:8081", about="Knows buyers' names and e-mail addresses."
    )
    notification_service_url: WebAddress | None = _named(
        "NOTIFICATION_SERVICE_URL", example="http://localhost:8084", about="Writes to buyers."
    )
    provider_url: WebAddress | None = _named("PROVIDER_URL", about="Makes payment links; unset in development: the sandbox.")
    provider_webhook_secret: str | None = _named(
        "PROVIDER_WEBHOOK_SECRET",
        secret=True,
        about="Signs what a payment provider reports; needed with PROVIDER_URL in production.",
    )
    provider_webhook_secret_old: str | None = _named(
        "PROVIDER_WEBHOOK_SECRET_OLD", secret=True, about="The one before, while the provider still signs with it."
    )
    redis_url: RedisUrl | None = _named(
        "REDIS_URL",
        secret=True,
        example="redis://localhost:6379/0",
        about="A quicker way for news, a cache and shared rate limits.",
    )
    redis_host: str | None = _named("REDIS_HOST", about="With REDIS_PORT, when REDIS_URL is unset.")
    redis_port: Port = _named("REDIS_PORT", default=6379, about="The port at REDIS_HOST.")
    ambassador_grpc_host: Host | None = _named(
        "AMBASSADOR_GRPC_HOST",
        about="The service that knows ambassadors and their prices, over gRPC; unset: Kassa's own catalogue.",
    )
    ambassador_grpc_port: Port = _named("AMBASSADOR_GRPC_PORT", default=50051, about="The port at AMBASSADOR_GRPC_HOST.")

    payme_id: PaymeId | None = _named(
        "PAYME_ID",
        section="Payme",
        about="The house's cashbox at Payme: with PAYME_KEY, or neither; an empty one stops the start. Unset in development: "
        "a sandbox cashbox with a key made once under KASSA_HOME. Unset in production: no purchases. "
        "Merchants' own cashboxes: `kassa merchants payme set`.",
    )
    payme_key: PaymeKey | None = _named("PAYME_KEY", secret=True, about="The one key by which Payme proves itself.")
    payme_login: PaymeLogin = _named("PAYME_LOGIN", default="Paycom", about="The login that Payme calls with.")
    payme_is_test_mode: bool | None = _named(
        "PAYME_IS_TEST_MODE", about="Links lead to Payme's sandbox: on with the cashbox that development makes, else off."
    )
    payme_account_field: AccountField = _named(
        "PAYME_ACCOUNT_FIELD",
        default="order_id",
        about="The member of `account` that names what is paid, as it stands on the cashbox.",
    )
    payme_busy_order_code: BusyCode = _named(
        "PAYME_BUSY_ORDER_CODE",
        default=-31051,
        about="What a second attempt to pay one order is told: -31051, or -31008 if Payme's sandbox wants that.",
    )
    payme_tx_timeout_ms: Annotated[int, Field(ge=1, le=30 * 86_400_000)] = _named(
        "PAYME_TX_TIMEOUT_MS", default=43_200_000, about="Milliseconds for which an attempt to pay holds its order: 12 hours."
    )
    payme_ip_allowlist: PaymeNetworks = _named(
        "PAYME_IP_ALLOWLIST",
        default=(),
        about="Addresses and networks, with commas, that may call as Payme; `payme` stands for 185.234.113.1 to .15. "
        "Unset: whoever has the key.",
    )
    payme_max_body_bytes: Annotated[int, Field(ge=1024, le=1024 * 1024)] = _named(
        "PAYME_MAX_BODY_BYTES", default=65536, about="The longest call of Payme that is read."
    )
    payme_link_ttl_s: Annotated[int, Field(ge=1, le=366 * 86400)] = _named(
        "PAYME_LINK_TTL_S", default=86400, about="Seconds that a purchase may be paid."
    )
    payme_fiscal: bool = _named(
        "PAYME_FISCAL",
        default=False,
        about="The cashbox makes fiscal receipts: each order says what is in it; see `kassa merchants payme fiscal`.",
    )
    payme_lang: Literal["ru", "uz", "en"] | None = _named("PAYME_LANG", about="The language of Payme's page: ru, uz or en.")
    payme_return_url: ReturnAddress | None = _named("PAYME_RETURN_URL", about="Where Payme sends the buyer afterwards.")
    payme_subscribe: bool | None = _named(
        "PAYME_SUBSCRIBE",
        about="Call Payme's Subscribe API too: whole payments are given back from here, card tokens are paid with. "
        "On with the cashbox that development makes, against the sandbox, else off.",
    )
    payme_api_url: WebAddress | None = _named(
        "PAYME_API_URL", about="Where the Subscribe API is. Unset: at Payme's own address, by the mode of the cashbox."
    )

    rabbitmq_url: BrokerUrl | None = _named(
        "RABBITMQ_URL",
        secret=True,
        section="Telling merchants",
        example="amqp://guest:guest@localhost:5672/",
        about="A broker between events and deliveries; unset: straight from the database.",
    )
    exchange_name: BrokerName = _named("EXCHANGE_NAME", default="payments", about="The broker's exchange for events.")
    queue_name: BrokerName = _named(
        "QUEUE_NAME", default="payments.merchant", about="The broker's queue of deliveries to merchants."
    )
    merchant_callback_url: WebAddress | None = _named(
        "MERCHANT_CALLBACK_URL", about="Who is told for every merchant without an endpoint of its own."
    )
    merchant_callback_secret: SigningSecret | None = _named(
        "MERCHANT_CALLBACK_SECRET",
        secret=True,
        about="Signs what is told there: whsec_ and base64; unset: made once, `kassa merchants callback-secret` shows it.",
    )
    merchant_callback_events: EventPatterns = _named(
        "MERCHANT_CALLBACK_EVENTS", default=STATUS_CHANGES, about="What is told there: types, families such as payment.*, or *"
    )
    allow_private_callbacks: bool | None = _named(
        "ALLOW_PRIVATE_CALLBACKS",
        about="Merchants may name private addresses and plain http: on in development, off in production.",
    )
    egress_proxy: WebAddress | None = _named("EGRESS_PROXY", about="A proxy that makes every call to merchants.")
    webhook_retry_seconds: RetryPlan = _named(
        "WEBHOOK_RETRY_SECONDS",
        default=(0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
        about="Seconds before each attempt to tell a merchant.",
    )
    webhook_timeout_s: Annotated[int, Field(ge=1, le=30)] = _named(
        "WEBHOOK_TIMEOUT_S", default=15, about="Seconds that one attempt may take."
    )

    email_backend: Literal["console", "smtp", "mailgun", "none"] | None = _named(
        "EMAIL_BACKEND",
        section="Writing to buyers: where there is no NOTIFICATION_SERVICE_URL",
        about="console, smtp, mailgun or none; console in development, none in production.",
    )
    email_from: EmailSender = _named(
        "EMAIL_FROM", "MAILGUN_FROM_EMAIL", default=NOBODY, about="Who letters are from: EMAIL_FROM, else MAILGUN_FROM_EMAIL"
    )
    smtp_host: str | None = _named("SMTP_HOST", about="The mail server.")
    smtp_port: Port = _named("SMTP_PORT", default=587, about="The port at SMTP_HOST.")
    smtp_user: str | None = _named("SMTP_USER", about="Who signs in there; unset: nobody does.")
    smtp_password: str | None = _named("SMTP_PASSWORD", secret=True, about="The password of SMTP_USER.")
    smtp_tls: Literal["starttls", "implicit", "off"] = _named("SMTP_TLS", default="starttls", about="starttls, implicit or off")
    mailgun_url: WebAddress = _named("MAILGUN_URL", default="https://api.mailgun.net", about="Where Mailgun is: its region.")
    mailgun_domain: str | None = _named("MAILGUN_DOMAIN", about="The domain that letters are sent for.")
    mailgun_api_key: str | None = _named("MAILGUN_API_KEY", secret=True, about="The key for it.")

    simulated_payments: bool | None = _named(
        "SIMULATED_PAYMENTS",
        section="How it behaves",
        about="Offer the methods that only pretend to move money: on in development, off in production.",
    )
    max_waiting_orders: Annotated[int, Field(ge=1)] = _named(
        "MAX_WAITING_ORDERS", default=20, about="Orders of one buyer that may wait to be paid by link."
    )
    payment_link_ttl_s: Annotated[int, Field(ge=1, le=366 * 86400)] = _named(
        "PAYMENT_LINK_TTL_S", default=86400, about="Seconds that a merchant's payment may wait for its buyer."
    )
    trust_merchant_header: bool | None = _named(
        "TRUST_MERCHANT_HEADER",
        about="Believe X-Merchant-Id: only behind a gateway that sets it. On in `kassa dev`, off elsewhere.",
    )
    lease_s: Annotated[float, Field(gt=0, le=3600)] = _named(
        "KASSA_LEASE_S", default=5, about="Seconds after which the work of a dead process is taken over."
    )
    verify_every_s: Annotated[float, Field(ge=0, le=86400)] | None = _named(
        "VERIFY_EVERY_S",
        about="Seconds between two looks of the workers at the invariants (`kassa verify`), beside the shop; 0: never. "
        "60 in production, else 0.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _named(
        "LOG_LEVEL", default="info", about="debug, info, warning or error"
    )
    crash_at: str | None = _named(
        "KASSA_CRASH_AT", about="Tests only: the kill point at which the process ends itself. Refused in production."
    )

    grpc_currencies: Currencies = _named(
        "GRPC_CURRENCIES",
        default=("USD", "EUR", "GBP", "JPY", "CAD", "AUD"),
        section="gRPC",
        about="Currencies that may be asked for, as ISO 4217 codes.",
    )
    grpc_payment_provider: Literal["simulated", "external"] | None = _named(
        "GRPC_PAYMENT_PROVIDER",
        about="simulated or external: who collects what is asked for. Simulated in development, external in production.",
    )
    grpc_require_api_key: bool | None = _named(
        "GRPC_REQUIRE_API_KEY", about="No calls without a key: off in development, on in production."
    )
    grpc_reflection: bool | None = _named(
        "GRPC_REFLECTION", about="Clients may ask for the proto: on in development, off in production."
    )
    grpc_tls_cert: Path | None = _named("GRPC_TLS_CERT", about="PEM files of the certificate and of its key, both or none.")
    grpc_tls_key: Path | None = _named("GRPC_TLS_KEY", about="The key of GRPC_TLS_CERT.")
    max_workers: Annotated[int, Field(ge=1, le=1000)] | None = _named(
        "MAX_WORKERS", about="Calls handled at the same time. Default: DATABASE_POOL_SIZE."
    )

    otel_endpoint: WebAddress | None = _named(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        section="Traces",
        example="http://localhost:4318",
        about="A collector that takes OTLP over HTTP: spans are recorded and sent there. Unset: none are. Needs `kassa[otel]`. "
        "What else the library knows (OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_MAX_QUEUE_SIZE and so on) counts from the environment.",
    )
    otel_traces_endpoint: WebAddress | None = _named(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", about="The whole address instead, with its path."
    )
    otel_protocol: str | None = _named("OTEL_EXPORTER_OTLP_PROTOCOL", example="http/protobuf", about="There is one.")
    otel_headers: str | None = _named("OTEL_EXPORTER_OTLP_HEADERS", secret=True, about="Sent along: name=value,name=value")
    otel_service_name: str | None = _named("OTEL_SERVICE_NAME", example="kassa", about="What this process is called in traces.")
    otel_sampler: str | None = _named(
        "OTEL_TRACES_SAMPLER", example=SAMPLERS[0], about=f"Which traces are recorded: {', '.join(SAMPLERS)}"
    )
    otel_sampler_arg: str | None = _named("OTEL_TRACES_SAMPLER_ARG", example="1", about="The part of them, 0 to 1.")
    otel_sdk_disabled: bool = _named("OTEL_SDK_DISABLED", default=False, about="true: no spans, whatever else is set.")

    app_name: str | None = _named(
        "APP_NAME",
        section="Names of an older installation: accepted, and not used",
        about="Kassa is called Kassa.",
    )
    debug: str | None = _named("DEBUG", about="See LOG_LEVEL, API_DOCS and PRODUCTION.")
    paytech_api_key: str | None = _named("PAYTECH_API_KEY", secret=True, about="No licence is needed.")

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
        read = read.model_copy(update=derived(read, development=development))
        check_pairs(read)
        check_traces(read)
        if read.production:
            check_production(read, need)
            return read
        make_home(read.kassa_home)
        return read.model_copy(update=development_secrets(read))

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
