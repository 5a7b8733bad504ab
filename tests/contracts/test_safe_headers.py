"""Every answer of every address tells a browser what it may not do with it; browsers of other origins are let in by name alone.

The addresses are taken from the document of all contracts, so that a new one is asked, too.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests import rig
from tests.unit.api.asking import an_app, ask

if TYPE_CHECKING:
    from tests.conftest import StartKassa

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ALL = json.loads((rig.ROOT / "docs" / "apis" / "all.json").read_text())
SHOP = "https://shop.example"
BESIDE = (
    "/", "/docs", "/redoc", "/docs/start.js", "/docs/start-redoc.js", "/docs/redoc.standalone.js", "/openapi.json", "/asyncapi.json",
    "/openapi/orders.json", "/metrics", "/sandbox", "/sandbox/control", "/sandbox/nowhere", "/sandbox/payme/nothing",
    "/sandbox/payment/payments/process", "/sandbox/link/pay/nothing", "/nowhere", "/api/nowhere", "/api/v1/nowhere",
    "/checkout/a/b/c", "/cart/nowhere", "/payme", "/payme/webhook", "//evil.example/", "/api/%00", "/%2e%2e/%2e%2e/etc/passwd",
)  # fmt: skip
ADDRESSES = sorted({re.sub(r"{[^}]+}", "019b76da-a801-7d90-a2b6-4c7f1e3d5b62", path) for path in ALL["paths"]} | set(BESIDE))
KEPT = re.compile(r"/docs/.+\.(js|css)|/sandbox.*")
"""What is the same for everybody may be kept; the sandbox is no part of production."""


PAGES = {"/", "//evil.example/"}
"""Pages for people. Their forms must bring an `Origin`, which browsers hide with `no-referrer`; no other site learns of them either."""


def wrong_of(answer: httpx2.Response) -> list[str]:
    """What is missing or lax in the headers of an answer."""
    found = answer.headers
    policy = found.get("content-security-policy", "")
    is_page = answer.status_code == 200 and answer.request.url.path in PAGES
    wishes = {
        "x-content-type-options": found.get("x-content-type-options") == "nosniff",
        "referrer-policy": found.get("referrer-policy") == ("same-origin" if is_page else "no-referrer"),
        "x-frame-options": found.get("x-frame-options") == "DENY",
        "permissions-policy": "payment=()" in found.get("permissions-policy", ""),
        "cross-origin-opener-policy": found.get("cross-origin-opener-policy") == "same-origin",
        "frame-ancestors": "frame-ancestors 'none'" in policy,
        "default-src": "default-src 'none'" in policy,
        "no scripts inline": not re.search(r"script-src[^;]*unsafe", policy),
        "no wildcard": not re.search(r"(?<![\w.])\*(?![\w.])", policy),
        "content-type": answer.status_code in {204, 304} or "content-type" in found,
        "nothing kept": KEPT.fullmatch(answer.request.url.path) or found.get("cache-control") == "no-store",
        "no server named": "server" not in found and "x-powered-by" not in found,
        "no origin let in": "access-control-allow-origin" not in found,
        "once each": len([1 for name, _ in found.multi_items() if name == "content-security-policy"]) == 1,
    }
    return [name for name, holds in wishes.items() if not holds]


@pytest.fixture(scope="module")
def browser(server: rig.Server) -> httpx2.Client:
    return server.client(4711, headers={"Origin": "https://evil.example"})


@pytest.mark.parametrize("path", ADDRESSES)
def test_every_answer_is_safe_whoever_asks(server: rig.Server, browser: httpx2.Client, path: str) -> None:
    nobody, staff = server.client(), server.client(900, "staff", headers={"X-Api-Key": "sk_demo_1"})
    for method in METHODS:
        for client in (nobody, browser, staff):
            body = b"{}" if method in {"POST", "PUT", "PATCH"} else None
            with client.stream(method, path, content=body) as answer:  # a live stream has no end
                assert answer.status_code < 500 or answer.status_code in {501, 503}, f"{method} {answer.status_code}"
                assert wrong_of(answer) == [], f"{method} {answer.status_code}"


async def test_errors_of_ours_are_safe_too() -> None:
    for path in ("/api/products", "/checkout/019b76da-a801-7d90-a2b6-4c7f1e3d5b62", "/nowhere"):
        heard = await ask(an_app(), "GET", path)
        assert (heard.header("permissions-policy") or "").startswith("camera=()")
        assert heard.header("cross-origin-resource-policy") == "same-origin"


@pytest.mark.parametrize("https_only", [True, False])
async def test_browsers_are_told_to_come_by_https_where_that_is_so(https_only: bool) -> None:
    heard = await ask(an_app(https_only=https_only), "GET", "/nowhere")
    assert heard.header("strict-transport-security") == ("max-age=31536000" if https_only else None)


@pytest.fixture(scope="module")
def open_shop(start_kassa: StartKassa) -> rig.Server:
    return start_kassa(CORS_ORIGINS=f"{SHOP},https://other.example:8443")


@pytest.mark.parametrize("path", sorted(path for path in ADDRESSES if not path.startswith(("/sandbox", "/payme", "//"))))
def test_a_preflight_lets_in_the_named_origins_and_nobody_else(open_shop: rig.Server, path: str) -> None:
    client = open_shop.client()
    for method in METHODS[:-1]:
        asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,idempotency-key"}
        for origin in (SHOP, "https://other.example:8443"):
            answer = client.options(path, headers={"Origin": origin, **asked})
            assert answer.status_code == (400 if method == "HEAD" else 200), method
            assert answer.headers["access-control-allow-origin"] == origin
            assert "access-control-allow-credentials" not in answer.headers
            assert "origin" in answer.headers["vary"].lower()
    for origin in (
        f"{SHOP}.evil.example",
        "http://shop.example",
        f"{SHOP}:8443",
        "https://evil.example",
        "null",
        "https://SHOP.example",
    ):
        asked = {"Access-Control-Request-Method": "POST", "Origin": origin}
        refused = client.options(path, headers=asked)
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers
        plain = client.get("/health", headers={"Origin": origin})
        assert "access-control-allow-origin" not in plain.headers


def test_payme_and_the_sandbox_know_no_other_origins(open_shop: rig.Server) -> None:
    for path in ("/payme/webhook", "/sandbox/control"):
        answer = open_shop.client().post(path, json={}, headers={"Origin": SHOP})
        assert "access-control-allow-origin" not in answer.headers
