"""The references that are not OpenAPI: the events as the AsyncAPI document tells them, and the gRPC service as its proto does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

from fastapi import APIRouter

from kassa.api import asyncapi
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.pages.develop.proto import Proto, read_proto
from kassa.pages.frame import page
from kassa.pages.options import PageOptions

_PROTOS = (("payments_service", "payments.proto"), ("ambassador_service", "ambassador.proto"))


@dataclass(frozen=True, slots=True)
class Told:
    """A type of event: what it says, and which shape its data have."""

    name: str
    about: str
    shape: str


@dataclass(frozen=True, slots=True)
class Shape:
    """Members of an object: name, kind, whether it is always there, and what is said of it."""

    name: str
    about: str
    members: tuple[tuple[str, str, bool, str], ...]


def router(options: PageOptions) -> APIRouter:
    """`/develop/asyncapi` and `/develop/grpc`."""
    made = APIRouter(include_in_schema=False)
    inspects = options.demo_token is not None

    @made.get("/develop/asyncapi", response_model=None)
    async def events(call: Call) -> Answer:
        return page(call, "develop/asyncapi.html", inspects=inspects, has_docs=options.docs, **_events())

    @made.get("/develop/grpc", response_model=None)
    async def grpc(call: Call) -> Answer:
        return page(call, "develop/grpc.html", inspects=inspects, protos=_protos())

    return made


@cache
def _events() -> dict[str, Any]:
    document = asyncapi.document()
    parts = document["components"]
    return {
        "about": document["info"]["description"],
        "channels": [(channel["title"], channel["description"]) for channel in document["channels"].values()],
        "types": [_told(message) for message in parts["messages"].values()],
        "headers": _members(parts["schemas"]["Headers"]),
        "shapes": [
            Shape(name, each["description"], _members(each)) for name, each in parts["schemas"].items() if name != "Headers"
        ],
    }


def _told(message: Mapping[str, Any]) -> Told:
    tags = [tag["name"] for tag in message.get("tags", ())]
    return Told(message["name"], message["summary"], tags[0] if tags else "Payment")


def _members(schema: Mapping[str, Any]) -> tuple[tuple[str, str, bool, str], ...]:
    always = set(schema.get("required", ()))
    return tuple(
        (name, _kind(each), name in always, each.get("description", "")) for name, each in schema.get("properties", {}).items()
    )


def _kind(schema: Mapping[str, Any]) -> str:
    """`text or null`, `list of RefundLine`, `1, 2, 3 or 6`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " · ".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    kinds = schema.get("type", "anything")
    named = {"string": str(schema.get("format", "text"))}
    return " or ".join(named.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))


@cache
def _protos() -> tuple[Proto, ...]:
    """The files as they lie beside the modules that were made of them. The packages themselves are not loaded for that."""
    return tuple(read_proto((_folder(package) / name).read_text("utf-8")) for package, name in _PROTOS)


def _folder(package: str) -> Path:
    spec = util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations, f"{package} is installed with Kassa"
    return Path(spec.submodule_search_locations[0])
