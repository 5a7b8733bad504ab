"""The figures of the shop: asked seldom, never waited for long, and no number where nothing is known."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kassa.api import gauges
from kassa.kit.context import Context

from .asking import KEYS, NoDatabase, an_app, ask


async def shown(app: Any) -> dict[tuple[str, ...], float]:
    heard = await ask(app, "GET", "/metrics", client="127.0.0.1")
    assert heard.status == 200
    families = text_string_to_metric_families(heard.body.decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


class Answers(NoDatabase):
    """A database that answers some questions, by what stands in them, and counts all of them."""

    def __init__(self, *, slow_s: float = 0.0, broken: str | None = None) -> None:
        super().__init__()
        self.questions: list[str] = []
        self.slow_s = slow_s
        self.broken = broken

    async def _ask(self, sql: str, answer: Any) -> Any:
        self.questions.append(sql)
        await asyncio.sleep(self.slow_s)
        if self.broken is not None and self.broken in sql:
            raise ZeroDivisionError
        return answer

    async def value(self, sql: str, *_: Any) -> Any:
        return await self._ask(sql, 1)

    async def rows(self, sql: str, *_: Any) -> Any:
        return await self._ask(sql, [])

    async def row(self, sql: str, *_: Any) -> Any:
        counts = dict.fromkeys(("pending", "processing", "retrying", "blocked", "dead"), 2)
        return await self._ask(sql, {"late_s": 7.0, **counts})


async def test_without_a_database_nothing_is_known_and_that_is_said() -> None:
    db = NoDatabase()
    found = await shown(an_app(db))
    assert found["kassa_database_up",] == found["kassa_ready",] == 0
    for name in (
        ("kassa_payments_in_doubt", "unknown"), ("kassa_payment_in_doubt_oldest_seconds", "parked"), ("kassa_refunds_open", "pending"),
        ("kassa_reservations_overdue",), ("kassa_deliveries_late_seconds",), ("kassa_dead_letters",), ("kassa_oldest_snapshot_seconds",),
    ):  # fmt: skip
        assert math.isnan(found[name]), name
    assert not [name for name in found if name[0].startswith(("kassa_cases", "kassa_queue", "kassa_invariant_breaches"))]
    assert db.asked == 1, "a database that is away is asked one thing"


async def test_what_is_known_is_shown() -> None:
    found = await shown(an_app(Answers()))
    assert found["kassa_database_up",] == found["kassa_ready",] == 1
    assert found["kassa_payments_in_doubt", "unknown"] == found["kassa_reservations_overdue",] == 0
    assert found["kassa_deliveries_late_seconds",] == 7
    assert found["kassa_deliveries", "blocked"] == found["kassa_dead_letters",] == 2
    assert found["kassa_pool_connections", "most"] == 16


async def test_however_many_scrape_the_database_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    db = Answers(slow_s=0.01)
    app = an_app(db)
    monkeypatch.setattr(gauges, "_GOOD_S", 60.0)
    await asyncio.gather(*(shown(app) for _ in range(20)))
    once = len(db.questions)
    assert once < 10
    await shown(app)
    assert len(db.questions) == once
    monkeypatch.setattr(gauges, "_GOOD_S", 0.0)
    await shown(app)
    assert len(db.questions) > once


async def test_a_question_that_fails_does_not_take_the_others_along() -> None:
    found = await shown(an_app(Answers(broken="FROM endpoints")))
    assert math.isnan(found["kassa_deliveries_late_seconds",])
    assert found["kassa_payments_in_doubt", "unknown"] == 0
    assert found["kassa_database_up",] == 1


async def test_a_database_that_is_slow_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "WITHIN_S", 0.05)
    began = asyncio.get_running_loop().time()
    found = await shown(an_app(Answers(slow_s=0.03)))
    assert asyncio.get_running_loop().time() - began < 2
    assert math.isnan(found["kassa_dead_letters",])


async def test_a_scraper_that_leaves_does_not_spoil_it_for_the_others() -> None:
    db = Answers(slow_s=0.05)
    made = gauges.Gauges(gauges.Readiness(_yes))
    ctx = Context(db=db, keys=KEYS)  # type: ignore[arg-type]
    leaves, stays = (asyncio.ensure_future(made.refresh(ctx)) for _ in range(2))
    await asyncio.sleep(0.01)
    leaves.cancel()
    await stays
    assert gauges.DATABASE_UP.collect()
    with pytest.raises(asyncio.CancelledError):
        await leaves


async def _yes() -> bool:
    return True
