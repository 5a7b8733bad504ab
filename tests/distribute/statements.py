"""Every statement that the program can say to its database, found in its own text.

A statement stands where somebody asks: `tx.row(sql, …)`, `db.execute(sql, …)`, `tx.later(write, …)`. Nearly everywhere it is a text that
its module alone decides; that is computed here. Where it depends on more, the function is called with somebody who only listens.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import itertools
import re
import sys
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from kassa.kit.writes import Write, compose

SOURCE = Path(__file__).resolve().parents[2] / "src"
ASKS = {"rows": 0, "row": 0, "value": 0, "execute": 0, "later": 0, "at_once": 1}
"""Who asks, and the place of the statement among what is given."""
_CONTROL = re.compile(r"(BEGIN|COMMIT|ROLLBACK|SET LOCAL|SET TRANSACTION)\b")
"""What begins, ends or sets up a transaction, and asks for no row."""
ELSEWHERE = ("sandbox/", "reconcile/spool.py", "reconcile/read_book.py")
"""What has a SQLite of its own."""
DOORS = {
    ("kit/database.py", "row"): "hands on what it is given, as do the others here",
    ("kit/database.py", "rows"): "",
    ("kit/database.py", "value"): "",
    ("kit/database.py", "execute"): "",
    ("distribute.py", "distribute"): "it makes the tables what they are judged as",
    ("kit/clock.py", "own"): "about `clock`, which stays on one server",
    ("kit/statistics.py", "look_at_grown_tables"): "ANALYZE is no question",
    ("verify/run.py", "reading"): "SET LOCAL is no question",
}
"""Askers whose statement is not theirs, or is none that reads or writes a row."""


@dataclass
class Statements:
    """What was found: each statement with where it stands, and the functions whose statements depend on more than their module."""

    said: dict[str, str] = field(default_factory=dict)
    open: set[tuple[str, str]] = field(default_factory=set)

    def note(self, sql: str | Write, where: str) -> None:
        if isinstance(sql, str) and _CONTROL.match(sql):
            return
        self.said.setdefault(compose((sql,)) if isinstance(sql, Write) else sql, where)


def written() -> Statements:
    """All statements that their modules decide, and the askers that are left."""
    found = Statements()
    for path in sorted((SOURCE / "kassa").rglob("*.py")):
        name = str(path.relative_to(SOURCE / "kassa"))
        if "migrations" in path.parts or name.startswith(ELSEWHERE):
            continue
        tree = ast.parse(path.read_text())
        asked = list(_asked(tree))
        if asked:
            module = importlib.import_module(".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"))
            for function, said in asked:
                _note(found, module, name, function, said)
    return found


def _asked(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKS:
                    place = ASKS[node.func.attr]
                    if len(node.args) > place:
                        yield function.name, node.args[place]


def _note(found: Statements, module: Any, name: str, function: str, said: ast.expr) -> None:
    for each in [said.body, said.orelse] if isinstance(said, ast.IfExp) else [said]:
        try:
            sql = eval(compile(ast.Expression(each), name, "eval"), dict(vars(module)))
        except NameError:  # a name of the function's own
            sql = None
        if isinstance(sql, str | Write):
            found.note(sql, f"{name}:{each.lineno} {function}")
        elif (name, function) not in DOORS:
            found.open.add((name, function))


# ── those that depend on more ────────────────────────────────────────────────────────────────────────────────────────


class Listener:
    """Stands where a database or a transaction is expected: notes what it is asked, by whom, and answers nothing."""

    def __init__(self, found: Statements) -> None:
        self.found, self.heard_from, self.ports = found, set[tuple[str, str]](), dict[type, Any]()
        self.db = self.database = self
        self.notes: dict[object, Any] = {}
        self.statements = 0

    async def rows(self, sql: str, *_: Any) -> list[Any]:
        self._hear(sql)
        return []

    async def row(self, sql: str, *_: Any) -> None:
        self._hear(sql)

    async def value(self, sql: str, *_: Any) -> int:
        self._hear(sql)
        return 0

    async def execute(self, sql: str, *_: Any) -> int:
        self._hear(sql)
        return 0

    async def later(self, write: Write, *_: Any) -> None:
        self._hear(write)

    async def at_once(self, _: str, sql: str, *__: Any, patience_s: float) -> None:
        assert patience_s
        self._hear(sql)

    def after_commit(self, *_: Any) -> None:
        """Nothing is committed."""

    @contextlib.asynccontextmanager
    async def transaction(self, *_: Any, **__: Any) -> AsyncIterator[Listener]:
        yield self

    def _hear(self, sql: str | Write) -> None:
        caller = sys._getframe(2)
        name = str(Path(caller.f_code.co_filename).relative_to(SOURCE / "kassa"))
        self.heard_from.add((name, caller.f_code.co_name))
        self.found.note(sql, f"{name}:{caller.f_lineno} {caller.f_code.co_name}")


async def spoken(found: Statements) -> set[tuple[str, str]]:
    """Have the askers that are left say all that they can say; returns those who said something."""
    listener = Listener(found)
    for work in itertools.chain(_of_the_desk(listener), _of_the_rooms(listener), _of_verify(listener), _of_reseal(listener)):
        with contextlib.suppress(
            AssertionError, TypeError, AttributeError, KeyError, IndexError
        ):  # whoever expects a row to be there
            await work
    return listener.heard_from


def _of_the_desk(listener: Any) -> Iterable[Any]:
    from tests.factories import SECRET

    from kassa.desk import doubt, lists, search
    from kassa.desk.model import At
    from kassa.kit.secrets import Keys

    for at in (At(), At(newer="a"), At(older="a")):
        for status in (None, "pending"):
            yield lists.orders(listener, "1", at, status=status)
            yield lists.payments(listener, "1", at, status=status)
        yield lists.products(listener, "1", "shop", at)
        for wanted in (None, "failed", "pending"):
            yield lists.deliveries(listener, "1", uuid.uuid4(), at, status=wanted)
        for reach in (None, "1"):
            yield lists.merchants(listener, reach, at)
    for largest in (False, True):
        yield doubt.list_waiting(listener, None, largest=largest)
    sought = search.Sought(
        "text", day=date(2026, 1, 1), id=uuid.uuid4(), email="a@b", amount=Decimal(10), currency="INR", last4="1111"
    )
    looks = search._Looks(listener, Keys(SECRET), "1", sought, datetime.now(UTC))
    for name in dir(search._Looks):
        if name.startswith("_by_"):
            yield getattr(looks, name)()


def _of_the_rooms(listener: Any) -> Iterable[Any]:
    from kassa import events
    from kassa.audit import store as audit
    from kassa.carts import store as carts
    from kassa.catalog import Channel, OfferHere
    from kassa.catalog import store as catalog
    from kassa.events import outbox
    from kassa.payments.requests import store as requests
    from kassa.staff import store as staff
    from kassa.webhooks import store as webhooks

    heres = OfferHere(counted=True), OfferHere(counted=False)
    channel = Channel("1", "shop", "INR", 5, frozenset(), frozenset())
    for here in heres:
        yield carts.read_offered(listener, "1", "shop", "ann", here)
        yield catalog.own_offers(listener, channel, ["mouse"], here)
    for offer in (_Anything(), *heres):
        yield carts.add_at_once(listener, "1", "shop", "ann", "mouse", 1, offer, None)
    for merchant in (None, "1"):
        yield audit.find_lines(listener, audit.Page(merchant_id=merchant))
    for typed in ("name", "a@b"):
        yield staff.account_called(listener, "1", typed)
    for reason in (None, "gone"):
        yield webhooks.set_status(listener, "1", uuid.uuid4(), reason)
    for statuses in ((), ("failed",)):
        yield webhooks.page(listener, "1", uuid.uuid4(), statuses, None, 10)
    for parts in fan_outs():
        listener.ports = {outbox.FanOut: outbox.FanOut(parts)}
        listener.notes = {outbox._KEY: [(uuid.uuid4(), events.Event("1", "order:1", "order.paid", {}))]}
        yield outbox._write(listener)
        yield requests.insert_and_tell(listener, "a", *[_Anything() for _ in range(2)], uuid.uuid4(), {}, 1.0)


def fan_outs() -> list[tuple[str, ...]]:
    """What bootstrap may have follow an event."""
    from kassa.notices import NOTICE_WRITTEN, NOTICE_WRITTEN_AFTER_ASKING
    from kassa.webhooks import delivery_made

    told = [delivery_made(wait) for wait in (0, 5)]
    return [(), (told[0],), (NOTICE_WRITTEN, told[0]), (NOTICE_WRITTEN_AFTER_ASKING, told[1])]


def _of_verify(listener: Any) -> Iterable[Any]:
    from kassa.verify import cards, model
    from kassa.verify.run import QUESTIONS

    for question in QUESTIONS:
        yield model.ask(listener, question)
        if question.walk is not None:
            key = tuple(range(len(question.walk.key)))
            yield model.ask(listener, question, model.Window(key, key))
            yield model.ask(listener, question, model.Window(keys=(key,)))
    for walk in model.WALKS:
        for after in (None, tuple(range(len(walk.key)))):
            yield model.next_bound(listener, walk, after, 10)
    for table in (cards.Table("payments", ("message",), ("metadata",), ("merchant_id", "payment_id"), has_merchant=True),):
        for question in cards._questions(table, "t.ctid >= '(0,0)'"):
            yield model.ask(listener, question)


def _of_reseal(listener: Any) -> Iterable[Any]:
    from kassa.kit import reseal
    from kassa.notices.address import RECIPIENTS
    from kassa.payments.payme.cashboxes import CASHBOX_KEYS
    from kassa.webhooks.sign import ENDPOINT_SECRETS

    for sealed in (reseal.ANSWERS, RECIPIENTS, CASHBOX_KEYS, *ENDPOINT_SECRETS):
        row = {name: "1" for name, _ in sealed.key} | {sealed.column: b"1"}
        for after in (None, row):
            yield reseal._page(listener, sealed, after)
        yield reseal._write(listener, _Anything(), sealed, [row])


class _Anything:
    """Whatever is asked of it, it is there: the values of a statement do not matter here."""

    def __getattr__(self, _: str) -> Any:
        return _Anything()

    def __call__(self, *_: Any, **__: Any) -> Any:
        return b"1"
