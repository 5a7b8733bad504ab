"""Which addresses may be called: merchants' addresses are hostile until proven otherwise (webhooks contract, section 6).

An address is judged when it is given and again at every call, each time as the system would read it. `refusal` looks at the text,
`is_public` at what a name led to. What both let pass is a plain `http` or `https` URL whose host every parser reads the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""All addresses of a host name; none when it does not resolve."""

RESOLVE_S = 3.0
LONGEST = 2048
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<rest>[^\s]*)", re.ASCII)
_WEB = re.compile(r"//(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<fragment>#.*)?", re.ASCII)
_AUTHORITY = re.compile(r"(?:(?P<user>.*)@)?(?P<host>\[[^\[\]@]*\]|[^:@\[\]]*)(?::(?P<port>[0-9]{1,5}))?", re.DOTALL)
_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
)
_NUMBER = re.compile(r"(?P<hex>0[xX][0-9A-Fa-f]*)|(?P<octal>0[0-7]*)|(?P<decimal>[1-9][0-9]*)")
_NUMBERLIKE = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_DEFAULT_PORT = {"http": 80, "https": 443}
_INNER_NAMES = ("localhost", "local", "internal", "localdomain", "home.arpa")

_CLOSED_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network, unspecified
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared, and a cloud's metadata
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # a cloud's own service, reached from inside it under a public address
            "169.254.0.0/16",  # link-local, and clouds' metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments, and a cloud's metadata
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_OPEN_6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo, benchmarks
            "2001:db8::/32",  # documentation
            "3fff::/20",  # documentation
        ),
    )
)
# Where an IPv4 address stands inside one of IPv6: in the last 32 bits, but for 6to4.
_EMBEDDING = tuple(map(ipaddress.IPv6Network, ("::ffff:0:0/96", "::/96", "64:ff9b::/96")))
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")


@dataclass(frozen=True, slots=True)
class Target:
    """An `http` or `https` URL in its parts. `host` is without brackets, `address` is set where it is a number in any spelling."""

    scheme: str
    host: str
    port: int
    address: str | None
    user: bool
    fragment: bool


def is_url(text: str) -> bool:
    """Whether `text` is a URL at all: printable, without spaces, with a scheme; one of the web has a host and a possible port.

    What is true here may still be refused.
    """
    if len(text) > LONGEST or "\\" in text or not text.isprintable():
        return False
    found = _URL.fullmatch(text)
    if found is None:
        return False
    return found["scheme"].lower() not in _DEFAULT_PORT or target(text) is not None


def target(url: str) -> Target | None:
    """The parts of a URL of the web; None for any other text."""
    found = _URL.fullmatch(url)
    scheme = found["scheme"].lower() if found else ""
    web = _WEB.fullmatch(found["rest"]) if found and scheme in _DEFAULT_PORT else None
    authority = _AUTHORITY.fullmatch(web["authority"]) if web else None
    if web is None or authority is None or not (web["path"] + (web["query"] or "") + (web["fragment"] or "")).isascii():
        return None
    host, port = authority["host"], int(authority["port"] or _DEFAULT_PORT[scheme])
    if host in {"", "[]"} or not 0 < port < 2**16:
        return None
    host = host.strip("[]")
    return Target(scheme, host, port, address_of(host), authority["user"] is not None, web["fragment"] is not None)


def address_of(host: str) -> str | None:
    """The address that a host is where it is a number, however it is spelled: `127.1`, `0x7f.1`, `2130706433`; else None."""
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            return None
    return _aton(host.removesuffix("."))


def refusal(url: str, *, private: bool) -> str | None:
    """Why `url` must not be called, or None: `scheme`, `credentials`, `fragment`, `host`, `private address`.

    Names are not resolved here. With `private` plain http and every address are allowed.
    """
    scheme = url.partition(":")[0].lower()
    if scheme not in _DEFAULT_PORT or (scheme == "http" and not private):
        return "scheme"
    found = target(url) if is_url(url) else None
    if found is None:
        return "host"
    if found.user:
        return "credentials"
    if found.fragment:
        return "fragment"
    if not _is_host(found):
        return "host"
    if private:
        return None
    if found.address is not None:
        return None if is_public(found.address) else "private address"
    return None if _is_outer_name(found.host) else "host"


async def refused_now(url: str, *, private: bool, resolve: Resolver) -> str | None:
    """As `refusal`, and a name is resolved: any address among the answers that is not public refuses it.

    A name that does not resolve is let pass; it is asked again before each call.
    """
    reason = refusal(url, private=private)
    found = target(url)
    if reason is not None or private or found is None or found.address is not None:
        return reason
    return None if all(map(is_public, await resolve(found.host, found.port))) else "private address"


def is_public(address: str) -> bool:
    """Whether an address (IPv4 or IPv6, as text) is somebody out there. False for whatever is no address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in network for network in _CLOSED_4)
    if found.scope_id is not None:
        return False
    if any(found in network for network in _EMBEDDING):
        return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
    if found in _SIX_TO_FOUR:
        return is_public(str(ipaddress.IPv4Address(int(found) >> 80 & 0xFFFFFFFF)))
    return found in _OPEN_6 and not any(found in network for network in _CLOSED_6)


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name as the system knows them; none when it does not resolve within 3 s.

    Each question has a thread of its own: names whose servers are silent must not fill a pool that others need.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def tell(found: list[str]) -> None:
        if not answer.done():
            answer.set_result(found)

    def ask() -> None:
        found = _ask(host, port)
        with contextlib.suppress(RuntimeError):  # the loop may have ended while the system was still asking
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        async with asyncio.timeout(RESOLVE_S):
            return await answer
    except TimeoutError:
        return []


def _ask(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _is_host(found: Target) -> bool:
    """A name or a number that every parser reads the same way: no percent sign, no letter of another script, no empty part."""
    if ":" in found.host:
        return found.address is not None
    name = found.host.removesuffix(".")
    if found.address is None and _NUMBERLIKE.fullmatch(name.rpartition(".")[2]):
        return False
    return _NAME.fullmatch(name) is not None


def _is_outer_name(host: str) -> bool:
    name = host.removesuffix(".").lower()
    return "." in name and not any(name.endswith(f".{inner}") for inner in _INNER_NAMES) and name != "home.arpa"


def _aton(host: str) -> str | None:
    """A host as `inet_aton` reads it: one to four numbers, decimal, octal or hexadecimal, the last of which fills what is left."""
    parts = host.split(".")
    numbers = [_number(part) for part in parts]
    if len(parts) > 4:
        return None
    value = 0
    for place, number in enumerate(numbers):
        left = 4 - place
        if number is None or number >= (256**left if place == len(parts) - 1 else 256):
            return None
        value += number if place == len(parts) - 1 else number << 8 * (left - 1)
    return str(ipaddress.IPv4Address(value))


def _number(part: str) -> int | None:
    found = _NUMBER.fullmatch(part)
    if found is None or len(part) > 16:
        return None
    if found["hex"] is not None:
        return int(part[2:] or "0", 16)
    return int(part, 8) if found["octal"] is not None else int(part)
