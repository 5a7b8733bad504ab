"""Cookies: what a browser keeps for us. They are sealed, so nobody reads or makes one; scripts never see them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from http.cookies import CookieError, SimpleCookie
from typing import Any

from kassa.api.answers import Header
from kassa.api.call import Call, header
from kassa.kit.secrets import Keys

_LONGEST = 4096


def put(
    keys: Keys, name: str, values: dict[str, Any], *, max_age_s: int, secure: bool, path: str = "/", strict: bool = False
) -> Header:
    """The header that leaves `values` with the browser for `max_age_s` seconds, sealed.

    `secure`: only over https. `strict`: not even sent when somebody follows a link from another site.
    """
    inside = json.dumps({**values, "until": int(time.time()) + max_age_s}, separators=(",", ":")).encode()
    sealed = base64.urlsafe_b64encode(keys.seal(inside, name.encode())).rstrip(b"=").decode()
    return _cookie(name, sealed, max_age_s, secure=secure, path=path, strict=strict)


def drop(name: str, *, secure: bool, path: str = "/") -> Header:
    """The header that takes a cookie away."""
    return _cookie(name, "", 0, secure=secure, path=path, strict=False)


def plain(name: str, value: str, *, max_age_s: int, secure: bool) -> Header:
    """A cookie that is no secret: a language, say."""
    return _cookie(name, value, max_age_s, secure=secure, path="/", strict=False)


def get(call: Call, keys: Keys, name: str) -> dict[str, Any] | None:
    """What `put` left, or None when there is nothing, it is over, or it is not ours."""
    raw = _read(header(call.scope, b"cookie") or "", name)
    if not raw or len(raw) > _LONGEST:
        return None
    try:
        inside = keys.unseal(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)), name.encode())
    except (binascii.Error, ValueError):
        return None
    found: dict[str, Any] | None = json.loads(inside) if inside else None
    return found if found is not None and found["until"] > time.time() else None


def form_mark(keys: Keys, session: str, purpose: str) -> str:
    """What a form carries to prove that it came from our page to this very session (against cross-site requests)."""
    return base64.urlsafe_b64encode(keys.fingerprint(f"form:{purpose}:{session}".encode())).decode().rstrip("=")


def same_mark(keys: Keys, session: str, purpose: str, shown: str) -> bool:
    """Whether a form's mark is that of this session; in constant time."""
    return hmac.compare_digest(_hash(form_mark(keys, session, purpose)), _hash(shown))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _read(raw: str, name: str) -> str:
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(raw)
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


def _cookie(name: str, value: str, max_age_s: int, *, secure: bool, path: str, strict: bool) -> Header:
    parts = [f"{name}={value}", f"Path={path}", f"Max-Age={max_age_s}", "HttpOnly", f"SameSite={'Strict' if strict else 'Lax'}"]
    return (b"set-cookie", "; ".join([*parts, *(["Secure"] if secure else [])]).encode())
