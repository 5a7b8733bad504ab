"""Whether it is Payme who calls: by the key of one cashbox, and by its address where a list is kept (Payme specification, 2.5).

Login and key are compared as bytes, in constant time.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Sequence

from kassa.api.options import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def shows_key(scope: Scope, login: str, key: str) -> bool:
    """Whether the request shows exactly this login and key. An empty key opens nothing."""
    sent = [value for name, value in scope["headers"] if name == b"authorization"]
    given_login, given_key = _credentials(sent[0]) if len(sent) == 1 else (b"", b"")
    same_login = hmac.compare_digest(given_login, login.encode())
    same_key = hmac.compare_digest(given_key, key.encode())
    return same_login and same_key and bool(key)


def _credentials(sent: bytes) -> tuple[bytes, bytes]:
    """Login and key of a `Basic` header, split at the first colon; both empty where it is none."""
    scheme, _, encoded = sent.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return b"", b""
    try:
        login, colon, key = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except binascii.Error:
        return b"", b""
    return (login, key) if colon else (b"", b"")


class AllowList:
    """The networks that may call; with none, everybody may."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(each, strict=False) for each in networks]

    def has(self, address: str) -> bool:
        """Whether whoever calls from `address`, as the trusted proxies tell it, may do so."""
        if not self._networks:
            return True
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)
