"""Values of many rows: sums, lists, windows, and the order of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cmp_to_key
from typing import Any

from sqlglot import exp
from tests.histories.memory.expressions import KNOWN, Env, Fn, Scope, Unplayable, compile_expression


def _count(node: exp.Count, scope: Scope) -> Fn:
    if isinstance(node.this, exp.Star):
        return lambda env: len(env["#"])
    of = compile_expression(node.this, scope)
    return lambda env: sum(of(each) is not None for each in env["#"])


def _aggregate(act: Callable[[list[Any]], Any]) -> Callable[[Any, Scope], Fn]:
    def make(node: Any, scope: Scope) -> Fn:
        of = compile_expression(node.this, scope)

        def value(env: Env) -> Any:
            known = [found for each in env["#"] if (found := of(each)) is not None]
            return act(known) if known else None

        return value

    return make


def _array_agg(node: exp.ArrayAgg, scope: Scope) -> Fn:
    of, order = node.this, None
    if isinstance(of, exp.Order):
        of, order = of.this, sorter(of.expressions, scope)
    value_of = compile_expression(of, scope)

    def value(env: Env) -> Any:
        group = order(env["#"]) if order is not None else env["#"]
        return [value_of(each) for each in group] or None

    return value


def _window(node: exp.Window, scope: Scope) -> Fn:
    parts = [compile_expression(each, scope) for each in node.args.get("partition_by") or ()]
    order = sorter(node.args["order"].expressions, scope) if node.args.get("order") else None
    numbers = isinstance(node.this, exp.RowNumber)
    if not numbers and not (isinstance(node.this, exp.Count) and isinstance(node.this.this, exp.Star) and order is None):
        raise Unplayable(repr(node))
    name = f"%{len(scope.windows)}"

    def look(envs: list[Env]) -> None:
        groups: dict[Any, list[Env]] = {}
        for env in envs:
            groups.setdefault(tuple(part(env) for part in parts), []).append(env)
        for group in groups.values():
            for place, env in enumerate(order(group) if order is not None else group, 1):
                env[name] = place if numbers else len(group)

    scope.windows.append((name, look))
    return lambda env: env[name]


def sorter(ordered: list[exp.Ordered], scope: Scope) -> Callable[[list[Env]], list[Env]]:
    """A function that sorts rows; NULL is greater than anything."""
    keys = [(compile_expression(each.this, scope), bool(each.args.get("desc"))) for each in ordered]

    def compare(a: Env, b: Env) -> int:
        for key, desc in keys:
            x, y = key(a), key(b)
            if x == y:
                continue
            less = y is None or (x is not None and x < y)
            return -1 if less is not desc else 1
        return 0

    return lambda envs: sorted(envs, key=cmp_to_key(compare))


def aggregates(nodes: Iterator[Any] | list[Any]) -> bool:
    """Whether expressions make one value of many rows (questions inside them not counted)."""
    for node in nodes:
        if isinstance(node, exp.Subquery | exp.Exists | exp.Select | exp.Window):
            continue
        if isinstance(node, exp.AggFunc):
            return True
        if aggregates(list(node.iter_expressions())):
            return True
    return False


KNOWN.update(
    {
        exp.Count: _count,
        exp.Sum: _aggregate(sum),
        exp.Max: _aggregate(max),
        exp.Min: _aggregate(min),
        exp.ArrayAgg: _array_agg,
        exp.Window: _window,
    }
)
