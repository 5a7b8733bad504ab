"""A town whose merchants are told through a broker: its relays and deliverers, what was recorded, and what lies in its queue."""

from __future__ import annotations

import base64
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import aio_pika
from tests import rig
from tests.flows.broker_town import count, drain

from kassa.events import Event, FanOut, record
from kassa.kit.bell import Bell
from kassa.kit.database import Database
from kassa.kit.secrets import Keys
from kassa.webhooks import DELIVERY_MADE, endpoints
from kassa.webhooks.model import Wish

from .field import Field
from .heard import judge as judge_heard
from .hooks import Heard, Hooks
from .nursery import Born
from .playing import Town
from .stories import merchant_of

SECRET = base64.b64encode(b"one secret for all of this post.").decode()
BACKLOG = """
    SELECT count(*)::int AS n FROM events e LEFT JOIN feeds f USING (merchant_id) WHERE e.place IS NULL OR e.place > coalesce(f.relayed, 0)
"""
EVENTS = "SELECT event_id::text AS id, subject, sequence FROM events WHERE merchant_id = $1"
_numbers = itertools.count(1)


@dataclass
class Post:
    """The town, the names of its exchange and queue, and the merchants' servers. Nobody works until `works` is called."""

    field: Field
    town: Town
    rooms: dict[str, str]
    hooks: Hooks

    @property
    def url(self) -> str:
        """Where the broker is."""
        return self.rooms["RABBITMQ_URL"]

    @property
    def queue(self) -> str:
        """The name of the queue."""
        return self.rooms["QUEUE_NAME"]

    def works(self, *only: str, crash_at: str = "", **others: Any) -> Born:
        """A process that does this work only (`relay`, `deliver`; all when none is named). One that dies at once is given as it is."""
        made = self.town.made("work", self.town.home / f"worker-{next(_numbers)}", crash_at, **{**self.rooms, **others})
        made.more = tuple(word for name in only for word in ("--only", name))
        made.start()
        return made

    def has_endpoint(self, number: int, path: str, merchant: str = "", **wish: Any) -> None:
        """This merchant (or that of this id) is told of everything at this path."""
        merchant = merchant or merchant_of(number)[0]

        async def put(db: Database) -> None:
            keys = Keys(base64.b64decode(SECRET))
            async with db.transaction("endpoint") as tx:
                await endpoints.add_endpoint(tx, keys, merchant, Wish(self.hooks.url + path, **{"events": ("*",), **wish}))

        self._with_database(put)

    def tell(self, number: int, subjects: Sequence[str]) -> None:
        """Record an event of this merchant for each of these subjects, one after the other, in one transaction."""
        self.tell_all({number: subjects})

    def tell_all(self, told: Mapping[int, Sequence[str]]) -> None:
        """The same for many merchants."""

        async def put(db: Database) -> None:
            for number, subjects in told.items():
                async with db.transaction("tell") as tx:
                    for subject in subjects:
                        record(tx, Event(merchant_of(number)[0], subject, "order.updated", {}))

        self._with_database(put)

    def _with_database(self, act: Callable[[Database], Any]) -> None:
        async def work() -> None:
            db = await Database.connect(self.town.dsn, size=1)
            try:
                db.ports |= {Bell: Bell(), FanOut: FanOut((DELIVERY_MADE,))}
                await act(db)
            finally:
                await db.close()

        rig.run_alone(work)

    def backlog(self) -> int:
        """How many events the broker has not confirmed."""
        return int(self.town.ask(BACKLOG)[0]["n"])

    def events_of(self, number: int) -> dict[str, tuple[str, int]]:
        """The events of a merchant: subject and number by id."""
        rows = rig.query(self.town.dsn, EVENTS, merchant_of(number)[0])
        return {row["id"]: (row["subject"], row["sequence"]) for row in rows}

    def relayed(self, within_s: float = 40) -> float:
        """Wait until the broker has confirmed everything; the seconds that it took. Raises AssertionError when it does not."""
        return self.wait(lambda: self.backlog() == 0, f"the broker was not given everything within {within_s:.0f} s", within_s)

    def wait(self, true: Callable[[], object], text: str, within_s: float = 20) -> float:
        """Wait until it is true; the seconds that it took. Raises AssertionError when it does not come true."""
        began = time.monotonic()
        while not true():
            assert time.monotonic() - began < within_s, text
            time.sleep(0.02)
        return time.monotonic() - began

    def end_leases(self) -> None:
        """What relays that died have led is free at once, and not after fifteen seconds."""
        self.town.ask(
            "UPDATE feeds SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL RETURNING merchant_id"
        )

    # ── the broker's side ────────────────────────────────────────────────────────────────────────────────────────────

    def taken_out(self) -> list[Any]:
        """Everything that lies in the queue, which is empty afterwards."""
        return rig.run_alone(partial(drain, self.url, self.queue))

    def lying(self, queue: str = "") -> int:
        """How many messages wait in the queue, or in the dead letters (`dead`)."""
        return rig.run_alone(partial(count, self.url, f"{self.queue}.{queue}" if queue else self.queue))

    def puts(self, messages: Sequence[tuple[bytes, Mapping[str, Any], str]]) -> None:
        """Put messages into the exchange: body, properties and routing key of each, in this order, each confirmed."""

        async def put() -> None:
            async with await aio_pika.connect(self.url) as connection:
                channel = await connection.channel()
                exchange = await channel.get_exchange(self.rooms["EXCHANGE_NAME"])
                for body, properties, key in messages:
                    await exchange.publish(aio_pika.Message(body, **properties), key)

        rig.run_alone(put)

    def puts_back(self, taken: Sequence[Any]) -> None:
        """Put messages that were taken out into the exchange again, in this order."""
        self.puts(
            [
                (each.body, {"message_id": each.message_id, "headers": each.headers, "delivery_mode": 2}, each.routing_key)
                for each in taken
            ]
        )

    # ── judgement ────────────────────────────────────────────────────────────────────────────────────────────────────

    def copies(self, number: int, taken: Sequence[Any]) -> tuple[list[str], int]:
        """What is wrong with the messages of a merchant among these, and how many were there twice: none missing, in the order of each subject."""
        events = self.events_of(number)
        mine = [str(each.message_id) for each in taken if str(each.message_id) in events]
        wrong = (
            []
            if set(mine) == events.keys()
            else [f"{len(events.keys() - set(mine))} of {len(events)} events never came to the broker"]
        )
        numbers: dict[str, list[int]] = defaultdict(list)
        for event_id in dict.fromkeys(mine):
            numbers[events[event_id][0]].append(events[event_id][1])
        wrong += [f"{subject} came in the order {each}" for subject, each in numbers.items() if each != sorted(each)]
        return wrong, len(mine) - len(set(mine))

    def requests(self, number: int) -> Counter[str]:
        """How often a merchant was asked to take each of its events."""
        events = self.events_of(number)
        return Counter(each.webhook_id for each in self.heard() if each.webhook_id in events)

    def heard(self) -> list[Heard]:
        """All that merchants have heard so far."""
        return list(self.hooks.heard)

    def judge(self, server: Born) -> None:
        """Nothing is owed any more, and all was heard in order."""
        self.field.judge(self.town, server, within_s=60)
        self.field.result.wrong += judge_heard(server, self.hooks)


def open_post(field: Field, merchants: int, url: str = "", **settings: Any) -> Post:
    """So many merchants with an account, and an exchange and a queue of their own, which the first process makes."""
    town = field.town(KASSA_SECRET=SECRET, WEBHOOK_TIMEOUT_S=2, **settings)
    return Post(field, town, field.rooms(url or None), town.listen(merchants))
