"""Expressions of SQL as functions of Python: `compile(node, scope)` gives `f(env)`.

`env` holds the row of each source under its alias (`"&alias"` the stored row behind it), the running statement under `"$"` and, while
sums are made, the rows of the group under `"#"`. None is NULL, and logic has three values.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson
from sqlglot import exp

from kassa.kit.writes import UNMET

if TYPE_CHECKING:
    from tests.histories.memory.selects import Query

Env = dict[str, Any]
Fn = Callable[[Env], Any]


class Unplayable(BaseException):
    """The memory does not know this kind of SQL. Nobody who catches errors of the database catches this one."""


class Unmet(asyncpg.RaiseError):
    """What `kassa_unmet` raises."""

    sqlstate = UNMET


@dataclass
class Scope:
    """Which columns can be named, compiled once: alias → columns. Names that are joined by USING stand for their first source."""

    sources: dict[str, list[str]] = field(default_factory=dict)
    merged: set[str] = field(default_factory=set)
    parts: dict[str, list[str]] = field(default_factory=dict)
    """The columns of each part of the `WITH`."""
    outer: Scope | None = None
    compile_query: Callable[[exp.Expression, Scope], Query] | None = None
    windows: list[tuple[str, Callable[[list[Env]], None]]] = field(default_factory=list)

    def inner(self) -> Scope:
        return Scope(parts=dict(self.parts), outer=self, compile_query=self.compile_query)

    def find(self, name: str, table: str | None) -> tuple[str, str]:
        """The alias and the column that a name stands for."""
        if table is not None:
            scope: Scope | None = self
            while scope is not None:
                if table in scope.sources:
                    if name not in scope.sources[table]:
                        raise Unplayable(f"no column {table}.{name}")
                    return table, name
                scope = scope.outer
            raise Unplayable(f"no source {table}")
        holders = [alias for alias, columns in self.sources.items() if name in columns and alias != "excluded"]
        if len(holders) == 1 or (holders and name in self.merged):
            return holders[0], name
        if not holders and self.outer is not None:
            return self.outer.find(name, None)
        raise Unplayable(f"column {name}: {holders}")


def compile_expression(node: Any, scope: Scope) -> Fn:
    """A function that gives the value of an expression."""
    known = KNOWN.get(type(node))
    if known is None:
        raise Unplayable(f"{type(node).__name__}: {node!r}")
    return known(node, scope)


def _literal(node: exp.Literal, _: Scope) -> Fn:
    value: Any = node.this if node.is_string else int(node.this)
    return lambda _env: value


def _constant(value: Any) -> Callable[[Any, Scope], Fn]:
    return lambda _node, _scope: lambda _env: value


def _parameter(node: exp.Parameter, _: Scope) -> Fn:
    place = int(node.this.this) - 1
    return lambda env: env["$"].args[place]


def _column(node: exp.Column, scope: Scope) -> Fn:
    name, table = node.name, node.table or None
    if table is None and name in {"true", "false"}:
        return _constant(name == "true")(node, scope)
    alias, column = scope.find(name, table)
    return lambda env: env[alias][column]


def _inner(node: Any, scope: Scope) -> Fn:
    return compile_expression(node.this, scope)


def _minus(node: exp.Neg, scope: Scope) -> Fn:
    of = compile_expression(node.this, scope)
    return lambda env: None if (found := of(env)) is None else -found


def _both(act: Callable[[Any, Any], Any]) -> Callable[[Any, Scope], Fn]:
    def make(node: Any, scope: Scope) -> Fn:
        left, right = compile_expression(node.this, scope), compile_expression(node.expression, scope)

        def value(env: Env) -> Any:
            a, b = left(env), right(env)
            return None if a is None or b is None else act(a, b)

        return value

    return make


def _compared(act: Callable[[Any, Any], Any]) -> Callable[[Any, Scope], Fn]:
    plain = _both(act)

    def make(node: Any, scope: Scope) -> Fn:
        many = node.expression
        if isinstance(many, exp.Any | exp.All):
            return _among(node.this, many.this, scope, act, every=isinstance(many, exp.All))
        if isinstance(many, exp.Anonymous) and many.this.lower() == "all":
            return _among(node.this, many.expressions[0], scope, act, every=True)
        return plain(node, scope)

    return make


def _among(of_one: Any, of: Any, scope: Scope, act: Callable[[Any, Any], Any], *, every: bool) -> Fn:
    left = compile_expression(of_one, scope)
    while isinstance(of, exp.Paren):
        of = of.this
    right = compile_expression(of, scope) if not isinstance(of, exp.Subquery | exp.Select) else _column_of(of, scope)

    def value(env: Env) -> Any:
        a, many = left(env), right(env)
        if a is None or many is None:
            return None
        found = [None if b is None else act(a, b) for b in many]
        if every:
            return False if False in found else None if None in found else True
        return True if True in found else None if None in found else False

    return value


def _and(node: exp.And, scope: Scope) -> Fn:
    parts = [compile_expression(part, scope) for part in node.flatten()]

    def value(env: Env) -> Any:
        unknown = False
        for part in parts:
            found = part(env)
            if found is False:
                return False
            unknown = unknown or found is None
        return None if unknown else True

    return value


def _or(node: exp.Or, scope: Scope) -> Fn:
    parts = [compile_expression(part, scope) for part in node.flatten()]

    def value(env: Env) -> Any:
        unknown = False
        for part in parts:
            found = part(env)
            if found is True:
                return True
            unknown = unknown or found is None
        return None if unknown else False

    return value


def _not(node: exp.Not, scope: Scope) -> Fn:
    of = compile_expression(node.this, scope)

    def value(env: Env) -> Any:
        found = of(env)
        return None if found is None else not found

    return value


def _is(node: exp.Is, scope: Scope) -> Fn:
    of, negated = compile_expression(node.this, scope), bool(node.args.get("negate"))
    wanted = node.expression
    if isinstance(wanted, exp.Not):
        wanted, negated = wanted.this, not negated
    if not isinstance(wanted, exp.Null):
        raise Unplayable(repr(node))
    return (lambda env: of(env) is not None) if negated else (lambda env: of(env) is None)


def _in(node: exp.In, scope: Scope) -> Fn:
    if node.args.get("query") is not None:
        return _among(node.this, node.args["query"], scope, operator.eq, every=False)
    of, many = compile_expression(node.this, scope), [compile_expression(each, scope) for each in node.expressions]

    def value(env: Env) -> Any:
        a = of(env)
        return None if a is None else any(a == each(env) for each in many)

    return value


def _between(node: exp.Between, scope: Scope) -> Fn:
    of, low, high = (compile_expression(node.args[name], scope) for name in ("this", "low", "high"))

    def value(env: Env) -> Any:
        a, b, c = of(env), low(env), high(env)
        return None if a is None or b is None or c is None else b <= a <= c

    return value


def _case(node: exp.Case, scope: Scope) -> Fn:
    of = compile_expression(node.this, scope) if node.this is not None else None
    arms = [(compile_expression(arm.this, scope), compile_expression(arm.args["true"], scope)) for arm in node.args["ifs"]]
    default = node.args.get("default")
    otherwise = compile_expression(default, scope) if default is not None else _nothing

    def value(env: Env) -> Any:
        said = of(env) if of is not None else None
        for when, then in arms:
            found = when(env)
            if (found is True) if of is None else (said is not None and found == said):
                return then(env)
        return otherwise(env)

    return value


def _nothing(_env: Env) -> Any:
    return None


def _cast(node: exp.Cast, scope: Scope) -> Fn:
    of, to = compile_expression(node.this, scope), node.to.sql("postgres").lower()
    change = _CASTS.get(to)
    if change is None:
        raise Unplayable(f"cast to {to}")

    def value(env: Env) -> Any:
        found = of(env)
        return None if found is None else change(found)

    return value


def _as_json(found: Any) -> Any:
    return orjson.loads(found) if isinstance(found, str) else found


def _as_text(found: Any) -> str:
    return orjson.dumps(found).decode() if isinstance(found, dict | list) else str(found)


def _as_list(found: Any) -> list[Any]:
    return [] if found == "{}" else list(found)


_CASTS: dict[str, Callable[[Any], Any]] = {
    "text": _as_text,
    "bigint": int,
    "int": int,
    "integer": int,
    "double precision": float,
    "boolean": bool,
    "json": _as_json,
    "jsonb": _as_json,
    "uuid": lambda found: found,
    "timestamptz": lambda found: found,
    **dict.fromkeys(("text[]", "bigint[]", "int[]", "uuid[]", "timestamptz[]", "boolean[]", "double precision[]"), _as_list),
}


def _interval(node: exp.Interval, _: Scope) -> Fn:
    text = f"{node.this.this} {node.args['unit'].name if node.args.get('unit') else ''}".strip()
    found = re.fullmatch(r"(\d+) (microsecond|second|minute|hour|day)s?", text.lower())
    if found is None:
        raise Unplayable(f"interval {text}")
    return _constant(timedelta(**{f"{found[2]}s": int(found[1])}))(None, Scope())


def _make_interval(node: exp.MakeInterval, scope: Scope) -> Fn:
    given = node.args.get("second")
    if given is None or given.this.name != "secs":
        raise Unplayable(repr(node))
    of = compile_expression(given.expression, scope)

    def value(env: Env) -> Any:
        seconds = of(env)
        return None if seconds is None else timedelta(microseconds=round(seconds * 1_000_000))

    return value


def _extract(node: exp.Extract, scope: Scope) -> Fn:
    if node.name.upper() != "EPOCH":
        raise Unplayable(repr(node))
    of = compile_expression(node.expression, scope)

    def value(env: Env) -> Any:
        found = of(env)
        return None if found is None else found.timestamp() if isinstance(found, datetime) else found.total_seconds()

    return value


def _coalesce(node: exp.Coalesce, scope: Scope) -> Fn:
    parts = [compile_expression(each, scope) for each in (node.this, *node.expressions)]

    def value(env: Env) -> Any:
        for part in parts:
            if (found := part(env)) is not None:
                return found
        return None

    return value


def _extreme(act: Callable[[list[Any]], Any]) -> Callable[[Any, Scope], Fn]:
    def make(node: Any, scope: Scope) -> Fn:
        parts = [compile_expression(each, scope) for each in (node.this, *node.expressions)]

        def value(env: Env) -> Any:
            known = [found for part in parts if (found := part(env)) is not None]
            return act(known) if known else None

        return value

    return make


def _like(node: exp.Like, scope: Scope) -> Fn:
    of = compile_expression(node.this, scope)
    shape = re.compile(re.escape(node.expression.this).replace("%", ".*").replace("_", "."), re.DOTALL)

    def value(env: Env) -> Any:
        found = of(env)
        return None if found is None else shape.fullmatch(found) is not None

    return value


def _regexp(node: exp.RegexpLike, scope: Scope) -> Fn:
    of, shape = compile_expression(node.this, scope), compile_expression(node.expression, scope)

    def value(env: Env) -> Any:
        found = of(env)
        return None if found is None else re.search(shape(env), found) is not None

    return value


def _tuple(node: Any, scope: Scope) -> Fn:
    parts = [compile_expression(each, scope) for each in node.expressions]
    return lambda env: tuple(part(env) for part in parts)


def _array(node: exp.Array, scope: Scope) -> Fn:
    if len(node.expressions) == 1 and isinstance(node.expressions[0], exp.Select | exp.Union):
        return _column_of(node.expressions[0], scope)
    parts = [compile_expression(each, scope) for each in node.expressions]
    return lambda env: [part(env) for part in parts]


def _column_of(node: Any, scope: Scope) -> Fn:
    """All values of the only column of a question; an array in that column is that array."""
    query = _query(node, scope)

    def value(env: Env) -> Any:
        rows = query.rows(env)
        return rows[0][0] if len(rows) == 1 and isinstance(rows[0][0], list) else [row[0] for row in rows]

    return value


def _query(node: Any, scope: Scope) -> Query:
    assert scope.compile_query is not None
    return scope.compile_query(node.this if isinstance(node, exp.Subquery) else node, scope)


def _subquery(node: Any, scope: Scope) -> Fn:
    query = _query(node, scope)

    def value(env: Env) -> Any:
        rows = query.rows(env)
        if len(rows) > 1:
            raise asyncpg.CardinalityViolationError("more than one row returned by a subquery used as an expression")
        return rows[0][0] if rows else None

    return value


def _exists(node: exp.Exists, scope: Scope) -> Fn:
    query = _query(node.this, scope)
    return lambda env: bool(query.rows(env))


def _json_text(node: exp.JSONExtractScalar, scope: Scope) -> Fn:
    of = compile_expression(node.this, scope)
    key = node.expression.expressions[-1].this

    def value(env: Env) -> Any:
        found = of(env)
        inside = found.get(key) if isinstance(found, dict) else None
        return None if inside is None else inside if isinstance(inside, str) else orjson.dumps(inside).decode()

    return value


def _anonymous(node: exp.Anonymous, scope: Scope) -> Fn:
    name = node.this.lower()
    if name == "row":
        return _tuple(node, scope)
    parts = [compile_expression(each, scope) for each in node.expressions]
    match name:
        case "kassa_now":
            return lambda env: env["$"].now
        case "clock_timestamp":
            return lambda env: env["$"].clock
        case "cardinality":
            return lambda env: None if (found := parts[0](env)) is None else len(found)
        case "kassa_unmet":
            return lambda env: _raise(Unmet(parts[0](env)))
        case "set_config":
            return lambda env: env["$"].configure(parts[0](env), parts[1](env))
        case _:
            raise Unplayable(name)


def _raise(error: Exception) -> Any:
    raise error


def _length(node: exp.Length, scope: Scope) -> Fn:
    of = compile_expression(node.this, scope)
    return lambda env: None if (found := of(env)) is None else len(found)


KNOWN: dict[type, Callable[[Any, Scope], Fn]] = {
    exp.Literal: _literal,
    exp.Boolean: lambda node, scope: _constant(node.this)(node, scope),
    exp.Null: _constant(None),
    exp.Parameter: _parameter,
    exp.Column: _column,
    exp.Paren: _inner,
    exp.Alias: _inner,
    exp.Collate: _inner,
    exp.EQ: _compared(operator.eq),
    exp.NEQ: _compared(operator.ne),
    exp.LT: _both(operator.lt),
    exp.LTE: _both(operator.le),
    exp.GT: _both(operator.gt),
    exp.GTE: _both(operator.ge),
    exp.Add: _both(operator.add),
    exp.Sub: _both(operator.sub),
    exp.DPipe: _both(lambda left, right: f"{left}{right}"),
    exp.Mul: _both(operator.mul),
    exp.Neg: _minus,
    exp.And: _and,
    exp.Or: _or,
    exp.Not: _not,
    exp.Is: _is,
    exp.In: _in,
    exp.Between: _between,
    exp.Case: _case,
    exp.Cast: _cast,
    exp.Interval: _interval,
    exp.MakeInterval: _make_interval,
    exp.Extract: _extract,
    exp.Coalesce: _coalesce,
    exp.Greatest: _extreme(max),
    exp.Least: _extreme(min),
    exp.Like: _like,
    exp.RegexpLike: _regexp,
    exp.Tuple: _tuple,
    exp.Array: _array,
    exp.Subquery: _subquery,
    exp.Exists: _exists,
    exp.JSONExtractScalar: _json_text,
    exp.Anonymous: _anonymous,
    exp.Length: _length,
    exp.CurrentTimestamp: lambda _node, _scope: lambda env: env["$"].now,
}
