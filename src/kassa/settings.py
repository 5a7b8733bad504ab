"""Every setting, read once from the environment and from `.env` in the current folder: the environment wins.

An empty value counts as not set. Names are those of the contracts' READMEs, so that an existing `.env` works. A setting that is
missing, malformed or contradicts another raises `SettingsError` with one line that names it and never its value.
Only bootstrap, the command line and tests import this.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SURFACES = ("orders", "checkout", "purchases", "payments", "grpc")
REQUIRED = ("DATABASE_URL", "JWT_SECRET", "KASSA_SECRET")
"""What production cannot do without."""

_EVERYWHERE = "0.0.0.0"  # noqa: S104 - what a deployment wants
_WELL_KNOWN = re.compile(
    r"secret|change|password|example|default|develop(ment)?|production|jwt|kassa|your|super|very|key|this|test|[0-9]{3,}|qwerty|please|[^a-z0-9]",
    re.IGNORECASE,
)
_MIN_SECRET = 32
"""Bytes of a secret that production accepts, and how many of them must differ."""
_MIN_DIFFERENT = 12
_ADVICE = {
    "JWT_SECRET": "make a new one with `openssl rand -base64 48`",
    "KASSA_SECRET": "make a new one with `openssl rand -base64 32`",
}


class SettingsError(Exception):
    """A setting is missing, malformed or contradicts another; the text is one line that names it."""


def _items(value: object) -> object:
    """`a, b,c` as a tuple."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _secret_bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        raw = base64.b64decode(value.strip().replace("-", "+").replace("_", "/") + "==", validate=False)
    except binascii.Error as error:
        raise ValueError("must be base64") from error
    if len(raw) < _MIN_SECRET:
        raise ValueError("must be at least 32 random bytes in base64; make one with `openssl rand -base64 32`")
    return raw


def _database(value: str) -> str:
    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", value)
    if not plain.startswith("postgresql://"):
        raise ValueError("must begin with postgresql://; Kassa works with PostgreSQL 15 or newer")
    try:
        _ = urlsplit(plain).port
    except ValueError:
        raise ValueError("is not an address such as postgresql://user:password@host:5432/database") from None
    return plain


def _web_address(value: str) -> str:
    if not re.match(r"^https?://[^/\s]+", value):
        raise ValueError("must begin with http:// or https:// and name a host")
    return value.rstrip("/")


def _surfaces(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in SURFACES]
    if unknown or not names:
        raise ValueError(f"must name some of {', '.join(SURFACES)}")
    return names


def _rate(value: str) -> str:
    if value != "off" and not re.fullmatch(r"[1-9]\d*/(second|minute|hour|day)", value):
        raise ValueError("must be `off` or a rate such as 100/second")
    return value


