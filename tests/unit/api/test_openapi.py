"""The documents are complete, the committed ones are the present ones, and their pages need nobody else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kassa.api import checkout, health, orders, payme, payments, purchases, webhooks
from kassa.api.openapi import CONTRACTS, document, text_of
from kassa.api.shop import SHOP

from .asking import an_app, ask

COMMITTED = Path(__file__).resolve().parents[3] / "docs" / "apis"


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_committed_document_is_the_present_one(contract: str) -> None:
    file = COMMITTED / f"{contract}.json"
    assert file.read_text(encoding="utf-8") == text_of(contract), "write it anew: kassa.api.openapi.write_all(Path('docs/apis'))"


REPEATABLE = {
    "post /api/v1/payments/webhook",
    "post /payme/webhook",  # Payme's own id of its transaction is the key
    "post /payme/webhook/{merchant_id}",
    "delete /api/v1/api-keys/{key_id}",
    "delete /api/v1/webhook-endpoints/{endpoint_id}",  # the second time there is none
    "delete /cart/items",  # the same
    "post /api/v1/webhook-endpoints/{endpoint_id}/replay",  # finds what is left; merchants drop what they have seen
}
"""Once or a hundred times is the same for these by their nature, without a key."""


_ENDPOINT = "post /api/v1/webhook-endpoints/{endpoint_id}"
BODILESS = {f"{_ENDPOINT}/{act}" for act in ("disable", "enable", "test", "deliveries/{delivery_id}/replay")} | {"post /checkout"}
"""Their path says it all."""
NAMING = {"delete /cart/items"}
"""What they remove is named in a body, else in the query."""


def operations(contract: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, one) for path, verbs in document(contract)["paths"].items() for method, one in verbs.items()]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_operation_is_described(contract: str) -> None:
    for method, path, one in operations(contract):
        where = f"{method} {path}"
        assert one["summary"], where
        assert one["description"], where
        named = set(re.findall(r"{(\w+)}", path))
        assert {each["name"] for each in one["parameters"] if each["in"] == "path"} == named, where
        assert ("requestBody" in one) is ((method in {"post", "put", "patch"} or where in NAMING) and where not in BODILESS), where
        for status, answer in one["responses"].items():
            assert answer["description"], (where, status)
            assert status == "204" or answer["content"], (where, status)
            if status == "204":
                continue
            assert all("$ref" in content["schema"] or content["schema"]["type"] for content in answer["content"].values()), (
                where,
                status,
            )
        if (method == "delete" or "requestBody" in one) and where not in REPEATABLE:
            assert "Idempotency-Key" in {each["name"] for each in one["parameters"]}, where


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_reference_leads_somewhere(contract: str) -> None:
    whole = document(contract)
    schemas = whole["components"]["schemas"]
    wanted = set(re.findall(r"#/components/schemas/(\w+)", str(whole)))
    assert wanted <= set(schemas)
    assert set(schemas) <= wanted
    named = {name for _, _, one in operations(contract) for each in one.get("security", []) for name in each}
    assert set(whole["components"]["securitySchemes"]) == named


def test_a_contract_documents_its_own_routes_and_all_of_them() -> None:
    routers = {
        "orders": orders.ROUTERS,
        "checkout": checkout.ROUTERS,
        "purchases": (*purchases.ROUTERS, *payme.ROUTERS),
        "payments": (*payments.ROUTERS, *webhooks.ROUTERS, payments.provider_router),
    }
    shared = {route.path for route in health.router.routes if route.include_in_schema}  # type: ignore[attr-defined]
    for contract, own in routers.items():
        paths = {route.path for router in own for route in router.routes}  # type: ignore[attr-defined]
        assert set(document(contract)["paths"]) == paths | shared
    assert set(document("all")["paths"]) == {path for contract in routers for path in document(contract)["paths"]}
    assert SHOP == "shop"


def test_who_needs_a_token_is_said() -> None:
    needs = {f"{method} {path}": one.get("security") for method, path, one in operations("all")}
    assert needs["get /api/products"] is None
    assert needs["get /api/cart"] == [{"bearer": []}]
    assert needs["post /checkout/process"] == [{}, {"bearer": []}]
    assert needs["post /checkout"] == [{"bearer": []}]
    assert needs["post /payme/webhook"] == [{"basic": []}]
    assert needs["post /api/v1/payments"] == [{"apiKey": []}, {"merchant": []}]
    assert needs["get /api/v1/payments/{payment_id}/show"] == [{}, {"apiKey": []}, {"merchant": []}]


# The pages


async def test_pages_are_there_only_when_asked_for() -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/openapi/orders.json", "/docs/swagger-ui.css"):
        assert (await ask(an_app(), "GET", path)).status == 404
        assert (await ask(an_app(docs=True), "GET", path)).status == 200


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_a_page_takes_everything_from_this_server(page: str) -> None:
    app = an_app(docs=True)
    heard = await ask(app, "GET", page)
    text = heard.body.decode()
    assert (heard.header("content-type") or "").startswith("text/html")
    assert "://" not in text
    policy = heard.header("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    for wanted in re.findall(r'(?:src|href)="(/[^"]+)"', text):
        found = await ask(app, "GET", wanted, {"Accept-Encoding": "gzip"})
        assert (found.status, len(found.body) > 50) == (200, True), wanted


async def test_the_files_of_the_pages_are_the_librarys_own() -> None:
    app = an_app(docs=True)
    assert b"SwaggerUIBundle" in (await ask(app, "GET", "/docs/swagger-ui-bundle.js")).body
    assert b"Redoc" in (await ask(app, "GET", "/docs/redoc.standalone.js")).body
    for stranger in ("/docs/..%2fpyproject.toml", "/docs/LICENSE", "/docs/nothing.js"):
        assert (await ask(app, "GET", stranger)).status == 404


async def test_only_what_is_served_is_documented() -> None:
    app = an_app(docs=True, surfaces=frozenset({"checkout"}))
    assert set((await ask(app, "GET", "/openapi.json")).json["paths"]) == {
        "/checkout/process",
        "/checkout/{checkout_id}",
        "/health",
        "/ready",
    }
    assert (await ask(app, "GET", "/openapi/checkout.json")).status == 200
    for absent in ("orders", "payments", "all", "../x"):
        assert (await ask(app, "GET", f"/openapi/{absent}.json")).status == 404
