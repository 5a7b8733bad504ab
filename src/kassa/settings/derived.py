"""What follows from other settings: values that nobody set, pairs that belong together, secrets that development makes itself."""

from __future__ import annotations

import base64
import os
import secrets
from typing import TYPE_CHECKING, Any

from kassa.cardwatch import CardLimits
from kassa.settings.forms import PAGES
from kassa.settings.kept import SettingsError, kept_secret

if TYPE_CHECKING:
    from kassa.settings.read import Settings

SANDBOX_CASHBOX = "650000000000000000000001"
"""The cashbox of a development machine that has none at Payme; its key is made once and kept."""
NOBODY = "Kassa <shop@localhost.localdomain>"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what a deployment wants


def derived(read: Settings, *, development: bool) -> dict[str, Any]:
    """The settings that follow from others when they are not set."""
    alone = read.surfaces == ("grpc",) and "grpc_port" not in read.model_fields_set
    loopback = not (read.production or read.lan)
    return {
        "kassa_home": read.kassa_home.expanduser().absolute(),
        "http_host": "127.0.0.1" if loopback else EVERYWHERE if read.lan else read.http_host,
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


def check_pairs(read: Settings) -> None:
    """Refuse what lacks its other half: letters without a sender, a cashbox without its key. Raises `SettingsError`."""
    _check_email(read)
    _check_cashbox(read)
    if (read.grpc_tls_cert is None) != (read.grpc_tls_key is None):
        missing = "GRPC_TLS_KEY" if read.grpc_tls_key is None else "GRPC_TLS_CERT"
        raise SettingsError(f"{missing} is not set; a certificate and its key are needed, or neither")
    for name, path in (("GRPC_TLS_CERT", read.grpc_tls_cert), ("GRPC_TLS_KEY", read.grpc_tls_key)):
        if path is not None and not os.access(path, os.R_OK):
            raise SettingsError(f"{name} names a file that cannot be read")


def _check_email(read: Settings) -> None:
    sender = read.email_from if read.email_from != NOBODY else None
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


def development_secrets(read: Settings) -> dict[str, Any]:
    """The secrets that are not set, made at the first use and kept under `KASSA_HOME`. Raises `SettingsError`."""
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
