"""What the HTTP surfaces need to be told. Bootstrap fills these; nothing here reads the environment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter

from kassa.kit.redis import Redis

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class TokenRules:
    """How bearer tokens are verified: one secret, exactly one algorithm, and issuer and audience where they are set.

    `old`: the secret before it, while it is being rotated; what it signed is good, too.
    """

    secret: bytes = field(repr=False)
    algorithm: str = "HS256"
    issuer: str | None = None
    audience: str | None = None
    old: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PaymeOptions:
    """How Payme's calls are let in: the longest body in bytes, and the networks that may call (none: all of them)."""

    max_body_bytes: int = 64 * 1024
    ip_allowlist: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pages:
    """Pages for people beside the contracts: their routes, and how they say no below which addresses (a `Dialect`)."""

    routers: Sequence[APIRouter]
    prefixes: Sequence[str]
    dialect: Any


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """The set-up of one HTTP process.

    `surfaces`: which contracts are served (`orders`, `checkout`). `schema_is_current`: asked by `/ready`. `docs`: serve
    `/docs`, `/redoc` and the OpenAPI documents. `rate_limit`: None, `off`, or a rate such as `100/second`, per caller.
    `trusted_proxies`: addresses or networks whose `X-Forwarded-For` is believed. `cors_origins`: origins of browsers that may
    call, none by default. `provider_webhook_secret`: signs what a link provider reports; no report is taken without it;
    `provider_webhook_secret_old`: the one before, while it is being rotated.
    `trust_merchant_header`: a gateway in front says for which merchant a request is (`X-Merchant-Id`). `metrics_token`: bearer
    for `/metrics` from elsewhere than loopback. `sandbox`: gets everything under `/sandbox`, the scope unchanged.
    `redis`: where rate limits are counted together with other processes. `request_s`: seconds after which a request whose answer
    has not begun is given up. `https_only`: browsers are told to come by https from then on. `payme`: how Payme's calls are let in;
    whom its key is, the verbs know. `pages`: the pages for people, if there are any here.
    """

    surfaces: frozenset[str]
    tokens: TokenRules
    schema_is_current: Callable[[], Awaitable[bool]]
    docs: bool = False
    rate_limit: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    metrics_token: str | None = field(default=None, repr=False)
    provider_webhook_secret: str | None = field(default=None, repr=False)
    provider_webhook_secret_old: str | None = field(default=None, repr=False)
    trust_merchant_header: bool = False
    sandbox: ASGIApp | None = None
    redis: Redis | None = None
    request_s: float = 60.0
    https_only: bool = False
    payme: PaymeOptions = field(default_factory=PaymeOptions)
    pages: Pages | None = None
