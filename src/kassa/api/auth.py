"""Bearer tokens: who is calling (orders contract, section 1; the reasons: purchases contract, section 1).

Key and algorithm come from the settings, never from the token: `jwk`, `jku`, `x5u` and `kid` are not followed and `crit` is
refused. So is a member that stands twice: two readers would not agree on it. `exp` is required, `nbf` honoured, without leeway.
While the secret is being rotated there are two keys, and either is good.
What a good signature was found under is remembered for the last thousand tokens; its claims are judged anew for every request, so
that nothing can outlive its end.
"""

from __future__ import annotations

import base64
import functools
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from joserfc import jws, jwt
from joserfc.jwk import OctKey

from kassa.api.errors import Unauthorized
from kassa.api.fields import storable
from kassa.api.options import TokenRules
from kassa.kit.jsontext import BadJson, parse

_LONGEST = 8192
_SCHEME = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([^ ].*)")
_SIGNED = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_ROLES = frozenset({"staff", "admin"})
_USER_LENGTH = 255
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")
_EMAIL_LENGTH = 254
_END_OF_TIME = 2**53
_REMEMBERED = 1000
"""Tokens with a good signature. Whoever has no key cannot fill this, and pushes nobody out."""
_ASKS_TOO_MUCH = frozenset({"crit", "b64", "zip", "enc"})
"""Members of a header that change how the rest of the token is to be read."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever showed a valid token.

    `expires` is its end in seconds since 1970; `token` is the token itself, for asking others in the caller's name.
    """

    user: str
    role: str
    expires: float
    email: str | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False, compare=False)

    @property
    def is_staff(self) -> bool:
        """Role `staff` or `admin`."""
        return self.role in _ROLES

    @property
    def scope(self) -> str:
        """In whose name idempotency keys are used."""
        return f"user:{self.user}"

    def seconds_left(self) -> float:
        """How long the token is still good."""
        return self.expires - time.time()


class Tokens:
    """Verifies tokens by the rules given once."""

    def __init__(self, rules: TokenRules) -> None:
        self._keys = [OctKey.import_key(each) for each in (rules.secret, rules.old) if each]
        self._registry = jws.JWSRegistry(algorithms=[rules.algorithm], strict_check_header=False)
        self._issuer = rules.issuer
        self._audience = rules.audience
        self._claims_of = functools.lru_cache(maxsize=_REMEMBERED)(self._verified)

    def caller(self, authorization: Sequence[str]) -> Caller:
        """The caller named by the values of `Authorization`. Raises `Unauthorized`."""
        if len(authorization) > 1:
            raise _invalid("more than one is shown")
        shown = _SCHEME.fullmatch(authorization[0]) if authorization else None
        if shown is None:
            raise Unauthorized
        if len(shown[1]) > _LONGEST:
            raise _invalid("it is too long")
        return self._named(self._claims_of(shown[1]), shown[1])

    def _verified(self, token: str) -> Mapping[str, Any]:
        """The claims of a token with a good signature. Raises `Unauthorized`, which is not remembered."""
        if _SIGNED.fullmatch(token) is None:
            raise _invalid("it is not a signed JWT")
        found = next(filter(None, (self._signed_with(key, token) for key in self._keys)), None)
        if found is None:
            raise _invalid("its signature is not accepted")
        header, payload, _ = token.split(".")
        if not (_is_plain_header(header) and _is_plain(payload)):
            raise _invalid("it is not a signed JWT")
        if not _ASKS_TOO_MUCH.isdisjoint(found.header):
            raise _invalid("its header asks for too much")
        return found.claims

    def _signed_with(self, key: OctKey, token: str) -> jwt.Token | None:
        try:
            return jwt.decode(token, key, registry=self._registry)
        except Exception:  # noqa: BLE001 - a hostile token may break a parser in any way; all of them mean no
            return None

    def _named(self, claims: Mapping[str, Any], token: str) -> Caller:
        now = time.time()
        expires, not_before = claims.get("exp"), claims.get("nbf")
        if not _is_time(expires):
            raise _invalid("exp is required")
        if expires <= now:
            raise Unauthorized("Token has expired")
        if not_before is not None and not (_is_time(not_before) and not_before <= now):
            raise _invalid("it is not valid yet")
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise _invalid("it is of another issuer")
        if self._audience is not None and not _meant_for(claims.get("aud"), self._audience):
            raise _invalid("it is for another audience")
        role = claims.get("role")
        return Caller(
            user=_user(claims),
            role=role if isinstance(role, str) and role in _ROLES else "user",
            expires=float(min(expires, _END_OF_TIME)),
            email=_email(claims.get("email")),
            name=_name(claims),
            token=token,
        )


def _is_plain(part: str) -> bool:
    """Whether a part says each thing once, in UTF-8: of two the library takes one, and another reader may take the other."""
    try:
        parse(base64.urlsafe_b64decode(part + "=="))
    except (BadJson, ValueError):
        return False
    return True


_is_plain_header = functools.lru_cache(maxsize=256)(_is_plain)
"""Almost all tokens have one header; only those of good tokens are asked about here."""


def _invalid(reason: str) -> Unauthorized:
    return Unauthorized(f"Invalid token: {reason}")


def _is_time(value: Any) -> TypeGuard[int | float]:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and math.isfinite(value))


def _meant_for(audience: Any, us: str) -> bool:
    return audience == us or (isinstance(audience, list) and us in audience)


def _user(claims: Mapping[str, Any]) -> str:
    given = claims.get("id")
    if given is None:
        given = claims.get("sub")
    if isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if not isinstance(given, str) or not 0 < len(given) <= _USER_LENGTH or not storable(given):
        raise _invalid("it names no user")
    return given


def _email(value: Any) -> str | None:
    fits = isinstance(value, str) and len(value) <= _EMAIL_LENGTH and _EMAIL.fullmatch(value) and storable(value)
    return value if fits else None


def _name(claims: Mapping[str, Any]) -> str | None:
    parts = [claims.get(part) for part in ("first_name", "last_name")]
    whole = " ".join(part.strip() for part in parts if isinstance(part, str) and storable(part)).strip()
    return whole[:_USER_LENGTH] or None
