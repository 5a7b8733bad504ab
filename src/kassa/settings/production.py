"""What production refuses to start with: missing or weak secrets, those of development, a kill point."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kassa.settings.forms import MIN_SECRET, secret_bytes
from kassa.settings.kept import SettingsError, secrets_folder

if TYPE_CHECKING:
    from kassa.settings.read import Settings

_WELL_KNOWN = re.compile(
    r"secret|change|password|example|default|develop(ment)?|production|jwt|kassa|your|super|very|key|this|test|[0-9]{3,}|qwerty|please|[^a-z0-9]",
    re.IGNORECASE,
)
_THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}
_MIN_DIFFERENT = 12
"""How many of a secret's bytes must differ."""
_ADVICE = {
    "JWT_SECRET": "make a new one with `openssl rand -base64 48`",
    "JWT_SECRET_OLD": "drop it: tokens that it signed are refused then",
    "KASSA_SECRET": "make a new one with `openssl rand -base64 32`",
    "PAYME_KEY": "take that of your cashbox from Payme's cabinet",
}


def check_production(read: Settings, need: Iterable[str]) -> None:
    """Refuse what no real shop should start with; `need` names what must be set. Raises `SettingsError`."""
    values = {"DATABASE_URL": read.database_url, "JWT_SECRET": read.jwt_secret, "KASSA_SECRET": read.kassa_secret}
    for name in need:
        if not values[name]:
            raise SettingsError(f"{name} is not set; production needs it (for development: `kassa dev`, or PRODUCTION=false)")
    if read.crash_at:
        raise SettingsError("KASSA_CRASH_AT is set; production refuses to run with a kill point")
    if read.card_limits is not None and not read.card_limits.on:
        raise SettingsError(
            "CARD_LIMITS is off; production always limits how fast cards may be tried (with other numbers, if need be)"
        )
    if read.smtp_password and read.smtp_tls == "off" and read.smtp_host not in _THIS_MACHINE:
        raise SettingsError("SMTP_TLS is off; production sends SMTP_PASSWORD to another machine only with starttls or implicit")
    old = (read.jwt_secret_old or "").encode()  # it still opens the door
    for name, secret in (("JWT_SECRET", read.jwt_secret.encode()), ("JWT_SECRET_OLD", old), ("KASSA_SECRET", read.kassa_secret)):
        if secret and name.removesuffix("_OLD") in need:
            _refuse_weak(name, secret)
            _refuse_development(name, secret, read.kassa_home)
    if read.payme_api_url and urlsplit(read.payme_api_url).scheme != "https" and not _is_here(read.payme_api_url):
        raise SettingsError(
            "PAYME_API_URL is not https; production sends the key of a cashbox to another machine over nothing else"
        )
    if read.payme_key:
        _refuse_development("PAYME_KEY", read.payme_key.encode(), read.kassa_home)


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname in _THIS_MACHINE


def _refuse_weak(name: str, secret: bytes) -> None:
    if len(secret) < MIN_SECRET:
        raise SettingsError(f"{name} is shorter than {MIN_SECRET} bytes; {_ADVICE[name]}")
    words_only = name.startswith("JWT_SECRET") and len(_WELL_KNOWN.sub("", secret.decode("latin-1"))) < MIN_SECRET / 2
    if words_only or len(set(secret)) < _MIN_DIFFERENT:
        raise SettingsError(f"{name} is too easy to guess; {_ADVICE[name]}")


def _refuse_development(name: str, secret: bytes, home: Path) -> None:
    kept = secrets_folder(home) / name.lower()
    try:
        text = kept.read_text().strip()
    except OSError:
        return
    if secret == (secret_bytes(text) if name == "KASSA_SECRET" else text.encode()):
        raise SettingsError(f"{name} is the development secret from {kept}; {_ADVICE[name]}")
