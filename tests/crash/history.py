"""What callers asked and what they were told, and the judgement of it: a time-out is *unknown*, which may be either, but never both or neither.

Every question and its answer is written down as it happens, by whoever asks. At the end, when all has come to rest, the history is held
against the tables: what was acknowledged is there, what was refused is not, a key has one answer and one effect, and nobody was shown
what belongs to somebody else.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests import rig

from . import judging
from .asking import Ask, Broken, Said, is_final, speak

BUYS = {("POST", "/checkout/process"), ("POST", "/api/orders")}
Scope = tuple[str, str, str]
"""Who asked, for what, under which key."""
_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OWNERS = """
    SELECT order_id::text AS id, buyer_id AS owner FROM orders WHERE buyer_id IS NOT NULL
    UNION ALL SELECT checkout_id::text, coalesce(buyer_id, idempotency->>'key') FROM checkouts WHERE coalesce(buyer_id, idempotency->>'key') IS NOT NULL
    UNION ALL SELECT payment_id::text, coalesce(buyer_id, idempotency->>'key') FROM checkouts WHERE coalesce(buyer_id, idempotency->>'key') IS NOT NULL
"""


@dataclass
class Op:
    """One question. `said` is None where nobody knows what became of it."""

    ask: Ask
    began: float
    ended: float | None = None
    said: Said | None = None


@dataclass
class History:
    """Everything that was asked, in the order in which it began. Threads may write at the same time."""

    ops: list[Op] = field(default_factory=list)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, server: rig.Server, ask: Ask, timeout_s: float = 15) -> Said | None:
        """Ask once; None when there was no answer."""
        op = Op(ask, time.monotonic())
        with self._turn:
            self.ops.append(op)
        try:
            op.said = speak(server, ask, timeout_s)
        except (Broken, TimeoutError):
            return None
        finally:
            op.ended = time.monotonic()
        return op.said

    def insist(self, servers: Sequence[rig.Server], ask: Ask, within_s: float = 30, timeout_s: float = 15) -> Said | None:
        """Ask, of one server after the other, until there is a final answer; None when there was none in time."""
        until, turn = time.monotonic() + within_s, 0
        while time.monotonic() < until:
            said = self.ask(servers[turn % len(servers)], ask, timeout_s)
            if said is not None and is_final(said, ask.good):
                return said
            turn += 1
            time.sleep(0.05)
        return None

    @property
    def heard(self) -> Counter[int]:
        """How often each status was heard; 0 stands for no answer."""
        return Counter(op.said.status if op.said else 0 for op in self.ops)

    def slowest(self, share: float = 0.95) -> float:
        """Seconds within which this share of all questions was answered or given up."""
        took = sorted(op.ended - op.began for op in self.ops if op.ended is not None)
        return took[min(len(took) - 1, round(share * (len(took) - 1)))] if took else 0.0

    def bought(self) -> int:
        """How many purchases were confirmed, each counted once."""
        return sum(said is not None and said.status in {200, 201} for _, said in self._purchases().values())

    def judge(self, server: rig.Server) -> list[str]:
        """Everything in which tables and history do not agree. Ask it when all is at rest."""
        found = judging.checkouts_of(server)
        wrong = self._one_answer_each()
        for (_, route, key), (user, said) in self._purchases().items():
            wrong += _purchase(f"{route} {key}", found.get(key, []) or found.get(str(user), []), said)
        return wrong + self._strangers(server)

    def _final(self) -> dict[Scope, list[tuple[Ask, Said]]]:
        """Final answers by caller, route and key."""
        answers: dict[Scope, list[tuple[Ask, Said]]] = defaultdict(list)
        for op in self.ops:
            if op.ask.key and op.said and is_final(op.said, op.ask.good) and op.said.status < 429:
                answers[_scope(op.ask)].append((op.ask, op.said))
        return answers

    def _one_answer_each(self) -> list[str]:
        wrong = []
        for scope, answers in self._final().items():
            kept = [said for _, said in answers if said.status in {200, 201}]
            if len({said.raw for said in kept}) > 1:
                wrong.append(f"{scope} was answered in {len({said.raw for said in kept})} ways")
        return wrong

    def _purchases(self) -> dict[Scope, tuple[int | None, Said | None]]:
        """Who asked for each purchase, and the first final answer; None where there was none."""
        final = self._final()
        told: dict[Scope, tuple[int | None, Said | None]] = {}
        for op in self.ops:
            if (op.ask.method, op.ask.path) in BUYS and op.ask.key:
                answers = final.get(_scope(op.ask))
                told[_scope(op.ask)] = op.ask.user, answers[0][1] if answers else None
        return told

    def _strangers(self, server: rig.Server) -> list[str]:
        owners = {row["id"]: row["owner"] for row in server.sql(_OWNERS)}
        wrong = []
        for op in self.ops:
            if op.said is None or op.ask.role or op.ask.signed or op.ask.cashbox:
                continue
            mine = {str(op.ask.user), op.ask.key}
            others = {each.decode() for each in _ID.findall(op.said.raw)} & owners.keys()
            wrong += [f"{op.ask.method} {op.ask.path} of {mine} shows {each}" for each in others if owners[each] not in mine]
        return wrong


def _scope(ask: Ask) -> Scope:
    caller = ask.user or ask.api_key or (ask.body or {}).get("customer_email")
    return str(caller), f"{ask.method} {ask.path}", ask.key or ""


def _purchase(name: str, mine: Sequence[Mapping[str, Any]], said: Said | None) -> list[str]:
    """One purchase: what its caller was told against what there is. Whether each checkout is whole in itself is judged elsewhere."""
    standing = [row for row in mine if row["status"] == "completed" and row["order_status"] != "cancelled"]
    if len(standing) > 1:
        return [f"{name}: {len(standing)} purchases stand"]
    if (
        said is not None
        and said.status in {200, 201}
        and not any(row["status"] == "completed" for row in mine)
        and not _is_open(said)
    ):
        return [f"{name}: told {said.status}, and there is {[(row['status'], row['order_status']) for row in mine]}"]
    if said is not None and 400 <= said.status < 500 and standing:
        return [f"{name}: told {said.status} {said.raw[:200]!r}, and a purchase stands"]
    return []


def _is_open(said: Said) -> bool:
    """Whether the order was answered before it was decided: `pending` promises nothing but that it will be."""
    data = said.json.get("data")
    return isinstance(data, dict) and data.get("status") == "pending"
