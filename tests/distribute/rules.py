"""What a PostgreSQL that spreads tables by merchant (Citus 13) refuses or makes dear in one statement, judged by the statement's tree.

A *part* is a query that writes or locks: the statement itself, or a part of its `WITH`. The rules, in the order of their worth:

- `merchant`: a part that writes or locks, and whatever is read beside it, names its one merchant by a parameter or a constant.
- `join`: tables that are spread meet each other on the merchant, and never a table that stays on one server.
- `returning`, `conflict`, `update`, `insert`, `volatile`: where such a server takes only what cannot change while it is computed.
- `alone`, `recursive`: what cannot be asked of all servers at once.
- `order`: a statement with an INSERT among its parts is done there part by part, so no part reads a table that an earlier one writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.distribute.trees import Catalogue, Node, walk

MERCHANT = "merchant_id"
RELATION, SUBQUERY, JOIN, CTE = 0, 1, 2, 6
SELECT, UPDATE, INSERT, DELETE = 1, 2, 3, 4
INNER, LEFT = 0, 1
_TYPED = (
    "vartype",
    "paramtype",
    "consttype",
    "funcresulttype",
    "opresulttype",
    "coalescetype",
    "casetype",
    "resulttype",
    "aggtype",
)

Key = tuple[Any, ...]


class Found(NamedTuple):
    """What is wrong with a statement: the rule, and where."""

    rule: str
    where: str


@dataclass
class Level:
    """One query of a statement, with the queries around it, the nearest first."""

    query: Node
    around: tuple[Level, ...] = ()
    lateral: bool = False
    """It stands where it may name columns of the query around it."""
    name: str = ""

    def of(self, up: int) -> Level:
        return self if up == 0 else self.around[up - 1]

    def entry(self, number: int) -> Node:
        found: Node = self.query.many("rtable")[number - 1]
        return found


@dataclass
class Sets:
    """Things that are equal to each other."""

    parent: dict[Key, Key] = field(default_factory=dict)

    def find(self, key: Key) -> Key:
        while self.parent.get(key, key) != key:
            key = self.parent[key]
        return key

    def join(self, one: Key, other: Key) -> None:
        first, second = self.find(one), self.find(other)
        if first != second:  # a value stands for its set
            keep, drop = (second, first) if second[0] == "value" else (first, second)
            self.parent[drop] = keep


class Judge:
    """Judges statements against the tables of one database. `kinds` says of each table: `distributed`, `reference` or `local`."""

    def __init__(self, catalogue: Catalogue, kinds: Mapping[str, str]) -> None:
        self.catalogue, self.kinds = catalogue, kinds
        self.merchant_at = {oid: number for (oid, number), name in catalogue.columns.items() if name == MERCHANT}

    def judge(self, tree: Iterable[Node]) -> list[Found]:
        """Everything that is wrong with a statement; empty when it works where tables are spread."""
        return [found for query in tree for found in Statement(self, query).judge()]

    def kind(self, entry: Node) -> str | None:
        """How the table of an entry is spread; None when it is no table of ours."""
        if entry.number("rtekind") != RELATION or entry.relkind not in {"r", "p"}:
            return None
        return self.kinds.get(self.catalogue.tables.get(entry.number("relid"), ""))

    def table(self, entry: Node) -> str:
        return self.catalogue.tables.get(entry.number("relid"), "?")

    # ── how changeable an expression is ──────────────────────────────────────────────────────────────────────────────

    def own_volatility(self, node: Node) -> str:
        """That of the node itself, without what is below it: `i`, `s` or `v`."""
        return max((self.catalogue.volatility.get(each, "i") for each in self._functions(node)), key="isv".index, default="i")

    def _functions(self, node: Node) -> Iterator[int]:
        match node.kind:
            case "FUNCEXPR":
                yield node.number("funcid")
            case "OPEXPR" | "DISTINCTEXPR" | "NULLIFEXPR" | "SCALARARRAYOPEXPR":
                yield self.catalogue.operators[node.number("opno")][1]
            case "ROWCOMPAREEXPR":
                yield from (self.catalogue.operators[int(each)][1] for each in node.many("opnos") if str(each).isdigit())
            case "AGGREF":
                yield node.number("aggfnoid")
            case "WINDOWFUNC":
                yield node.number("winfnoid")
            case "COERCEVIAIO":
                yield self.catalogue.conversions[node.number("resulttype")][0]
                yield from (self.catalogue.conversions[of][1] for of in [_type(node.arg)] if of)
            case "SQLVALUEFUNCTION":
                yield next(oid for oid, name in self.catalogue.functions.items() if name == "now")
            case _:
                return

    def changeable(self, node: Any, least: str = "s") -> bool:
        """Whether there is anything in it that may change from one moment to the next (`s`), or from row to row (`v`)."""
        return any(self.own_volatility(each) in "sv"["sv".index(least) :] for each in walk(node))

    def irreducible(self, node: Any) -> str | None:
        """Why an expression of an update cannot be computed once and sent out, if it cannot."""
        for each in walk(node, into_queries=False):
            if each.kind in {"COALESCEEXPR", "CASEEXPR"} and self.changeable(each):
                return "the present moment, or the like, inside CASE or COALESCE"
            if self.own_volatility(each) == "s" and any(below.kind == "VAR" for below in walk(each, into_queries=False)):
                return "a function that is only STABLE, of a column"
        return None


class Statement:
    """One statement on its way to a judgement."""

    def __init__(self, judge: Judge, query: Node) -> None:
        self.judge_, self.query = judge, query
        self.known, self.together = Sets(), Sets()
        """What the planner can know to be equal, and what is meant to be: the second also across corners that no constant passes."""
        self.levels = list(self._levels(Level(query, name="the statement")))
        self._left: list[tuple[Level, Node, Node]] = []
        for level in self.levels:
            self._learn(level)
        for level, inner, outer in self._left:
            self._learn_left(level, inner, outer)

    # ── the queries in it, and what they say to be equal ─────────────────────────────────────────────────────────────

    def _levels(self, level: Level) -> Iterator[Level]:
        yield level
        around = (level, *level.around)
        for part in level.query.many("cteList"):
            yield from self._levels(Level(part.ctequery, around, name=f"{part.ctename}"))
        for entry in level.query.many("rtable"):
            if entry.number("rtekind") == SUBQUERY and isinstance(entry.subquery, Node):
                name = entry.eref.aliasname if isinstance(entry.eref, Node) else "a subquery"
                yield from self._levels(Level(entry.subquery, around, lateral=entry.true("lateral"), name=f"{name}"))
        for name in ("targetList", "jointree", "returningList", "havingQual", "onConflict", "limitCount", "limitOffset", "rtable"):
            value = level.query.fields.get(name)
            for node in walk(value if name != "rtable" else [e.functions for e in level.query.many("rtable")], into_queries=False):
                if node.kind == "SUBLINK":
                    yield from self._levels(Level(node.subselect, around, lateral=True, name="a subquery"))

    def _learn(self, level: Level) -> None:
        tree = level.query.jointree
        if isinstance(tree, Node):
            self._learn_tree(level, tree)
        for number, entry in enumerate(level.query.many("rtable"), 1):
            if entry.number("rtekind") == SUBQUERY and isinstance(entry.subquery, Node):
                self._learn_columns(level, number, entry.subquery)
            if entry.number("rtekind") == CTE:
                self._learn_part(level, number, entry)

    def _learn_columns(self, level: Level, number: int, below: Node) -> None:
        inner = next(each for each in self.levels if each.query is below)
        for place, target in enumerate((each for each in below.many("targetList") if not each.true("resjunk")), 1):
            one, other = ("column", id(level.query), number, place), self._key(inner, target.expr)
            if other is not None:
                self.together.join(one, other)
                if not _closed(below):
                    self.known.join(one, other)

    def _learn_part(self, level: Level, number: int, entry: Node) -> None:
        """A part of a `WITH` hands on what it says to be equal, though no constant: it may be computed before the rest."""
        home = level.of(entry.number("ctelevelsup"))
        part = next((each for each in home.query.many("cteList") if each.ctename == entry.ctename), None)
        inner = next((each for each in self.levels if part is not None and each.query is part.ctequery), None)
        if inner is None:
            return
        columns = (
            inner.query.many("returningList") if inner.query.number("commandType") != SELECT else inner.query.many("targetList")
        )
        for place, target in enumerate((each for each in columns if not each.true("resjunk")), 1):
            key = self._key(inner, target.expr)
            if key is not None:
                self.together.join(("column", id(level.query), number, place), key)

    def _learn_tree(self, level: Level, tree: Node) -> None:
        if tree.kind == "FROMEXPR":
            self._learn_quals(level, tree.quals)
            for each in tree.many("fromlist"):
                self._learn_tree(level, each)
        elif tree.kind == "JOINEXPR":
            if tree.number("jointype") == INNER:
                self._learn_quals(level, tree.quals)
            elif tree.number("jointype") == LEFT and isinstance(tree.quals, Node):
                self._left.append((level, tree.rarg, tree.quals))
            for side in (tree.larg, tree.rarg):
                self._learn_tree(level, side)

    def _learn_quals(self, level: Level, quals: Any) -> None:
        for one, other, outside in self._equals(level, quals):
            self.together.join(one, other)
            if not outside or _exists(level):
                self.known.join(one, other)

    def _learn_left(self, level: Level, inner: Node, quals: Node) -> None:
        """What a LEFT JOIN says of its right side: equal to a constant there, if the left side is one."""
        right = _tables_in(inner)
        for one, other, outside in self._equals(level, quals):
            self.together.join(one, other)
            for here, there in ((one, other), (other, one)):
                if here[0] == "column" and here[2] in right and self.known.find(there)[0] == "value" and not outside:
                    self.known.join(here, there)

    def _equals(self, level: Level, quals: Any) -> Iterator[tuple[Key, Key, bool]]:
        """Pairs that a condition says to be equal, and whether one of them belongs to a query around it."""
        if isinstance(quals, list):
            for each in quals:
                yield from self._equals(level, each)
        elif isinstance(quals, Node) and quals.kind == "BOOLEXPR" and quals.boolop == "and":
            yield from self._equals(level, quals.args)
        elif isinstance(quals, Node) and quals.kind == "OPEXPR" and self.judge_.catalogue.operators[quals.number("opno")][0] == "=":
            one, other = (self._key(level, each) for each in quals.args)
            if one is not None and other is not None:
                yield one, other, any(node.number("varlevelsup") > 0 for node in walk(quals.args) if node.kind == "VAR")

    def _key(self, level: Level, node: Any) -> Key | None:
        while isinstance(node, Node) and node.kind == "RELABELTYPE":
            node = node.arg
        if not isinstance(node, Node):
            return None
        if node.kind == "PARAM" and node.number("paramkind") == 0:
            return ("value", "parameter", node.number("paramid"))
        if node.kind == "CONST":
            return ("value", "constant", node.constvalue)
        if node.kind != "VAR":
            return None
        home = level.of(node.number("varlevelsup"))
        entry = home.entry(node.number("varno"))
        if entry.number("rtekind") == JOIN:
            return self._key(home, entry.many("joinaliasvars")[node.number("varattno") - 1])
        return ("column", id(home.query), node.number("varno"), node.number("varattno"))

    # ── the judgement ────────────────────────────────────────────────────────────────────────────────────────────────

    def judge(self) -> list[Found]:
        """Everything that is wrong with it."""
        tables = list(self._distributed())
        found = list(self._local_joins())
        if not tables:
            return found
        strict = any(self._writes(level) or self._locks(level) for level in self.levels)
        loose = [(level, number) for level, number in tables if not self._bound(level, number)]
        if strict:
            found += [Found("merchant", f"{self._named(*each)} in {each[0].name}") for each in loose]
        elif loose:
            found += self._not_together(tables)
            found += self._not_for_all()
        for level in self.levels:
            if self._writes(level):
                found += self._part(level)
        return [*found, *self._order()]

    def _distributed(self) -> Iterator[tuple[Level, int]]:
        for level in self.levels:
            for number, entry in enumerate(level.query.many("rtable"), 1):
                if self.judge_.kind(entry) == "distributed":
                    yield level, number

    def _named(self, level: Level, number: int) -> str:
        return self.judge_.table(level.entry(number))

    def _column(self, level: Level, number: int) -> Key:
        return ("column", id(level.query), number, self.judge_.merchant_at[level.entry(number).number("relid")])

    def _bound(self, level: Level, number: int) -> bool:
        query = level.query
        if query.number("commandType") == INSERT and query.number("resultRelation") == number:
            return self._inserts_for_one(level, number)
        return self.known.find(self._column(level, number))[0] == "value"

    def _inserts_for_one(self, level: Level, number: int) -> bool:
        column = self.judge_.merchant_at[level.entry(number).number("relid")]
        target = next((each for each in level.query.many("targetList") if each.number("resno") == column), None)
        key = self._key(level, target.expr) if target is not None else None
        return key is not None and (self.known.find(key)[0] == "value" or self.together.find(key)[0] == "value")

    def _writes(self, level: Level) -> bool:
        query = level.query
        target = query.number("resultRelation")
        return query.number("commandType") != SELECT and target > 0 and self.judge_.kind(level.entry(target)) == "distributed"

    def _locks(self, level: Level) -> bool:
        rows = [level.entry(mark.number("rti")) for mark in level.query.many("rowMarks")]
        return any(self.judge_.kind(entry) == "distributed" for entry in rows)

    def _local_joins(self) -> Iterator[Found]:
        for level in self.levels:
            kinds = {self.judge_.kind(entry): self.judge_.table(entry) for entry in level.query.many("rtable")}
            target = level.query.number("resultRelation")
            if target and level.query.number("commandType") == INSERT:
                kinds.pop(self.judge_.kind(level.entry(target)), None)
            if {"distributed", "local"} <= set(kinds):
                yield Found("join", f"{kinds['local']} stays on one server, {kinds['distributed']} does not")
            locked = [level.entry(mark.number("rti")) for mark in level.query.many("rowMarks")]
            if level.around and any(self.judge_.kind(entry) == "reference" for entry in locked):
                yield Found("join", "a table that is everywhere is locked inside another query")

    def _not_together(self, tables: list[tuple[Level, int]]) -> Iterator[Found]:
        """Tables that are read beside each other and do not meet on the merchant."""
        for level in self.levels:
            here = [each for each in tables if each[0] is level]
            sets = {self.together.find(self._column(*each)) for each in here}
            if len(sets) > 1:
                yield Found("join", f"{', '.join(sorted(self._named(*each) for each in here))} not on the merchant")
            for outer in level.around[:1] if level.lateral and _looks_out(level) else ():
                theirs = {self.together.find(self._column(*each)) for each in tables if each[0] is outer}
                if sets and theirs and not sets & theirs:
                    yield Found("join", f"{level.name} and what is around it, not on the merchant")

    def _not_for_all(self) -> Iterator[Found]:
        """What cannot be asked of all servers at once."""
        for level in self.levels:
            if level.query.true("hasRecursive"):
                yield Found("recursive", level.name)
            told = level.query.many("targetList")
            asks = any(node.kind == "QUERY" for node in walk(told))
            if level.around and not level.query.many("rtable") and asks and self.judge_.changeable(told):
                yield Found("alone", f"{level.name} has no FROM, and asks for the present moment")

    def _order(self) -> Iterator[Found]:
        """Parts that would see what an earlier one has just written, where one server would show them how it was before."""
        parts = [part.ctequery for part in self.query.many("cteList")]
        if not any(part.number("commandType") == INSERT for part in parts):
            return
        written: set[str] = set()
        for part in [*parts, Node("QUERY", {**self.query.fields, "cteList": None})]:
            tables = {self._named_in(entry) for node in walk(part) if node.kind == "RANGETBLENTRY" for entry in [node]} - {None}
            target = part.number("resultRelation") if part.number("commandType") != SELECT else 0
            mine = self._named_in(part.many("rtable")[target - 1]) if target else None
            first = (
                part.number("commandType") == INSERT
                and sum(self._named_in(node) == mine for node in walk(part) if node.kind == "RANGETBLENTRY") == 1
            )
            for table in sorted(each for each in tables & written if each is not None and not (first and each == mine)):
                yield Found("order", f"{table} is read behind a part that writes it")
            written |= {mine} if mine else set()

    def _named_in(self, entry: Node) -> str | None:
        return self.judge_.table(entry) if self.judge_.kind(entry) == "distributed" else None

    def _part(self, level: Level) -> Iterator[Found]:
        """The rules for one part that writes."""
        query, judge = level.query, self.judge_
        kind, table = query.number("commandType"), self._named(level, query.number("resultRelation"))
        quals = query.jointree.quals if isinstance(query.jointree, Node) else None
        if judge.changeable(query.many("returningList")):
            yield Found("returning", f"{table}: the present moment, or the like, in RETURNING")
        if kind in {UPDATE, DELETE}:
            own = [self._pulled_up(level, each) for each in (query.many("targetList"), quals)]
            if why := judge.irreducible(own):
                yield Found("update", f"{table}: {why}")
            if any(judge.own_volatility(node) == "v" for node in walk(own, into_queries=False)):
                yield Found("volatile", table)
        if kind == INSERT:
            yield from self._conflict(query, table)
            if query.true("hasSubLinks") and not any(each.number("rtekind") in {SUBQUERY, CTE} for each in query.many("rtable")):
                yield Found("insert", f"{table}: a subquery beside VALUES")

    def _pulled_up(self, level: Level, node: Any) -> Any:
        """An expression as the planner sees it: with what simple subqueries say in the place of their columns."""
        if isinstance(node, list):
            return [self._pulled_up(level, each) for each in node]
        if not isinstance(node, Node) or node.kind == "QUERY":
            return node
        if node.kind == "VAR" and node.number("varlevelsup") == 0 and node.number("varattno") > 0:
            entry = level.entry(node.number("varno"))
            if entry.number("rtekind") == SUBQUERY and not _whole(entry.subquery):
                inner = next(each for each in self.levels if each.query is entry.subquery)
                return self._pulled_up(inner, inner.query.many("targetList")[node.number("varattno") - 1].expr)
        return Node(node.kind, {name: self._pulled_up(level, value) for name, value in node.fields.items()})

    def _conflict(self, query: Node, table: str) -> Iterator[Found]:
        if isinstance(query.onConflict, Node):
            sets = [each.expr for each in query.onConflict.many("onConflictSet") if each.expr.kind != "VAR"]
            if self.judge_.changeable([*sets, query.onConflict.onConflictWhere, query.onConflict.arbiterWhere]):
                yield Found("conflict", f"{table}: the present moment, or the like, in ON CONFLICT")


def _type(node: Any) -> int:
    return next((node.number(name) for name in _TYPED if node.fields.get(name)), 0) if isinstance(node, Node) else 0


def _closed(query: Node) -> bool:
    """Whether no constant passes between a query and the one around it."""
    return bool(query.limitCount or query.limitOffset or query.setOperations or query.true("hasWindowFuncs"))


def _whole(query: Node) -> bool:
    """Whether the planner leaves it as it is: then what it says has been said before the query around it begins."""
    return _closed(query) or query.true("hasAggs") or bool(query.many("groupClause") or query.many("distinctClause"))


def _exists(level: Level) -> bool:
    """Whether the planner makes a join of it: then what it says of columns around it is as good as said there."""
    return level.lateral and not _whole(level.query) and not level.query.many("cteList")


def _looks_out(level: Level) -> bool:
    return any(node.kind == "VAR" and node.number("varlevelsup") > 0 for node in walk(level.query, into_queries=False))


def _tables_in(tree: Node) -> set[int]:
    return {node.number("rtindex") for node in walk(tree) if node.kind in {"RANGETBLREF", "JOINEXPR"}}
