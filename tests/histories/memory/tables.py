"""Rows, who holds them, and what keys and checks say about them."""

from __future__ import annotations

import asyncio
import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import sqlglot
from tests.histories.memory.expressions import Fn, Scope, compile_expression
from tests.histories.memory.schema import known

Values = dict[str, Any]
Watch = Callable[[str, Values | None, Values | None], None]


class Transaction:
    """What one transaction has written and locked, and who waits for its end."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Table, Row]] = {}
        self.waiting: list[asyncio.Future[None]] = []
        self.waits_for: Transaction | None = None

    def end(self, *, commit: bool, watch: Watch | None = None) -> None:
        """Make all of it true, or as if it had never been, and wake whoever waits. `watch` is shown each row that is another now."""
        for table, row in self.rows.values():
            if commit:
                if watch is not None and row.values is not row.draft:
                    watch(table.name, row.values, row.draft)
                row.values = row.draft
            if row.values is None:
                table.rows.remove(row)
            row.draft, row.holder = None, None
        self.rows = {}
        for each in self.waiting:
            if not each.done():
                each.set_result(None)
        self.waiting = []


class Row:
    """`values` as committed (None: not yet), and what its `holder` makes of it (`draft`, None: deleted)."""

    __slots__ = ("draft", "holder", "values")

    def __init__(self, values: Values | None) -> None:
        self.values = values
        self.draft: Values | None = None
        self.holder: Transaction | None = None

    def seen_by(self, transaction: Transaction) -> Values | None:
        """The row as this transaction sees it; None when it does not."""
        return self.draft if self.holder is transaction else self.values


class Blocked(Exception):
    """Another transaction holds a row that is needed: wait for its end and try again."""

    def __init__(self, holder: Transaction) -> None:
        super().__init__("blocked")
        self.holder = holder


class Table:
    """One table: its rows in the order in which they came."""

    def __init__(self, name: str, told: dict[str, Any]) -> None:
        self.name = name
        self.columns = [column["name"] for column in told["columns"]]
        self.needed = [column["name"] for column in told["columns"] if column["needed"]]
        scope = Scope({name: self.columns})
        self.standard = {column["name"]: _compiled(column["standard"], scope) for column in told["columns"] if column["standard"]}
        self.unique = [
            (each["name"], tuple(each["columns"]), _compiled(each["condition"], scope) if each["condition"] else None)
            for each in told["unique"]
        ]
        self.checks = [(each["name"], _compiled(each["condition"], scope)) for each in told["checks"]]
        self.rows: list[Row] = []

    def empty(self) -> Table:
        """A table of the same shape without rows."""
        table = copy.copy(self)
        table.rows = []
        return table

    def lock(self, row: Row, transaction: Transaction) -> None:
        """Hold a row until the transaction ends. Raises `Blocked`."""
        if row.holder is transaction:
            return
        if row.holder is not None:
            raise Blocked(row.holder)
        row.holder, row.draft = transaction, row.values
        transaction.rows[id(row)] = (self, row)

    def put(self, transaction: Transaction, values: Values) -> Row:
        """A new row that only this transaction sees."""
        row = Row(None)
        row.holder, row.draft = transaction, values
        self.rows.append(row)
        transaction.rows[id(row)] = (self, row)
        return row

    def check(self, values: Values, run: Any) -> None:
        """Raise what PostgreSQL raises for a row that may not be."""
        for name in self.needed:
            if values[name] is None:
                raise asyncpg.NotNullViolationError(f"{self.name}.{name}")
        env = {self.name: values, "$": run}
        for name, holds in self.checks:
            if holds(env) is False:
                raise asyncpg.CheckViolationError(f"{self.name}: {name}")

    def alike(self, values: Values, run: Any, index: Any, *, besides: Row | None = None) -> Row | None:
        """A row that has the same key in this index, or None. Raises `Blocked` when that depends on how another transaction ends."""
        _, columns, condition = index
        key = [values[column] for column in columns]
        if None in key or (condition is not None and condition({self.name: values, "$": run}) is not True):
            return None
        for row in self.rows:
            if row is besides:
                continue
            mine = row.holder is None or row.holder is run.transaction
            now = self._has(row.seen_by(run.transaction) if mine else row.draft, columns, key, condition, run)
            before = now if mine else self._has(row.values, columns, key, condition, run)
            if now and before:
                return row
            if now or before:
                assert row.holder is not None
                raise Blocked(row.holder)
        return None

    def _has(self, values: Values | None, columns: tuple[str, ...], key: list[Any], condition: Fn | None, run: Any) -> bool:
        if values is None or any(values[column] != wanted for column, wanted in zip(columns, key, strict=True)):
            return False
        return condition is None or condition({self.name: values, "$": run}) is True

    def committed(self) -> Iterator[Values]:
        """What everybody sees."""
        return (row.values for row in self.rows if row.values is not None)


class Tables:
    """All tables, by name."""

    def __init__(self) -> None:
        self.by_name = {name: shape.empty() for name, shape in shapes().items()}

    def __getitem__(self, name: str) -> Table:
        return self.by_name[name]

    def of(self, name: str) -> list[Values]:
        """The committed rows of a table, in the order in which they came."""
        return list(self.by_name[name].committed())


@functools.cache
def shapes() -> dict[str, Table]:
    return {name: Table(name, told) for name, told in known().items()}


@functools.cache
def _parsed(text: str) -> Any:
    return sqlglot.parse_one(f"SELECT {text}", read="postgres").expressions[0]


def _compiled(text: str, scope: Scope) -> Fn:
    return compile_expression(_parsed(text), scope)
