"""Which addresses may be called (section 6; F63). Rebinding names are tested where a hostile resolver can be had."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests import rig
from tests.contracts.payments.till import UUID7, until
from tests.contracts.webhooks.desk import ENDPOINTS, Office, created, quiet_for, subject_of, url_refused
from tests.contracts.webhooks.merchants import FakeMerchant, says

if TYPE_CHECKING:
    from tests.contracts.webhooks.conftest import OpenOffice

PAID = ["payment.paid"]
PUBLIC = "https://hooks.example.com/kassa"
PRIVATE, HOST, SCHEME, CREDENTIALS, FRAGMENT = "private address", "host", "scheme", "credentials", "fragment"

HOSTILE = {
    # Schemes
    "http://hooks.example.com/": SCHEME,
    "http://93.184.216.34/": SCHEME,
    "HTTP://hooks.example.com/": SCHEME,
    "ftp://hooks.example.com/": SCHEME,
    "file:///etc/passwd": SCHEME,
    "gopher://hooks.example.com:70/_x": SCHEME,
    "ws://hooks.example.com/": SCHEME,
    "dict://hooks.example.com:11211/": SCHEME,
    # Credentials and fragments
    "https://user:pass@hooks.example.com/": CREDENTIALS,
    "https://user@hooks.example.com/": CREDENTIALS,
    "https://:pass@hooks.example.com/": CREDENTIALS,
    "https://hooks.example.com@127.0.0.1/": CREDENTIALS,
    "https://hooks.example.com/#there": FRAGMENT,
    "https://hooks.example.com/path?query#there": FRAGMENT,
    # Names
    "https://localhost/": HOST,
    "https://LOCALHOST/": HOST,
    "https://localhost:8443/": HOST,
    "https://printer/": HOST,
    "https://rabbitmq:15672/": HOST,
    "https://a.localhost/": HOST,
    "https://kassa.local/": HOST,
    "https://metadata.google.internal/": HOST,
    "https://db.internal/": HOST,
    "https://box.localdomain/": HOST,
    "https://nas.home.arpa/": HOST,
    "https://nas.HOME.ARPA/": HOST,
    # IPv4
    "https://127.0.0.1/": PRIVATE,
    "https://127.0.0.1:5432/": PRIVATE,
    "https://127.255.255.254/": PRIVATE,
    "https://0.0.0.0/": PRIVATE,
    "https://0.1.2.3/": PRIVATE,
    "https://10.0.0.1/": PRIVATE,
    "https://10.255.255.255/": PRIVATE,
    "https://172.16.0.1/": PRIVATE,
    "https://172.31.255.255/": PRIVATE,
    "https://192.168.0.1/": PRIVATE,
    "https://192.168.255.255/": PRIVATE,
    "https://169.254.169.254/latest/meta-data/": PRIVATE,
    "https://169.254.0.1/": PRIVATE,
    "https://100.64.0.1/": PRIVATE,
    "https://100.127.255.255/": PRIVATE,
    "https://192.0.0.8/": PRIVATE,
    "https://192.0.2.1/": PRIVATE,
    "https://198.51.100.7/": PRIVATE,
    "https://203.0.113.7/": PRIVATE,
    "https://198.18.0.1/": PRIVATE,
    "https://198.19.255.255/": PRIVATE,
    "https://224.0.0.1/": PRIVATE,
    "https://239.255.255.255/": PRIVATE,
    "https://240.0.0.1/": PRIVATE,
    "https://255.255.255.255/": PRIVATE,
    # Odd spellings, read as the system reads them
    "https://2130706433/": PRIVATE,
    "https://0x7f000001/": PRIVATE,
    "https://0x7f.1/": PRIVATE,
    "https://0x7F.0.0.0x1/": PRIVATE,
    "https://0177.0.0.1/": PRIVATE,
    "https://017700000001/": PRIVATE,
    "https://127.1/": PRIVATE,
    "https://127.0.1/": PRIVATE,
    "https://10.1/": PRIVATE,
    "https://192.168.257/": PRIVATE,
    "https://0/": PRIVATE,
    "https://2852039166/": PRIVATE,
    "https://0xa9fea9fe/": PRIVATE,
    "https://0251.0376.0251.0376/": PRIVATE,
    # IPv6
    "https://[::1]/": PRIVATE,
    "https://[::1]:8443/": PRIVATE,
    "https://[0:0:0:0:0:0:0:1]/": PRIVATE,
    "https://[::]/": PRIVATE,
    "https://[fe80::1]/": PRIVATE,
    "https://[febf::1]/": PRIVATE,
    "https://[fc00::1]/": PRIVATE,
    "https://[fd12:3456:789a::1]/": PRIVATE,
    "https://[fec0::1]/": PRIVATE,
    "https://[ff02::1]/": PRIVATE,
    "https://[2001:db8::1]/": PRIVATE,
    "https://[::ffff:127.0.0.1]/": PRIVATE,
    "https://[::ffff:7f00:1]/": PRIVATE,
    "https://[::ffff:10.0.0.1]/": PRIVATE,
    "https://[::ffff:169.254.169.254]/": PRIVATE,
    "https://[::127.0.0.1]/": PRIVATE,
    "https://[::10.0.0.1]/": PRIVATE,
    "https://[64:ff9b::127.0.0.1]/": PRIVATE,
    "https://[64:ff9b::a00:1]/": PRIVATE,
    "https://[64:ff9b::a9fe:a9fe]/": PRIVATE,
    "https://[2002:7f00:1::]/": PRIVATE,
    "https://[2002:a00:1::1]/": PRIVATE,
    "https://[2002:a9fe:a9fe::]/": PRIVATE,
}
# What is certainly refused, by whichever rule comes first: as an address of ours, or as no URL at all.
NO_WAY_IN = [
    "https://localhost./",
    "https://127.0.0.1./",
    "https://printer./",
    "https://①②⑦.⓪.⓪.①/",
    "https://127。0。0。1/",
    "https://\N{FULLWIDTH DIGIT ONE}27.0.0.1/",
    "https://\N{FULLWIDTH LATIN SMALL LETTER L}ocalhost/",
    "https://%6c%6f%63alhost/",
    "https://127.0.0.1%2f.example.com/",
    "https://127.0.0.1\\@hooks.example.com/",
    "https://hooks.example.com\\@127.0.0.1/",
    "https://127.0.0.1%00.example.com/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[::ffff:0x7f.1]/",
    "https://127.0.0.1:0x1f90/",
    "https://0x7f.0x0.0x0.0x1:443/",
    "https://00000177.0.0.1/",
    "https://4294967295/",
    "https:///127.0.0.1/",
    "https:127.0.0.1",
    "https:/127.0.0.1/",
    "https://:443/",
    "https://./",
    "https://../",
    "https://[]/",
    "https://[::1/",
    "javascript:alert(1)",
    "data:text/plain,x",
    "https\t://hooks.example.com/",
    "https://hooks.exam\nple.com/",
]
WELCOME = [
    PUBLIC,
    "https://hooks.example.com:8443/a/b?c=d&e=%20",
    "HTTPS://Hooks.Example.COM/",
    "https://93.184.216.34/",
    "https://8.8.8.8:8443/hook",
    "https://172.32.0.1/",
    "https://172.15.0.1/",
    "https://100.128.0.1/",
    "https://192.169.0.1/",
    "https://11.0.0.1/",
    "https://[2606:4700:4700::1111]/",
    "https://localhost.example.com/",
    "https://internal.example.com/",
    "https://nobody-has-this-name.invalid/",
    "https://xn--bcher-kva.example/",
]


@pytest.fixture(scope="module")
def strict(open_office: OpenOffice) -> Office:
    """As in production: no private callbacks."""
    return open_office(ALLOW_PRIVATE_CALLBACKS="false")


@pytest.fixture(scope="module")
def endpoint(strict: Office) -> str:
    """An endpoint that wants nothing that happens here, at a public address."""
    made = created(strict.merchant(1).post(ENDPOINTS, json={"url": PUBLIC, "events": ["order.shipped"]}))
    found: str = made["endpoint_id"]
    return found


def test_the_corpus_is_large_enough() -> None:
    assert len(HOSTILE) + len(NO_WAY_IN) >= 100


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_address_is_refused_with_its_reason(strict: Office, endpoint: str, url: str) -> None:
    who = strict.merchant(1)
    url_refused(who.post(ENDPOINTS, json={"url": url}), HOSTILE[url])
    url_refused(who.patch(f"{ENDPOINTS}/{endpoint}", json={"url": url}), HOSTILE[url])
    assert [each["url"] for each in who.get(ENDPOINTS).json()["items"]] == [PUBLIC]


@pytest.mark.parametrize("url", NO_WAY_IN, ids=ascii)
def test_a_crooked_address_finds_no_way_in(strict: Office, endpoint: str, url: str) -> None:
    who = strict.merchant(1)
    for answer in (who.post(ENDPOINTS, json={"url": url}), who.patch(f"{ENDPOINTS}/{endpoint}", json={"url": url})):
        assert answer.status_code in {400, 422}, answer.text
        assert answer.json()["code"] in {"callback_url_refused", "validation_error"}
    assert [each["url"] for each in who.get(ENDPOINTS).json()["items"]] == [PUBLIC]


@pytest.mark.parametrize("url", WELCOME)
def test_a_public_address_is_welcome(strict: Office, url: str) -> None:
    who = strict.merchant(2)
    made = created(who.post(ENDPOINTS, json={"url": url, "events": ["order.shipped"]}))
    place = f"{ENDPOINTS}/{made['endpoint_id']}"
    assert who.patch(place, json={"url": url}).status_code == 200
    assert who.delete(place).status_code == 204


def test_a_refusal_does_not_say_back_what_was_sent(strict: Office) -> None:
    answer = strict.merchant(1).post(ENDPOINTS, json={"url": "https://canary:word@10.0.0.1/canary"})
    assert answer.status_code == 400
    assert "canary" not in answer.text
    assert "10.0.0.1" not in answer.text


def test_the_providers_address_is_the_operators_word(strict: Office) -> None:
    """It is private here, and links are asked for all the same."""
    assert UUID7.fullmatch(strict.paid(2))


def test_a_kassa_of_make_run_allows_private_callbacks(server: rig.Server) -> None:
    with server.client(headers={"X-Api-Key": "sk_demo_3"}) as who:
        made = created(who.post(ENDPOINTS, json={"url": "http://127.0.0.1:9/hook", "events": ["order.shipped"]}))
        assert who.delete(f"{ENDPOINTS}/{made['endpoint_id']}").status_code == 204


# At every attempt


@pytest.fixture(scope="module")
def walled(open_office: OpenOffice) -> Office:
    """An office whose environment names proxies that are not there."""
    names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
    return open_office(WEBHOOK_RETRY_SECONDS="0,1", **dict.fromkeys(names, "http://127.0.0.1:9"), NO_PROXY="", no_proxy="")


def restart(office: Office, *, allowed: bool) -> httpx2.Client:
    office.server.environment["ALLOW_PRIVATE_CALLBACKS"] = "true" if allowed else "false"
    office.server.restart()
    office.mall.forget_clients()
    return office.merchant(1)


def test_a_proxy_of_the_environment_is_not_used(walled: Office) -> None:
    hook = walled.hook(1, events=PAID)
    hook.ends(subject_of(walled.paid(1)), "payment.paid", "success")


def test_an_address_that_was_stored_while_it_was_allowed_is_not_called_any_more(walled: Office) -> None:
    hook = walled.hook(1, events=PAID)
    hook.ends(subject_of(walled.paid(1)), "payment.paid", "success")
    hook.who = restart(walled, allowed=False)
    calls, connections = len(hook.calls()), walled.fake.connections()
    found = hook.ends(subject_of(walled.paid(1)), "payment.paid", "failed")
    assert [each["error"] for each in found["attempts"]] == ["refused_address"] * 2
    assert [each["status_code"] for each in found["attempts"]] == [None, None]
    assert found["last_error"] == "refused_address"
    delivery = hook.becomes(hook.ping()["delivery_id"], "failed")
    assert delivery["last_error"] == "refused_address"
    assert (len(hook.calls()), walled.fake.connections()) == (calls, connections)
    hook.who = restart(walled, allowed=True)
    assert hook.replay(delivery["delivery_id"]).status_code == 202
    hook.becomes(delivery["delivery_id"], "success")


def test_a_redirect_inwards_reaches_nobody(office: Office) -> None:
    with contextlib.closing(FakeMerchant()) as inner:
        places = [
            inner.url("/latest/meta-data/"),
            f"//127.0.0.1:{inner.port}/",
            f"http://localhost:{inner.port}/",
            f"http://2130706433:{inner.port}/",
            f"http://[::ffff:127.0.0.1]:{inner.port}/",
        ]
        hooks = [
            office.hook(1, *[says(status, Location=place) for status in (301, 302, 307, 308)], events=PAID) for place in places
        ]
        subject = subject_of(office.paid(1))
        for hook in hooks:
            found = hook.ends(subject, "payment.paid", "failed", within=15)
            assert [each["error"] for each in found["attempts"]] == ["redirect"] * 4
        assert inner.connections() == 0


def test_the_egress_proxy_makes_every_call(open_office: OpenOffice) -> None:
    office = open_office(EGRESS_PROXY=lambda fake: fake.url(""), ALLOW_PRIVATE_CALLBACKS="true")
    target = "http://merchant.invalid/hook"
    hook = office.hook(1, url=target, events=PAID)
    subject = subject_of(office.paid(1))
    until(lambda: office.fake.calls(target), 8, "the proxy is asked for the merchant's address")
    hook.ends(subject, "payment.paid", "success")
    [call] = office.fake.calls(target)
    assert call.headers["host"] == "merchant.invalid"
    quiet_for(0.3, lambda: len(office.fake.everything()))
