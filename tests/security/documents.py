"""The API as its documents tell it: every operation of every OpenAPI file and every method of every proto, with what names things.

An attacker reads these documents too. What they do not list, the tests of this folder cannot try; so whoever adds an operation
is told by a failing test what it must be filled with.
"""

from __future__ import annotations

import copy
import functools
import importlib.resources
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from tests import rig

Json = dict[str, Any]
Place = tuple[str, str]
"""Where a name stands (`path`, `query`, `header`, `body`) and the name itself; of a body the dotted way to it."""

FOLDER = rig.ROOT / "docs" / "apis"
PROTOS = rig.ROOT / "proto"
VERBS = ("get", "put", "post", "delete", "patch", "head", "options", "trace")
_NAMES_SOMETHING = re.compile(
    r"(?:(?:^|[_-])ids?|Ids?|(?:^|_)(?:cursor|after|subject|account|reference|token|key))$", re.IGNORECASE
)
"""Names whose values lead to a thing, or to a place in a list of things."""
_NO_DOOR = {"X-Request-Id", "Idempotency-Key"}
"""Headers whose names look like that, and which name the request itself."""


@dataclass(frozen=True)
class Operation:
    """One verb at one path of one document."""

    document: str
    method: str
    path: str
    spec: Json = field(repr=False, hash=False, compare=False)
    schemas: Json = field(repr=False, hash=False, compare=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def schemes(self) -> frozenset[str]:
        """The kinds of credentials that open it."""
        return frozenset(name for way in self.spec.get("security", []) for name in way)

    @property
    def is_open(self) -> bool:
        """Whether it may be asked without credentials."""
        return not self.spec.get("security") or {} in self.spec["security"]

    @property
    def parameters(self) -> list[Json]:
        return list(self.spec.get("parameters", []))

    @property
    def takes_key(self) -> bool:
        return any(each["name"] == "Idempotency-Key" for each in self.parameters)

    @property
    def streams(self) -> bool:
        return "text/event-stream" in self.spec["responses"].get("200", {}).get("content", {})

    @property
    def content(self) -> Json:
        found: Json = self.spec.get("requestBody", {}).get("content", {}).get("application/json", {})
        return found

    @property
    def example(self) -> Any:
        """The body that the document shows, to be changed freely; None without a body. AssertionError where it shows none."""
        if not self.content:
            return None
        assert "example" in self.content, f"{self}: the document shows no example of its body"
        return copy.deepcopy(self.content["example"])

    def names(self) -> list[Place]:
        """Every place of the request whose value leads to a thing."""
        found = [
            (each["in"], each["name"])
            for each in self.parameters
            if each["in"] == "path" or (each["name"] not in _NO_DOOR and _NAMES_SOMETHING.search(each["name"]))
        ]
        members = self.members()
        return found + [("body", way) for way in members if _NAMES_SOMETHING.search(way.rpartition(".")[2])]

    def members(self) -> dict[str, Json]:
        """Every member of the body by its dotted way; `[]` stands for an element of a list."""
        found: dict[str, Json] = {}

        def walk(schema: Json, way: str, depth: int) -> None:
            for each in self.unfold(schema):
                for name, member in each.get("properties", {}).items():
                    here = f"{way}.{name}" if way else name
                    found[here] = member
                    if depth:
                        walk(member, here, depth - 1)
                if "items" in each and depth:
                    walk(each["items"], f"{way}[]", depth - 1)

        walk(self.content.get("schema", {}), "", 4)
        return found

    def objects(self) -> dict[str, bool]:
        """The way to every object in the body, and whether the document says that it takes no other members."""
        found: dict[str, bool] = {}

        def walk(schema: Json, way: str, depth: int) -> None:
            for each in self.unfold(schema):
                if "properties" in each:
                    found[way] = each.get("additionalProperties") is False
                for name, member in each.get("properties", {}).items():
                    if depth:
                        walk(member, f"{way}.{name}" if way else name, depth - 1)
                if "items" in each and depth:
                    walk(each["items"], f"{way}[]", depth - 1)

        walk(self.content.get("schema", {}), "", 4)
        return found

    def unfold(self, schema: Json) -> Iterator[Json]:
        """The schemas that a value may have, references followed."""
        if "$ref" in schema:
            yield from self.unfold(self.schemas[schema["$ref"].rpartition("/")[2]])
        for several in ("anyOf", "oneOf", "allOf"):
            for each in schema.get(several, []):
                yield from self.unfold(each)
        yield schema

    def address(self, values: dict[Place, str]) -> str:
        """The path with its names filled. AssertionError where a name has no value."""

        def value(found: re.Match[str]) -> str:
            place = ("path", found[1])
            assert place in values, f"{self}: nothing to fill {{{found[1]}}} with"
            return values[place]

        return re.sub(r"{(\w+)}", value, self.path)


@functools.cache
def documents() -> dict[str, Json]:
    """Every OpenAPI document by the name of its file."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    return {name: document for name, document in found.items() if "openapi" in document}


def of_document(name: str) -> list[Operation]:
    """The operations of one document, in its order."""
    document = documents()[name]
    schemas = document.get("components", {}).get("schemas", {})
    return [
        Operation(name, verb.upper(), path, spec, schemas)
        for path, verbs in document["paths"].items()
        for verb, spec in verbs.items()
        if verb in VERBS
    ]


@functools.cache
def operations() -> tuple[Operation, ...]:
    """Every operation once, whichever documents list it."""
    found: dict[str, Operation] = {}
    for name in documents():
        for each in of_document(name):
            if name != "all" or str(each) not in found:
                found.setdefault(str(each), each)
    return tuple(found.values())


@dataclass(frozen=True)
class Method:
    """One method of one service of a proto."""

    file: str
    service: str
    name: str
    request: str
    fields: tuple[tuple[str, int], ...]
    """Name and kind (as descriptors number them) of each member of the request."""

    def __str__(self) -> str:
        return f"/{self.service}/{self.name}"

    def names(self) -> list[str]:
        return [name for name, _ in self.fields if _NAMES_SOMETHING.search(name)]


@functools.cache
def compiled() -> descriptor_pb2.FileDescriptorSet:
    """What the compiler makes of the files in `proto/`."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set"
        known = importlib.resources.files("grpc_tools") / "_proto"
        files = sorted(path.name for path in PROTOS.glob("*.proto"))
        words = ["protoc", f"-I{PROTOS}", f"-I{known}", "--include_imports", f"--descriptor_set_out={target}"]
        assert protoc.main([*words, *files]) == 0
        return descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())


@functools.cache
def methods() -> tuple[Method, ...]:
    """Every method that our protos define."""
    files = compiled().file
    messages = {f".{file.package}.{message.name}": message for file in files for message in file.message_type}
    return tuple(
        Method(
            file.name,
            f"{file.package}.{service.name}",
            method.name,
            method.input_type.removeprefix("."),
            tuple((each.name, each.type) for each in messages[method.input_type].field),
        )
        for file in files
        for service in file.service
        for method in service.method
    )
