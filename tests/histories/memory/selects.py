"""Questions: `FROM` with its joins, `WHERE`, groups, windows, order, limits, and rows that are locked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp
from tests.histories.memory.expressions import Env, Fn, Scope, Unplayable, compile_expression
from tests.histories.memory.groups import aggregates, sorter
from tests.histories.memory.tables import Blocked


@dataclass(frozen=True)
class Query:
    """A compiled statement: the columns of its answer, and what gives the rows. `touches` counts rows that a change touched."""

    columns: list[str]
    rows: Callable[[Env], list[tuple[Any, ...]]]
    writes: bool = False


@dataclass(frozen=True)
class Source:
    """One thing in `FROM`: for a row of what stands before it, its own rows as (values, stored row or None)."""

    alias: str
    columns: list[str]
    rows: Callable[[Env], list[tuple[dict[str, Any], Any]]]
    on: Fn | None = None
    keeps: bool = False
    """LEFT JOIN: a row without a partner stays."""
    table: str | None = None


def compile_query(node: Any, scope: Scope) -> Query:
    """A SELECT, or a UNION of them, with its `WITH`."""
    if isinstance(node, exp.Subquery):
        return compile_query(node.this, scope)
    if isinstance(node, exp.Union):
        left, right = compile_query(node.this, scope), compile_query(node.expression, scope)
        distinct = bool(node.args.get("distinct"))

        def both(env: Env) -> list[tuple[Any, ...]]:
            rows = left.rows(env) + right.rows(env)
            return list(dict.fromkeys(rows)) if distinct else rows

        return Query(left.columns, both)
    if not isinstance(node, exp.Select):
        raise Unplayable(f"question {type(node).__name__}")
    if node.args.get("with_") is not None:
        raise Unplayable("WITH inside a statement")
    return _Select(node, scope).query()


class _Select:
    """One SELECT on its way to a function."""

    def __init__(self, node: exp.Select, outer: Scope) -> None:
        for name in ("having", "qualify", "windows", "match"):
            if node.args.get(name):
                raise Unplayable(name)
        self.node = node
        self.scope = outer.inner()
        self.sources = compile_sources(node, self.scope)
        where = node.args.get("where")
        self.where = compile_expression(where.this, self.scope) if where else None
        self.columns, self.values = compile_columns(node.expressions, self.scope)
        self.windows = list(self.scope.windows)
        group = node.args.get("group")
        self.group = [compile_expression(each, self.scope) for each in group.expressions] if group else None
        if self.group is None and aggregates(node.expressions):
            self.group = []
        order = node.args.get("order")
        self.order = self._order(order.expressions) if order else None
        self.limit = _whole(node.args.get("limit"), self.scope)
        self.offset = _whole(node.args.get("offset"), self.scope)
        self.locks = [self._lock(each) for each in node.args.get("locks") or ()]
        self.distinct = node.args.get("distinct") is not None

    def query(self) -> Query:
        return Query(self.columns, self.rows)

    def rows(self, env: Env) -> list[tuple[Any, ...]]:
        envs = joined(self.sources, env)
        if self.where is not None:
            envs = [each for each in envs if self.where(each) is True]
        for _, look in self.windows:
            look(envs)
        if self.group is not None:
            envs = self._grouped(envs, env)
        if self.distinct:
            return self._distinct(envs, env)
        if self.order is not None:
            envs = self.order(envs)
        envs = envs[self.offset(env) or 0 :] if self.offset is not None else envs
        if self.limit is not None and (most := self.limit(env)) is not None:
            envs = envs[:most]
        for lock in self.locks:
            envs = lock(envs)
        return [tuple(value(each) for value in self.values) for each in envs]

    def _grouped(self, envs: list[Env], env: Env) -> list[Env]:
        assert self.group is not None
        if not self.group:
            first = envs[0] if envs else {**env, **{source.alias: dict.fromkeys(source.columns) for source in self.sources}}
            return [{**first, "#": envs}]
        groups: dict[Any, list[Env]] = {}
        for each in envs:
            groups.setdefault(tuple(key(each) for key in self.group), []).append(each)
        return [{**group[0], "#": group} for group in groups.values()]

    def _distinct(self, envs: list[Env], env: Env) -> list[tuple[Any, ...]]:
        rows = {}
        for each in self.order(envs) if self.order is not None else envs:
            rows.setdefault(tuple(value(each) for value in self.values), each)
        found = list(rows)[self.offset(env) or 0 :] if self.offset is not None else list(rows)
        return found if self.limit is None else found[: self.limit(env)]

    def _order(self, ordered: Sequence[exp.Ordered]) -> Callable[[list[Env]], list[Env]]:
        """By columns of the sources, or by the name of a column of the answer."""
        named = {each.alias: each.this for each in self.node.expressions if isinstance(each, exp.Alias)}
        keys = []
        for each in ordered:
            key, copy = each.this, each.copy()
            if isinstance(key, exp.Column) and not key.table and key.name in named:
                copy.set("this", named[key.name].copy())
            keys.append(copy)
        return sorter(keys, self.scope)

    def _lock(self, node: exp.Lock) -> Callable[[list[Env]], list[Env]]:
        of = [each.name for each in node.expressions] or [source.alias for source in self.sources if source.table]
        tables = {source.alias: source.table for source in self.sources}
        skip = node.args.get("wait") is False

        def lock(envs: list[Env]) -> list[Env]:
            kept = []
            for env in envs:
                try:
                    for alias in of:
                        run, row = env["$"], env[f"&{alias}"]
                        if row is not None:
                            run.tables[tables[alias]].lock(row, run.transaction)
                except Blocked:
                    if not skip:
                        raise
                    continue
                kept.append(env)
            return kept

        return lock


def joined(sources: Sequence[Source], env: Env) -> list[Env]:
    """Every row of the sources put together."""
    envs = [dict(env)]
    for source in sources:
        alias, stored, on = source.alias, f"&{source.alias}", source.on
        found = []
        for each in envs:
            before = len(found)
            for values, row in source.rows(each):
                together = {**each, alias: values, stored: row}
                if on is None or on(together) is True:
                    found.append(together)
            if source.keeps and len(found) == before:
                found.append({**each, alias: dict.fromkeys(source.columns), stored: None})
        envs = found
    return envs


def compile_sources(node: Any, scope: Scope, extra: Sequence[exp.Expression] = ()) -> list[Source]:
    """What stands in FROM (or USING) with its joins; names them in `scope`."""
    first = node.args.get("from_")
    items: list[tuple[Any, exp.Join | None]] = [(first.this, None)] if first is not None else []
    items += [(each, None) for each in extra]
    items += [(join.this, join) for item, _ in list(items) for join in item.args.get("joins") or ()]
    items += [(join.this, join) for join in node.args.get("joins") or ()]
    return [_source(item, join, scope) for item, join in items]


def _source(item: Any, join: exp.Join | None, scope: Scope) -> Source:
    if isinstance(item, exp.Lateral):
        raise Unplayable("LATERAL")
    source = _unnest(item, scope) if isinstance(item, exp.Unnest) else _subselect(item, scope)
    if source is None:
        source = _table(item, scope)
    before = list(scope.sources)
    scope.sources[source.alias] = source.columns
    if join is None:
        return source
    on = None
    if join.args.get("on") is not None:
        on = compile_expression(join.args["on"], scope)
    if join.args.get("using"):
        on = _using([each.name for each in join.args["using"]], before, source, scope)
    return Source(source.alias, source.columns, source.rows, on, keeps=join.side == "LEFT", table=source.table)


def _using(names: list[str], before: list[str], source: Source, scope: Scope) -> Fn:
    pairs = [(next(alias for alias in before if name in scope.sources[alias]), name) for name in names]
    scope.merged |= set(names)
    alias = source.alias

    def same(env: Env) -> bool:
        for left, name in pairs:
            value = env[left][name]
            if value is None or value != env[alias][name]:
                return False
        return True

    return same


def _unnest(item: exp.Unnest, scope: Scope) -> Source:
    named = item.args.get("alias")
    columns = [each.name for each in named.columns] if named is not None else []
    columns = columns or [f"unnest{place}" for place in range(len(item.expressions))]
    numbered = item.args.get("offset") or None
    lists = [compile_expression(each, scope) for each in item.expressions]
    names = [*columns, numbered.name] if isinstance(numbered, exp.Identifier) else columns

    def rows(env: Env) -> list[tuple[dict[str, Any], Any]]:
        given = [each(env) or [] for each in lists]
        longest = max((len(each) for each in given), default=0)
        found = []
        for place in range(longest):
            row: list[Any] = [each[place] if place < len(each) else None for each in given]
            if numbered:
                row.append(place + 1)
            found.append((dict(zip(names, row, strict=True)), None))
        return found

    return Source(named.name if named is not None else "unnest", names, rows)


def _subselect(item: Any, scope: Scope) -> Source | None:
    if not isinstance(item, exp.Subquery):
        return None
    query = compile_query(item.this, scope)

    def rows(env: Env) -> list[tuple[dict[str, Any], Any]]:
        return [(dict(zip(query.columns, row, strict=True)), None) for row in query.rows(env)]

    return Source(item.alias, query.columns, rows)


def _table(item: Any, scope: Scope) -> Source:
    if not isinstance(item, exp.Table) or not isinstance(item.this, exp.Identifier):
        raise Unplayable(f"source {item!r}")
    name, alias = item.name, item.alias or item.name
    if name in scope.parts:
        part = f"@{name}"
        return Source(alias, scope.parts[name], lambda env: [(row, None) for row in env["$"].parts[part]])
    columns = columns_of(name)

    def rows(env: Env) -> list[tuple[dict[str, Any], Any]]:
        run = env["$"]
        transaction = run.transaction
        return [(values, row) for row in run.tables[name].rows if (values := row.seen_by(transaction)) is not None]

    return Source(alias, columns, rows, table=name)


def columns_of(table: str) -> list[str]:
    """The columns of a stored table."""
    from tests.histories.memory.tables import shapes

    found = shapes().get(table)
    if found is None:
        raise Unplayable(f"table {table} is not in schema.py")
    return found.columns


def compile_columns(nodes: Sequence[Any], scope: Scope) -> tuple[list[str], list[Fn]]:
    """Names and values of a list of columns; `*` is all of them, `a.*` those of one source."""
    names: list[str] = []
    values: list[Fn] = []
    for node in nodes:
        of_one = isinstance(node, exp.Column) and isinstance(node.this, exp.Star)
        if of_one or isinstance(node, exp.Star):
            for alias in [node.table] if of_one else scope.sources:
                for column in scope.sources[alias]:
                    names.append(column)
                    values.append(_of(alias, column))
            continue
        names.append(node.alias_or_name or "?column?")
        values.append(compile_expression(node, scope))
    return names, values


def _of(alias: str, column: str) -> Fn:
    return lambda env: env[alias][column]


def _whole(node: Any, scope: Scope) -> Fn | None:
    return compile_expression(node.expression, scope) if node is not None else None
