"""Make a token to try the APIs with: for commands and development pages. Production's tokens come from the shop's own sign-in."""

from __future__ import annotations

import re
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey

_NUMBER = re.compile(r"0|[1-9]\d{0,17}")


def issue_token(
    secret: str,
    algorithm: str,
    user: str,
    role: str,
    *,
    issued: int,
    expires: int,
    email: str | None = None,
    issuer: str | None = None,
    audience: str | None = None,
) -> str:
    """A signed token of a user; `issued` and `expires` in seconds since 1970.

    An id that looks like a number is one in it, as the contracts show it. Without an `email` there is one that nobody has, so that
    a development machine shows what buyers are written.
    """
    claims: dict[str, Any] = {"id": int(user) if _NUMBER.fullmatch(user) else user, "role": role, "iat": issued, "exp": expires}
    claims["email"] = email or f"buyer{re.sub(r'[^A-Za-z0-9]', '-', user)[:40]}@example.com"
    claims |= {name: value for name, value in (("iss", issuer), ("aud", audience)) if value}
    return jwt.encode({"alg": algorithm}, claims, OctKey.import_key(secret), algorithms=[algorithm])
