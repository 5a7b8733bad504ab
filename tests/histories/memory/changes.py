"""Statements that write. Their rows are put aside and become the transaction's own when the statement has ended: no part of it sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
import orjson
from sqlglot import exp
from tests.histories.memory.expressions import Env, Fn, Scope, Unplayable, compile_expression
from tests.histories.memory.selects import Query, Source, columns_of, compile_columns, compile_query, compile_sources, joined
from tests.histories.memory.tables import Row, Values


def compile_change(node: Any, scope: Scope) -> Query:
    """An INSERT, UPDATE or DELETE."""
    match node:
        case exp.Insert():
            return _insert(node, scope)
        case exp.Update():
            return _update(node, scope)
        case exp.Delete():
            return _delete(node, scope)
    raise Unplayable(f"statement {type(node).__name__}")


Returned = tuple[list[str], Callable[[Env], tuple[Any, ...]]]


def _returning(node: Any, scope: Scope) -> Returned:
    told = node.args.get("returning")
    if told is None:
        return [], lambda _env: ()
    names, values = compile_columns(told.expressions, scope)
    return names, lambda env: tuple(value(env) for value in values)


def _update(node: exp.Update, outer: Scope) -> Query:
    scope = outer.inner()
    target = _target(node.this, scope)
    sources = [target, *compile_sources(node, scope)]
    where = compile_expression(node.args["where"].this, scope) if node.args.get("where") else None
    changes = [_assignment(each, scope) for each in node.expressions]
    names, returned = _returning(node, scope)
    alias, table = target.alias, target.table
    assert table is not None

    def rows(env: Env) -> list[tuple[Any, ...]]:
        run, found, seen = env["$"], [], set()
        for each in joined(sources, env):
            if where is not None and where(each) is not True:
                continue
            row: Row = each[f"&{alias}"]
            if id(row) in seen:
                continue
            seen.add(id(row))
            after = {**each[alias], **{name: value(each) for name, value in changes}}
            run.change(table, row, after)
            found.append(returned({**each, alias: after}))
        return found

    return Query(names, rows, writes=True)


def _delete(node: exp.Delete, outer: Scope) -> Query:
    scope = outer.inner()
    target = _target(node.this, scope)
    sources = [target, *compile_sources(node, scope, node.args.get("using") or ())]
    where = compile_expression(node.args["where"].this, scope) if node.args.get("where") else None
    names, returned = _returning(node, scope)
    alias, table = target.alias, target.table
    assert table is not None

    def rows(env: Env) -> list[tuple[Any, ...]]:
        run, found, seen = env["$"], [], set()
        for each in joined(sources, env):
            if where is not None and where(each) is not True:
                continue
            row: Row = each[f"&{alias}"]
            if id(row) in seen:
                continue
            seen.add(id(row))
            run.change(table, row, None)
            found.append(returned(each))
        return found

    return Query(names, rows, writes=True)


def _insert(node: exp.Insert, outer: Scope) -> Query:
    schema = node.this
    item = schema.this if isinstance(schema, exp.Schema) else schema
    given = [each.name for each in schema.expressions] if isinstance(schema, exp.Schema) else columns_of(item.name)
    source = _given(node.expression, outer)
    scope = outer.inner()
    target = _target(item, scope)
    names, returned = _returning(node, scope)
    conflict = _conflict(node.args.get("conflict"), scope, target)
    alias, table = target.alias, target.table
    assert table is not None

    def rows(env: Env) -> list[tuple[Any, ...]]:
        run, found = env["$"], []
        for row in source(env):
            values = _whole(run, table, dict(zip(given, row, strict=True)))
            put = conflict(env, values)
            if put is not None:
                found.append(returned({**env, alias: put}))
        return found

    return Query(names, rows, writes=True)


class _Standard:
    """DEFAULT."""


STANDARD = _Standard()


def _given(node: Any, scope: Scope) -> Callable[[Env], list[tuple[Any, ...]]]:
    if not isinstance(node, exp.Values):
        return compile_query(node, scope).rows
    rows = [[_value(each, scope) for each in row.expressions] for row in node.expressions]
    return lambda env: [tuple(value(env) for value in row) for row in rows]


def _value(node: Any, scope: Scope) -> Fn:
    if isinstance(node, exp.Var) and node.name.upper() == "DEFAULT":
        return lambda _env: STANDARD
    return compile_expression(node, scope)


def _whole(run: Any, name: str, given: Values) -> Values:
    """All columns of a new row, with what they are by default."""
    table, whole = run.tables[name], {}
    for column in table.columns:
        value = given.get(column, STANDARD)
        if value is STANDARD:
            standard = table.standard.get(column)
            value = standard({"$": run}) if standard is not None else None
        whole[column] = own(value)
    return whole


def own(value: Any) -> Any:
    """A value that no caller holds: JSON as it comes back from the database, lists of their own."""
    if isinstance(value, dict):
        return orjson.loads(orjson.dumps(value))
    return list(value) if isinstance(value, list | tuple) else value


def _conflict(node: Any, scope: Scope, target: Source) -> Callable[[Env, Values], Values | None]:
    """What is put for a new row: itself, nothing, or the row that was there, changed."""
    table = target.table
    assert table is not None
    if node is None:

        def plainly(env: Env, values: Values) -> Values | None:
            run = env["$"]
            for index in run.tables[table].unique:
                if run.alike(table, values, index) is not None:
                    raise asyncpg.UniqueViolationError(f'duplicate key value violates unique constraint "{index[0]}"')
            return run.put(table, values)

        return plainly
    keys = [(each.this if isinstance(each, exp.Ordered) else each).name for each in node.args.get("conflict_keys") or ()]
    if node.args["action"].name.upper() == "DO NOTHING":
        return _or_nothing(table, keys)
    return _or_change(node, scope, target, keys)


def _or_nothing(table: str, keys: list[str]) -> Callable[[Env, Values], Values | None]:
    def put(env: Env, values: Values) -> Values | None:
        run = env["$"]
        for index in run.tables[table].unique:
            if run.alike(table, values, index) is not None:
                if keys and sorted(keys) != sorted(index[1]):
                    raise asyncpg.UniqueViolationError(f'duplicate key value violates unique constraint "{index[0]}"')
                return None
        return run.put(table, values)

    return put


def _or_change(node: Any, scope: Scope, target: Source, keys: list[str]) -> Callable[[Env, Values], Values | None]:
    table, alias = target.table, target.alias
    assert table is not None
    inside = scope.inner()
    inside.sources = {alias: target.columns, "excluded": target.columns}
    changes = [_assignment(each, inside) for each in node.expressions]
    where = compile_expression(node.args["where"].this, inside) if node.args.get("where") else None

    def put(env: Env, values: Values) -> Values | None:
        run = env["$"]
        for index in run.tables[table].unique:
            row = run.alike(table, values, index)
            if row is None:
                continue
            if sorted(keys) != sorted(index[1]):
                raise asyncpg.UniqueViolationError(f'duplicate key value violates unique constraint "{index[0]}"')
            run.lock(table, row)
            there = row.seen_by(run.transaction)
            assert there is not None
            each = {**env, alias: there, "excluded": values}
            if where is not None and where(each) is not True:
                return None
            after = {**there, **{name: value(each) for name, value in changes}}
            run.change(table, row, after)
            return after
        return run.put(table, values)

    return put


def _assignment(node: Any, scope: Scope) -> tuple[str, Fn]:
    if not isinstance(node, exp.EQ) or not isinstance(node.this, exp.Column):
        raise Unplayable(f"assignment {node!r}")
    value = compile_expression(node.expression, scope)
    return node.this.name, lambda env: own(value(env))


def _target(item: Any, scope: Scope) -> Source:
    (target,) = compile_sources(_From(item), scope)
    if target.table is None:
        raise Unplayable(f"target {item!r}")
    return target


class _From:
    """A target, as if it stood alone in FROM."""

    def __init__(self, item: Any) -> None:
        self.args = {"from_": exp.From(this=item)}


__all__ = ["STANDARD", "compile_change", "own"]
