"""The tree of a statement as PostgreSQL itself sees it: names resolved, views written out, every function and operator by its number.

`debug_print_rewritten` has the server print it. So nothing here guesses what a name means or whether a function is stable.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<open>[({])
      | (?P<close>[)}])
      | :(?P<name>[A-Za-z_][A-Za-z_0-9]*)
      | \[(?P<bytes>[^\]]*)\]
      | (?P<text>"(?:\\[\s\S]|[^"\\])*")
      | (?P<atom>(?:\\[\s\S]|[^\s(){}\\])+)
    )""",
    re.VERBOSE,
)


@dataclass(eq=False)
class Node:
    """A node of the tree: its kind, such as `QUERY` or `OPEXPR`, and its fields."""

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.fields.get(name)

    def number(self, name: str) -> int:
        """A field that is a number; 0 when it is not there."""
        return int(self.fields.get(name) or 0)

    def true(self, name: str) -> bool:
        """A field that is a flag."""
        return self.fields.get(name) == "true"

    def many(self, name: str) -> list[Any]:
        """A field that is a list; empty when it is not there."""
        found = self.fields.get(name)
        return found if isinstance(found, list) else []


def read(text: str) -> Any:
    """What `nodeToString` wrote: nodes, lists, and words as text; `<>` is None."""
    found, at = _read(text, 0)
    assert not text[at:].strip(), f"not read to the end: {text[at : at + 60]}"
    return found


def _read(text: str, at: int) -> tuple[Any, int]:
    token = _TOKEN.match(text, at)
    assert token is not None, f"no tree: {text[at : at + 60]}"
    if token["open"] == "{":
        return _node(text, token.end())
    if token["open"] == "(":
        return _list(text, token.end())
    if token["text"] is not None:
        return re.sub(r"\\(.)", r"\1", token["text"][1:-1]), token.end()
    return (None if token["atom"] == "<>" else token["atom"]), token.end()


def _node(text: str, at: int) -> tuple[Node, int]:
    kind = _TOKEN.match(text, at)
    assert kind is not None
    node, at = Node(kind["atom"]), kind.end()
    name = ""
    while True:
        token = _TOKEN.match(text, at)
        assert token is not None, f"an open node: {text[at : at + 60]}"
        if token["close"]:
            return node, token.end()
        if token["name"] is not None:
            name, at = token["name"], token.end()
        elif token["bytes"] is not None:  # the value of a constant, behind its length
            node.fields[name], at = token["bytes"], token.end()
        else:
            value, at = _read(text, at)
            if name not in node.fields:
                node.fields[name] = value


def _list(text: str, at: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    while True:
        token = _TOKEN.match(text, at)
        assert token is not None, f"an open list: {text[at : at + 60]}"
        if token["close"]:
            return found, token.end()
        value, at = _read(text, at)
        found.append(value)


def walk(node: Any, *, into_queries: bool = True) -> Iterator[Node]:
    """The node and all nodes below it; with `into_queries` off, a query below it is not entered."""
    if isinstance(node, list):
        for each in node:
            yield from walk(each, into_queries=into_queries)
    elif isinstance(node, Node):
        yield node
        for value in node.fields.values():
            if isinstance(value, list) or (isinstance(value, Node) and (into_queries or value.kind != "QUERY")):
                yield from walk(value, into_queries=into_queries)


@dataclass
class Catalogue:
    """What the numbers in a tree stand for."""

    tables: dict[int, str]
    columns: dict[tuple[int, int], str]
    functions: dict[int, str]
    volatility: dict[int, str]
    """Of a function, by its number: `i`, `s` or `v`."""
    operators: dict[int, tuple[str, int]]
    """Of an operator: its sign, and the function behind it."""
    conversions: dict[int, tuple[int, int]]
    """Of a type: the functions that read it from text and write it as text."""


async def catalogue(connection: asyncpg.Connection) -> Catalogue:
    """Read from PostgreSQL's own tables."""
    relations = await connection.fetch(
        "SELECT c.oid::int8 AS oid, CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || relname AS name"
        "  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p', 'v')"
    )
    columns = await connection.fetch(
        "SELECT attrelid::int8 AS oid, attnum, attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
    )
    functions = await connection.fetch("SELECT oid::int8 AS oid, proname, provolatile::text AS kind FROM pg_proc")
    operators = await connection.fetch("SELECT oid::int8 AS oid, oprname, oprcode::oid::int8 AS code FROM pg_operator")
    types = await connection.fetch(
        "SELECT oid::int8 AS oid, typinput::oid::int8 AS reads, typoutput::oid::int8 AS writes FROM pg_type"
    )
    return Catalogue(
        {row["oid"]: row["name"] for row in relations},
        {(row["oid"], row["attnum"]): row["attname"] for row in columns},
        {row["oid"]: row["proname"] for row in functions},
        {row["oid"]: row["kind"] for row in functions},
        {row["oid"]: (row["oprname"], row["code"]) for row in operators},
        {row["oid"]: (row["reads"], row["writes"]) for row in types},
    )


class Parser:
    """A connection whose server prints the tree of what it is asked to prepare. Nothing is run."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._said: list[str] = []

    @classmethod
    async def over(cls, connection: asyncpg.Connection) -> Parser:
        """Have the server of `connection` print its trees."""
        parser = cls(connection)
        connection.add_log_listener(parser._hear)
        await connection.execute("SET client_min_messages = log; SET debug_print_rewritten = on; SET debug_pretty_print = off")
        return parser

    async def tree(self, sql: str) -> list[Node]:
        """The queries of one statement. Raises what PostgreSQL says of one that is wrong."""
        self._said = []
        await self._connection.prepare(sql)
        for _ in range(100):
            if self._said:
                break
            await asyncio.sleep(0.001)
        found: list[Node] = read(self._said[0])
        return found

    def _hear(self, _: Any, message: Any) -> None:
        if message.message.startswith("rewritten parse tree"):
            self._said.append(message.detail)
