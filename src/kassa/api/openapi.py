"""The OpenAPI documents: one for each contract, and one for all. What is committed under `docs/apis` is made here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from kassa.api import checkout, health, orders, payme, payments, purchases, webhooks
from kassa.api.describe import BODIES

VERSION = "1"
_REF = "#/components/schemas/{model}"

_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": (
        "A JWT signed with the shop's secret. The user is the claim `id`, else `sub`; `exp` is required; "
        "`role` is `user`, `staff` or `admin`."
    ),
}
_BASIC = {
    "type": "http",
    "scheme": "basic",
    "description": "Payme's login (`PAYME_LOGIN`) with the key of the cashbox. Wrong ones are answered with status 200 and -32504.",
}
_API_KEY = {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "A merchant's key, `sk_…`, with its scopes."}
_MERCHANT = {
    "type": "apiKey",
    "in": "header",
    "name": "X-Merchant-Id",
    "description": "The merchant, as a trusted gateway names it (`TRUST_MERCHANT_HEADER=true`).",
}
_ABOUT = {
    "orders": (
        "Kassa: orders",
        "Catalogue, cart, orders, delivery, live status. Amounts are exact JSON numbers in major units, times are UTC.",
    ),
    "checkout": (
        "Kassa: checkout",
        "Items and a card in, a paid order out. Guests need no token. Amounts are exact JSON numbers in major units.",
    ),
    "purchases": (
        "Kassa: purchases",
        "A cart of ambassadors, a link to pay it at Payme, and what was bought. Amounts are whole tiyin (100 are 1 UZS).",
    ),
    "payments": (
        "Kassa: payments",
        "Merchants' servers ask for money and are told the truth about it. Money and quantities are text with exact decimals.",
    ),
    "all": ("Kassa", "Every contract that this process can serve."),
}
_ROUTERS: dict[str, tuple[APIRouter, ...]] = {
    "orders": orders.ROUTERS,
    "checkout": checkout.ROUTERS,
    "purchases": (*purchases.ROUTERS, *payme.ROUTERS),
    "payments": (*payments.ROUTERS, *webhooks.ROUTERS, payments.provider_router),
}
CONTRACTS = (*_ROUTERS, "all")


def document(contract: str, surfaces: Iterable[str] | None = None) -> dict[str, Any]:
    """The document of one of `CONTRACTS`; `all` is of `surfaces`, where they are given. Raises `KeyError` for another name.

    Two models of one name are refused with `ValueError`: what is answered under it would be described as what is asked.
    """
    title, about = _ABOUT[contract]
    names = [contract] if contract != "all" else [name for name in _ROUTERS if surfaces is None or name in surfaces]
    routers = [*(router for name in names for router in _ROUTERS[name]), health.router]
    routes = [route for router in routers for route in router.routes]
    made = get_openapi(title=title, version=VERSION, description=about, routes=routes)
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    bodies = _bodies(made["paths"])
    two = sorted(name for name in schemas.keys() & bodies.keys() if schemas[name] != bodies[name])
    if two:
        raise ValueError(f"two models have one name, so a reader would be told the wrong one: {', '.join(two)}")
    schemas |= bodies
    made["components"]["schemas"] = dict(sorted(schemas.items()))
    made["components"]["securitySchemes"] = _schemes(names)
    made["servers"] = [{"url": "/"}]
    return made


def _schemes(names: list[str]) -> dict[str, Any]:
    schemes: dict[str, Any] = {}
    if {"orders", "checkout", "purchases"} & set(names):
        schemes["bearer"] = _BEARER
    if "purchases" in names:
        schemes["basic"] = _BASIC
    if "payments" in names:
        schemes |= {"apiKey": _API_KEY, "merchant": _MERCHANT}
    return schemes


def write_all(folder: Path) -> None:
    """Write every document to `folder`, as it is committed."""
    folder.mkdir(parents=True, exist_ok=True)
    for contract in CONTRACTS:
        (folder / f"{contract}.json").write_text(text_of(contract), encoding="utf-8")


def text_of(contract: str) -> str:
    """A document as it stands in its file: indented, with a newline at the end."""
    return json.dumps(document(contract), indent=2, ensure_ascii=False) + "\n"


def _bodies(paths: dict[str, Any]) -> dict[str, Any]:
    """The schemas of request bodies, to which operations only point."""
    names = [
        content["schema"]["$ref"].rpartition("/")[2]
        for path in paths.values()
        for one in path.values()
        for content in one.get("requestBody", {}).get("content", {}).values()
    ]
    _, definitions = models_json_schema([(BODIES[name], "validation") for name in names], ref_template=_REF)
    return dict(definitions.get("$defs", {}))
