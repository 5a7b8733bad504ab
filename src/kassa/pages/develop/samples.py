"""One sample of each operation, with values that work, from the OpenAPI documents; and how it is typed as a curl command. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CONTRACTS = {
    "orders": "Catalogue, cart, orders, delivery, live status",
    "checkout": "Items and a card in, a paid order out",
    "purchases": "Ambassadors, paid at Payme",
    "payments": "Merchants' payments, refunds, keys, webhooks, events",
}
"""The contracts that have samples, and what each is for."""
_BY_STAFF = frozenset({"PUT /api/orders/{order_id}/status"})
_STREAMS = frozenset({"/api/orders/{order_id}/events"})
_PROVIDERS_HEADER = "x-internal-signature"
_INDENT = "  "


@dataclass(frozen=True, slots=True)
class Sample:
    """An operation as it can be tried.

    `shown` says what its caller shows: `token`, `staff`, `key`, `cashbox`, `signature` or nothing. `may_be_guest`: it may also be
    called without. `names` are the places in its path that need an id; `body` is the example's JSON value.
    """

    tag: str
    title: str
    about: str
    method: str
    path: str
    names: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    takes_key: bool
    body: Any
    shown: str
    may_be_guest: bool

    @property
    def operation(self) -> str:
        """`PUT /api/cart/items/{item_id}`."""
        return f"{self.method} {self.path}"

    @property
    def is_stream(self) -> bool:
        """Whether the answer goes on until somebody hangs up."""
        return self.path in _STREAMS


def samples_of(document: Mapping[str, Any]) -> list[Sample]:
    """A sample of every operation of an OpenAPI document, in its order."""
    return [
        _sample(method.upper(), path, told) for path, operations in document["paths"].items() for method, told in operations.items()
    ]


def curl(sample: Sample) -> str:
    """The sample as a command for a shell in which the names of `preface` are set."""
    if sample.shown == "signature":
        return _signed(sample)
    words = [
        "curl -sN" if sample.is_stream else "curl -s",
        *([] if sample.method == ("POST" if sample.body is not None else "GET") else [f"-X {sample.method}"]),
        f'"{_address(sample)}"',
    ]
    lines = [" ".join(words), *(f'-H "{name}: {value}"' for name, value in _headers(sample))]
    if sample.shown == "cashbox":
        lines.append('-u "$PAYME_LOGIN:$PAYME_KEY"')
    if sample.body is not None:
        lines.append("-d " + shlex.quote(json.dumps(sample.body, ensure_ascii=False)))
    return f" \\\n{_INDENT}".join(lines)


def preface(values: Mapping[str, str]) -> str:
    """The lines that set what the commands name: once per terminal."""
    return "\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items())


def variable(name: str) -> str:
    """What a place in a path is called in a shell: `ORDER_ID`."""
    return name.upper()


def _sample(method: str, path: str, told: Mapping[str, Any]) -> Sample:
    parameters = told.get("parameters", [])
    headers = {each["name"].lower() for each in parameters if each["in"] == "header"}
    ways = told.get("security", [])
    return Sample(
        tag=told["tags"][0],
        title=told["summary"],
        about=told.get("description", "").split("\n\n")[0],
        method=method,
        path=path,
        names=tuple(each["name"] for each in parameters if each["in"] == "path"),
        query=tuple((each["name"], str(_example(each))) for each in parameters if each["in"] == "query" and each.get("required")),
        takes_key="idempotency-key" in headers,
        body=_body(told),
        shown="signature" if _PROVIDERS_HEADER in headers else _shown(f"{method} {path}", ways),
        may_be_guest={} in ways,
    )


def _shown(operation: str, ways: list[dict[str, Any]]) -> str:
    kinds = {name for way in ways for name in way}
    if "bearer" in kinds:
        return "staff" if operation in _BY_STAFF else "token"
    return "key" if "apiKey" in kinds else "cashbox" if "basic" in kinds else ""


def _example(parameter: Mapping[str, Any]) -> Any:
    schema = parameter.get("schema", {})
    return next((schema[name] for name in ("example", "default", "minimum") if name in schema), "")


def _body(told: Mapping[str, Any]) -> Any:
    content = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    return content.get("example")


def _address(sample: Sample) -> str:
    path = sample.path
    for name in sample.names:
        path = path.replace("{" + name + "}", f"${variable(name)}")
    query = "&".join(f"{name}={value}" for name, value in sample.query)
    return f"$API{path}" + (f"?{query}" if query else "")


def _headers(sample: Sample) -> Iterator[tuple[str, str]]:
    if sample.shown in {"token", "staff"}:
        yield "Authorization", f"Bearer ${sample.shown.upper()}"
    if sample.shown == "key":
        yield "X-Api-Key", "$KEY"
    if sample.takes_key:
        yield "Idempotency-Key", "try-$(date +%s)-$$"
    if sample.body is not None:
        yield "Content-Type", "application/json"


def _signed(sample: Sample) -> str:
    """What a provider sends is signed over its very bytes, so they stand in a variable."""
    body = shlex.quote(json.dumps(sample.body, ensure_ascii=False))
    mac = """$(printf %s "$BODY" | openssl dgst -sha256 -hmac "$PROVIDER_WEBHOOK_SECRET" | sed 's/.* //')"""
    return "\n".join(
        [
            f"BODY={body}",
            f'curl -s "{_address(sample)}" \\',
            f'{_INDENT}-H "X-Internal-Signature: {mac}" \\',
            f'{_INDENT}-d "$BODY"',
        ]
    )
