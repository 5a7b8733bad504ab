"""Ask an ASGI application by hand, so that a request can lie, dribble or leave as no polite client would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey

from kassa.api import ApiOptions, TokenRules, create_app
from kassa.api.app import Api
from kassa.catalog import Sources
from kassa.kit.context import Context
from kassa.kit.database import DatabaseAway
from kassa.kit.secrets import Keys

SECRET = b"a-secret-that-only-tests-know-0123456789"
KEYS = Keys(b"k" * 32)


class NoDatabase:
    """A database that is away, or that breaks in a way nobody foresaw."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or DatabaseAway()
        self.asked = 0

    def _break(self) -> Any:
        self.asked += 1
        raise self.error

    async def value(self, *_: Any) -> Any:
        self._break()

    row = rows = execute = value

    def connections(self) -> tuple[int, int, int]:
        return 0, 0, 16

    def transaction(self, _name: str) -> Any:
        self._break()


class Database:
    """A database that answers one value."""

    async def value(self, *_: Any) -> Any:
        return 1


def context(db: Any = None) -> Context:
    return Context(db=db if db is not None else NoDatabase(), keys=KEYS, ports={Sources: Sources({})})


async def yes() -> bool:
    return True


def an_app(db: Any = None, **options: Any) -> Api:
    given = {"surfaces": frozenset({"orders", "checkout"}), "tokens": TokenRules(SECRET), "schema_is_current": yes, **options}
    return create_app(context(db), ApiOptions(**given))


def token(**claims: Any) -> str:
    said = {"id": 1, "exp": 4102444800, **claims}
    return jwt.encode(
        {"alg": "HS256"}, {name: value for name, value in said.items() if value is not None}, OctKey.import_key(SECRET)
    )


def bearer(**claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(**claims)}"}


@dataclass
class Heard:
    """What came back."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    ended: bool = False

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key == name]
        assert len(found) < 2, f"{name} stands twice"
        return found[0] if found else None

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    async def hear(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(name.decode(), value.decode("latin-1")) for name, value in message["headers"]]
        else:
            self.parts.append(message.get("body", b""))
            self.ended = not message.get("more_body", False)


def scope_of(method: str, target: str, headers: Mapping[str, str] | None = None, client: str = "192.0.2.7") -> dict[str, Any]:
    path, _, query = target.partition("?")
    given = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": given,
        "client": (client, 40000),
        "server": ("127.0.0.1", 8000),
        "scheme": "http",
        "root_path": "",
        "http_version": "1.1",
    }


async def ask(
    app: Any,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | Iterable[bytes] = b"",
    client: str = "192.0.2.7",
) -> Heard:
    """One request and its whole answer."""
    pieces = [body] if isinstance(body, bytes) else list(body)
    heard = Heard()

    async def receive() -> dict[str, Any]:
        if not pieces:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    await app(scope_of(method, target, headers, client), receive, heard.hear)
    assert heard.ended
    return heard
