"""What the gRPC surface needs to be told. Bootstrap fills these; nothing here reads the environment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kassa.kit.redis import Redis


@dataclass(frozen=True, slots=True)
class RpcOptions:
    """The set-up of one gRPC server (gRPC contract, sections 5 to 7).

    `host`, `port`: where to listen. `currencies`: what is accepted, in the order in which errors name them. `at_once`: how many
    calls are handled at the same time. `trust_merchant_header`: a gateway in front says for which merchant a call is.
    `require_api_key`: no call without a key. `reflection`: clients may ask for the proto. `tls`: certificate and key, as PEM files.
    `rate_limit`: None, `off`, or a rate such as `100/second` per caller. `schema_is_current`: asked by the health service.
    `redis`: where rates are counted together with other processes. `ambassadors`: prices in tiyin by id, served as an ambassadors
    service would; never in production.
    """

    host: str
    port: int
    currencies: tuple[str, ...]
    at_once: int
    trust_merchant_header: bool
    require_api_key: bool
    reflection: bool
    tls: tuple[Path, Path] | None
    rate_limit: str | None
    schema_is_current: Callable[[], Awaitable[bool]]
    redis: Redis | None = None
    ambassadors: Mapping[int, int] | None = None