def _networks(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        try:
            ipaddress.ip_network(name, strict=False)
        except ValueError as error:
            raise ValueError("must be addresses or networks such as 10.0.0.0/8") from error
    return names


Items = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items)]
Port = Annotated[int, Field(ge=1, le=65535)]
SecretBytes = Annotated[bytes, BeforeValidator(_secret_bytes)]
WebAddress = Annotated[str, AfterValidator(_web_address)]


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
    database_url: Annotated[str, AfterValidator(_database)] = _named(
        "DATABASE_URL",
        default="",
        secret=True,
        about="PostgreSQL 15 or newer; unset: the embedded one (development only)",
    )
    pool_size: Annotated[int, Field(ge=2, le=500)] = _named(
        "DATABASE_POOL_SIZE", default=16, about="database connections of one process"
    )

    surfaces: Annotated[Items, AfterValidator(_surfaces)] = _named(
        "SURFACES", default=SURFACES, about="which contracts this process serves"
    )
    http_host: str = _named("APP_HOST", default=_EVERYWHERE, about="where to listen; development always uses loopback")
    http_port: Port = _named("HTTP_PORT", "PORT", "APP_PORT", default=8000)
    grpc_port: Port = _named("GRPC_PORT", default=7000)
    port: Port | None = _named("PORT", about="the port of whichever surface runs alone")
    lan: bool = _named("LAN", default=False, about="development: listen on all addresses, not only on loopback")
    public_url: WebAddress | None = _named("PUBLIC_URL", about="how the world reaches this server")
    trusted_proxies: Annotated[Items, AfterValidator(_networks)] = _named("TRUSTED_PROXIES", default=())
    cors_origins: Items = _named("CORS_ORIGINS", default=())
    rate_limit: Annotated[str, AfterValidator(_rate)] = _named("RATE_LIMIT", default="off", about="per caller, such as 100/second")
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
    redis_url: str | None = _named("REDIS_URL", secret=True)
    redis_host: str | None = _named("REDIS_HOST", about="with REDIS_PORT, when REDIS_URL is unset")
    redis_port: Port = _named("REDIS_PORT", default=6379)
    rabbitmq_url: str | None = _named("RABBITMQ_URL", secret=True)

    simulated_payments: bool | None = _named("SIMULATED_PAYMENTS", about="offer the methods that only pretend; on in development")
    max_waiting_orders: Annotated[int, Field(ge=1)] = _named(
        "MAX_WAITING_ORDERS", default=20, about="unpaid link orders of one buyer"
    )
    lease_s: Annotated[float, Field(gt=0, le=3600)] = _named(
        "KASSA_LEASE_S", default=5, about="seconds after which a dead owner's work is taken over"
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
        read = read.model_copy(update=_derived(read))
        if read.production:
            _check_production(read, need)
            return read
        _make_home(read.kassa_home)
        return read.model_copy(update=_development_secrets(read))


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


def _derived(read: Settings) -> dict[str, Any]:
    """The settings that follow from others when they are not set."""
    alone = read.surfaces == ("grpc",) and "grpc_port" not in read.model_fields_set
    loopback = not (read.production or read.lan)
    return {
        "kassa_home": read.kassa_home.expanduser().absolute(),
        "http_host": "127.0.0.1" if loopback else _EVERYWHERE if read.lan else read.http_host,
        "grpc_port": read.port if alone and read.port else read.grpc_port,
        "public_url": read.public_url or f"http://localhost:{read.http_port}",
        "redis_url": read.redis_url or (f"redis://{read.redis_host}:{read.redis_port}/0" if read.redis_host else None),
        "api_docs": not read.production if read.api_docs is None else read.api_docs,
        "simulated_payments": not read.production if read.simulated_payments is None else read.simulated_payments,
    }


def _check_production(read: Settings, need: Iterable[str]) -> None:
    values = {"DATABASE_URL": read.database_url, "JWT_SECRET": read.jwt_secret, "KASSA_SECRET": read.kassa_secret}
    for name in need:
        if not values[name]:
            raise SettingsError(f"{name} is not set; production needs it (for development: `kassa dev`, or PRODUCTION=false)")
    if read.crash_at:
        raise SettingsError("KASSA_CRASH_AT is set; production refuses to run with a kill point")
    for name, secret in (("JWT_SECRET", read.jwt_secret.encode()), ("KASSA_SECRET", read.kassa_secret)):
        if name in need:
            _refuse_weak(name, secret)
            _refuse_development(name, secret, read.kassa_home)


def _refuse_weak(name: str, secret: bytes) -> None:
    if len(secret) < _MIN_SECRET:
        raise SettingsError(f"{name} is shorter than {_MIN_SECRET} bytes; {_ADVICE[name]}")
    words_only = name == "JWT_SECRET" and len(_WELL_KNOWN.sub("", secret.decode("latin-1"))) < _MIN_SECRET / 2
    if words_only or len(set(secret)) < _MIN_DIFFERENT:
        raise SettingsError(f"{name} is too easy to guess; {_ADVICE[name]}")


def _refuse_development(name: str, secret: bytes, home: Path) -> None:
    kept = secrets_folder(home) / name.lower()
    try:
        text = kept.read_text().strip()
    except OSError:
        return
    if secret == (text.encode() if name == "JWT_SECRET" else _secret_bytes(text)):
        raise SettingsError(f"{name} is the development secret from {kept}; {_ADVICE[name]}")


def _make_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"KASSA_HOME: {home} cannot be used: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return "it is not a folder" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror or str(error)


def _development_secrets(read: Settings) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if not read.jwt_secret:
        made["jwt_secret"] = kept_secret(read.kassa_home, "jwt_secret", lambda: secrets.token_urlsafe(48))
    if not read.kassa_secret:
        text = kept_secret(read.kassa_home, "kassa_secret", lambda: base64.b64encode(secrets.token_bytes(32)).decode())
        made["kassa_secret"] = base64.b64decode(text)
    if not read.provider_webhook_secret:
        made["provider_webhook_secret"] = kept_secret(read.kassa_home, "provider_webhook_secret", lambda: secrets.token_urlsafe(32))
    return made


def secrets_folder(home: Path) -> Path:
    """Where development secrets are kept."""
    return home / "secrets"


def kept_secret(home: Path, name: str, make: Callable[[], str]) -> str:
    """The secret in `home`/secrets/`name`, made at first use, readable by its owner alone; two processes get the same one.

    Raises `SettingsError` when the folder cannot be written.
    """
    path = secrets_folder(home) / name
    try:
        if not path.exists():
            _write_once(path, make())
        return path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"KASSA_HOME: {home} cannot be used: {_reason(error)}") from None


def _write_once(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text + "\n")
    try:
        os.link(draft, path)  # unlike a rename, this never replaces what another process has just written
    except FileExistsError:
        pass
    finally:
        draft.unlink()
