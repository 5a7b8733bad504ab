"""Which addresses may be called, in every spelling in which somebody tried to be somebody else."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kassa.kit.addresses import address_of, is_public, is_url, refusal, refused_now, resolve

PRIVATE, HOST, SCHEME, USER, FRAGMENT = "private address", "host", "scheme", "credentials", "fragment"

REFUSED: dict[str, str] = {
    # loopback, in every way in which a system reads it
    "https://127.0.0.1/": PRIVATE,
    "https://127.0.0.1:8443/x": PRIVATE,
    "https://127.0.0.1./": PRIVATE,
    "https://127.1/": PRIVATE,
    "https://127.0.1/": PRIVATE,
    "https://127.255.255.254/": PRIVATE,
    "https://2130706433/": PRIVATE,
    "https://017700000001/": PRIVATE,
    "https://0x7f000001/": PRIVATE,
    "https://0X7F000001/": PRIVATE,
    "https://0x7f.1/": PRIVATE,
    "https://0x7f.0.0x0.01/": PRIVATE,
    "https://0177.0.0.1/": PRIVATE,
    "https://0177.0.0.01/": PRIVATE,
    "https://00000177.1/": PRIVATE,
    "https://127.0x1/": PRIVATE,
    "https://127.65530/": PRIVATE,
    "https://0/": PRIVATE,
    "https://0.0.0.0/": PRIVATE,
    "https://0x/": PRIVATE,
    # private, shared, link-local, and what clouds have there
    "https://10.0.0.1/": PRIVATE,
    "https://10.1/": PRIVATE,
    "https://0xa.0.0.1/": PRIVATE,
    "https://012.1.2.3/": PRIVATE,
    "https://172.16.0.1/": PRIVATE,
    "https://172.31.255.255/": PRIVATE,
    "https://192.168.1.1/": PRIVATE,
    "https://192.168.257/": PRIVATE,
    "https://3232235777/": PRIVATE,
    "https://100.64.0.1/": PRIVATE,
    "https://100.100.100.200/": PRIVATE,
    "https://169.254.169.254/latest/meta-data": PRIVATE,
    "https://169.254.43518/": PRIVATE,
    "https://0xa9fea9fe/": PRIVATE,
    "https://2852039166/": PRIVATE,
    "https://0251.0376.0251.0376/": PRIVATE,
    "https://168.63.129.16/": PRIVATE,
    "https://192.0.0.192/": PRIVATE,
    # what nobody lives at
    "https://192.0.2.1/": PRIVATE,
    "https://198.18.0.1/": PRIVATE,
    "https://198.51.100.7/": PRIVATE,
    "https://203.0.113.9/": PRIVATE,
    "https://224.0.0.1/": PRIVATE,
    "https://240.0.0.1/": PRIVATE,
    "https://255.255.255.255/": PRIVATE,
    "https://4294967295/": PRIVATE,
    # IPv6, and IPv4 inside it
    "https://[::1]/": PRIVATE,
    "https://[0:0:0:0:0:0:0:1]:443/": PRIVATE,
    "https://[::]/": PRIVATE,
    "https://[::ffff:127.0.0.1]/": PRIVATE,
    "https://[::FFFF:7f00:1]/": PRIVATE,
    "https://[::127.0.0.1]/": PRIVATE,
    "https://[::ffff:169.254.169.254]/": PRIVATE,
    "https://[64:ff9b::10.0.0.1]/": PRIVATE,
    "https://[64:ff9b:1::8.8.8.8]/": PRIVATE,
    "https://[2002:7f00:1::]/": PRIVATE,
    "https://[2002:a9fe:a9fe::1]/": PRIVATE,
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/": PRIVATE,
    "https://[2001:db8::1]/": PRIVATE,
    "https://[3fff::1]/": PRIVATE,
    "https://[2001:2::1]/": PRIVATE,
    "https://[fe80::1]/": PRIVATE,
    "https://[fe80::1%25eth0]/": PRIVATE,
    "https://[2606:4700::1111%25eth0]/": PRIVATE,
    "https://[fc00::1]/": PRIVATE,
    "https://[fd00:ec2::254]/": PRIVATE,
    "https://[fec0::1]/": PRIVATE,
    "https://[ff02::1]/": PRIVATE,
    "https://[5f00::1]/": PRIVATE,
    # names of inner places, and what is no name
    "https://localhost/": HOST,
    "https://LOCALHOST/": HOST,
    "https://localhost./": HOST,
    "https://localhost.:443/": HOST,
    "https://db.localhost/": HOST,
    "https://printer.local/": HOST,
    "https://metadata.google.internal/": HOST,
    "https://METADATA.google.INTERNAL./": HOST,
    "https://a.localdomain/": HOST,
    "https://nas.home.arpa/": HOST,
    "https://home.arpa/": HOST,
    "https://printer/": HOST,
    "https://printer./": HOST,
    "https://com/": HOST,
    "https://1.2.3.4.5/": HOST,
    "https://256.1.1.1/": HOST,
    "https://08.8.8.8/": HOST,
    "https://1.2.3.99999999999/": HOST,
    "https://99999999999/": HOST,
    "https://example.1/": HOST,
    "https://example.0x7f/": HOST,
    "https://a..example.com/": HOST,
    "https://.example.com/": HOST,
    "https://example.com../": HOST,
    "https://127%2e0%2e0%2e1/": HOST,
    "https://127.0.0.1%00.example.com/": HOST,
    "https://%6c%6f%63%61%6c%68%6f%73%74/": HOST,
    "https://１２７.0.0.1/": HOST,  # noqa: RUF001 - digits of another width
    "https://127。0。0。1/": HOST,
    "https://ⓛocalhost.com/": HOST,
    "https://bücher.example/": HOST,
    "https://-a.example.com/": HOST,
    "https://" + "a" * 64 + ".example.com/": HOST,
    "https://" + "a." * 127 + "example.com/": HOST,
    "https://exa,mple.com/": HOST,
    "https://example.com;127.0.0.1/": HOST,
    # not a web address, or one that carries more than an address
    "http://example.com/": SCHEME,
    "http://127.0.0.1/": SCHEME,
    "ftp://example.com/": SCHEME,
    "file:///etc/passwd": SCHEME,
    "gopher://example.com:70/_x": SCHEME,
    "javascript:alert(1)": SCHEME,
    "data:text/plain,x": SCHEME,
    "unix:///var/run/docker.sock": SCHEME,
    "https+unix://x/": SCHEME,
    "https://user:pass@example.com/": USER,
    "https://user@example.com/": USER,
    "https://@example.com/": USER,
    "https://:@example.com/": USER,
    "https://example.com@127.0.0.1/": USER,
    "https://example.com:443@127.0.0.1/": USER,
    "https://a@b@127.0.0.1/": USER,
    "https://example.com/#x": FRAGMENT,
    "https://example.com/#@127.0.0.1/": FRAGMENT,
    "https://example.com#": FRAGMENT,
}
NO_URL = [
    *("", " ", "canary", "//example.com/x", "/hook", "example.com/hook", "http://", "https://", "https:///x", "https:example.com"),
    *("https:/example.com", "https://:443/", "https://?x", "https://#x", "https://[]/", "https://[::1/", "https://::1/"),
    *(
        "https://[::1]x/",
        "https://[::1]:x/",
        "https://example.com:/\\x",
        "https://example.com\\@127.0.0.1/",
        "https:\\\\127.0.0.1\\",
    ),
    *(
        "https://exa mple.com/",
        " https://example.com/",
        "https://example.com/ ",
        "https://example.com/a b",
        "https://example.com/\n",
    ),
    *("https://example.com/\r\nHost: x", "https://example.com/\t", "https://example.com/\x00", "https://example.com/\x7f"),
    *("https://example.com/\u2028", "https://example.com/\u200b", "https://example.com/\u00a0", "https://example.com/ü"),
    *("https://example.com:0/", "https://example.com:65536/", "https://example.com:99999/", "https://example.com:-1/"),
    *(
        "https://example.com:443:80/",
        "https://example.com:4 4/",
        "https://example.com:٤٤/",
        "ht tp://example.com/",
        "1https://x.y/",
    ),
    "https://example.com/" + "a" * 2029,
]
ALLOWED = [
    *(
        "https://example.com",
        "https://example.com/",
        "HTTPS://EXAMPLE.com:8443/hook?a=b&c=@x",
        "https://hooks.example.co.uk/a//b/../c",
    ),
    *(
        "https://xn--bcher-kva.example/",
        "https://example.com./",
        "https://a_b.example.com/",
        "https://8.8.8.8/",
        "https://134744072/",
    ),
    *("https://8.8.8.010/", "https://0x8.8.8.8/", "https://1.1/x", "https://[2606:4700:4700::1111]/", "https://[::ffff:8.8.8.8]/"),
    *(
        "https://[64:ff9b::8.8.8.8]:8443/",
        "https://[2002:808:808::1]/",
        "https://172.32.0.1/",
        "https://100.128.0.1/",
        "https://11.0.0.1/",
    ),
    *(
        "https://local.example.com/",
        "https://localhost.example.com/",
        "https://internal.dev/",
        "https://example.com?x",
        "https://1e100.net/",
    ),
    "https://example.com/" + "a" * 2028,
]


@pytest.mark.parametrize(("url", "reason"), list(REFUSED.items()), ids=lambda text: text[:60])
def test_a_merchant_may_not_name(url: str, reason: str) -> None:
    assert is_url(url), "it is an address, and refused as such"
    assert refusal(url, private=False) == reason


@pytest.mark.parametrize("text", NO_URL, ids=lambda text: repr(text)[:60])
def test_some_text_is_no_url_at_all(text: str) -> None:
    assert not is_url(text)
    for private in (True, False):
        assert refusal(text, private=private) is not None


@pytest.mark.parametrize("url", ALLOWED)
def test_a_merchant_may_name(url: str) -> None:
    assert is_url(url)
    assert refusal(url, private=False) is None
    assert refusal(url, private=True) is None


def test_there_are_enough_spellings() -> None:
    assert len(REFUSED) >= 100


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:9/x",
        "http://10.0.0.1/",
        "http://169.254.169.254/",
        "http://[::1]:9/",
        "http://printer/",
        "https://a.local/",
    ],
)
def test_with_private_addresses_allowed_every_place_may_be_named(url: str) -> None:
    assert refusal(url, private=True) is None


def test_what_is_no_matter_of_place_is_refused_even_then() -> None:
    always = {url: reason for url, reason in REFUSED.items() if reason in {USER, FRAGMENT}}
    always |= {"ftp://10.0.0.1/": SCHEME, "file:///x": SCHEME, "http://u@printer/": USER, "http://printer/#x": FRAGMENT}
    assert {url: refusal(url, private=True) for url in always} == always
    assert refusal("http://127%2e0.0.1/", private=True) == HOST, "parsers would not agree where that is"


@given(st.integers(0, 2**32 - 1), st.sampled_from(["dotted", "decimal", "hex", "octal", "two", "three", "mixed"]))
@example(0x7F000001, "mixed")
@example(0xFFFFFFFF, "two")
def test_an_odd_spelling_is_read_as_the_system_reads_it(number: int, form: str) -> None:
    a, b, c, d = number.to_bytes(4, "big")
    spelled = {
        "dotted": f"{a}.{b}.{c}.{d}",
        "decimal": str(number),
        "hex": hex(number),
        "octal": f"0{number:o}",
        "two": f"{a:#x}.{number & 0xFFFFFF}",
        "three": f"{a}.0{b:o}.{c << 8 | d:#X}",
        "mixed": f"0{a:o}.{b:#x}.{c}.0{d:o}",
    }[form]
    meant = str(ipaddress.IPv4Address(number))
    assert socket.inet_ntoa(socket.inet_aton(spelled)) == meant, "the judge"
    assert address_of(spelled) == meant
    assert (refusal(f"https://{spelled}/", private=False) is None) == is_public(meant)


@given(st.from_regex(r"[0-9xXa-f.]{1,16}", fullmatch=True))
def test_whatever_the_system_takes_for_a_number_is_taken_for_the_same_one(text: str) -> None:
    try:
        meant = socket.inet_ntoa(socket.inet_aton(text))
    except OSError:
        return
    assert address_of(text) == meant


@given(st.one_of(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address), st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)))
def test_nothing_is_public_that_python_does_not_call_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if is_public(str(address)):
        assert address.is_global or isinstance(address, ipaddress.IPv6Address)
        assert not any((address.is_private, address.is_loopback, address.is_link_local, address.is_multicast))


@given(st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address))
def test_an_address_inside_another_is_judged_as_itself(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    inside = [
        ipaddress.IPv6Address(0xFFFF << 32 | number),
        ipaddress.IPv6Address(number),
        ipaddress.IPv6Address(0x64FF9B << 96 | number),
        ipaddress.IPv6Address(0x2002 << 112 | number << 80 | 7),
    ]
    assert {is_public(str(each)) for each in inside} == {is_public(str(address))}


CLOSED = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24"),
    *("192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *(
        "::/128",
        "::1/128",
        "::ffff:10.0.0.0/104",
        "64:ff9b:1::/48",
        "100::/64",
        "2001:db8::/32",
        "3fff::/20",
        "fc00::/7",
        "fe80::/10",
    ),
    *("fec0::/10", "ff00::/8", "2001:2::/48", "2002:a00::/24", "2001::/32", "5f00::/16"),
]


@pytest.mark.parametrize("text", CLOSED)
def test_a_closed_range_is_closed_from_its_first_address_to_its_last(text: str) -> None:
    network = ipaddress.ip_network(text)
    middle = network[network.num_addresses // 2]
    assert not any(is_public(str(each)) for each in (network[0], middle, network[-1]))


@pytest.mark.parametrize(
    "text", ["", "example.com", "127.1", "0x7f000001", "fe80::1%eth0", "2606:4700::1111%1", "8.8.8.8 ", "8.8.8.8/32"]
)
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


# Names


async def test_a_name_is_refused_for_any_of_its_addresses() -> None:
    answers = {
        "fine.example.com": ["93.184.216.34", "2606:2800:220:1::1"],
        "mixed.example.com": ["93.184.216.34", "10.0.0.1"],
        "six.example.com": ["::ffff:127.0.0.1"],
        "gone.example.com": [],
    }
    asked: list[tuple[str, int]] = []

    async def book(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return answers[host]

    found = {name: await refused_now(f"https://{name}:8443/x", private=False, resolve=book) for name in answers}
    assert found == {
        "fine.example.com": None,
        "mixed.example.com": PRIVATE,
        "six.example.com": PRIVATE,
        "gone.example.com": None,
    }
    assert asked == [(name, 8443) for name in answers]


async def test_nobody_is_asked_for_what_needs_no_asking() -> None:
    async def nobody(_host: str, _port: int) -> list[str]:
        raise AssertionError("asked")

    assert await refused_now("https://8.8.8.8/", private=False, resolve=nobody) is None
    assert await refused_now("https://127.1/", private=False, resolve=nobody) == PRIVATE
    assert await refused_now("https://printer/", private=False, resolve=nobody) == HOST
    assert await refused_now("http://printer/", private=True, resolve=nobody) is None
    assert await refused_now("canary", private=True, resolve=nobody) is not None


async def test_the_system_is_asked_for_all_addresses_of_a_name() -> None:
    assert set(await resolve("localhost", 80)) & {"127.0.0.1", "::1"}
    assert await resolve("a..b", 80) == []
    assert await resolve("x" * 64 + ".invalid", 80) == []


async def test_a_name_that_is_never_answered_does_not_hold_up_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from kassa.kit import addresses

    over = threading.Event()
    monkeypatch.setattr(addresses, "RESOLVE_S", 0.05)
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: over.wait(10) and [])
    try:
        assert await resolve("slow.example.com", 443) == []
    finally:
        over.set()
