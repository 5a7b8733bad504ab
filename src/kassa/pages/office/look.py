"""What the looks of the back office share: whose rows are meant, where a page of a list begins, what waits, links."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary

from kassa import desk, timeline
from kassa.api.answers import Answer
from kassa.api.call import Call
from kassa.api.errors import NotHere
from kassa.desk.model import At
from kassa.kit import ids
from kassa.kit.database import Database
from kassa.pages.office.session import Staff, office_page

_LONGEST = 300
_COUNTED_FOR_S = 5.0
_kept: WeakKeyDictionary[Database, dict[str | None, tuple[float, int]]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Look:
    """One look: who looks, at which merchant's rows, and how its pages are linked."""

    call: Call
    who: Staff
    merchant_id: str
    asked: Mapping[str, str] = field(default_factory=dict)

    @property
    def reader(self) -> Database:
        """Where questions are asked."""
        return self.call.ctx.db

    def link(self, path: str, **more: object) -> str:
        """The address of an office page, with what stays as it is: the merchant, where it is not the reader's own."""
        query = {} if self.merchant_id == self.who.merchant_id else {"merchant": self.merchant_id}
        query |= {name: str(value) for name, value in more.items() if value not in {None, ""}}
        return quote(path, safe="/:~") + (f"?{urlencode(query)}" if query else "")

    def of(self, merchant_id: str) -> Look:
        """The same look at another merchant's rows."""
        return Look(self.call, self.who, merchant_id, self.asked)

    def at(self, *, by_id: bool = True) -> At:
        """Where the list begins; a place that is none is the beginning."""
        newer, older = (_place(self.asked.get(name), by_id=by_id) for name in ("newer", "older"))
        return At(None if newer else older, newer)

    async def page(self, template: str, *, status: int = 200, **values: Any) -> Answer:
        """A page of the back office, with how much waits beside *Doubt*."""
        counts = {"/office/doubt": await waiting_count(self.reader, self.who.reach)}
        return office_page(
            self.call, self.who, template, status=status, counts=counts, link=self.link, merchant_id=self.merchant_id, **values
        )


def look_of(call: Call, who: Staff) -> Look:
    """A look at the merchant that the address names (`merchant`), if the reader may see others; else at the reader's own."""
    asked = {name: value for name, value in call.asked().items() if len(value) <= _LONGEST and value.isprintable()}
    wanted = asked.get("merchant", "") if who.reach is None else ""
    return Look(call, who, wanted or who.merchant_id, asked)


async def look_at(call: Call, who: Staff, name: str) -> tuple[Look, uuid.UUID]:
    """A look at what the path names by its id, wherever the reader may look. Raises `NotHere`."""
    look, wanted = look_of(call, who), id_in(call, name)
    if who.reach is not None:
        return look, wanted
    merchant_id = await timeline.whose(look.reader, wanted)
    return (look.of(merchant_id) if merchant_id else look), wanted


def id_in(call: Call, name: str) -> uuid.UUID:
    """The id at a place of the path. Raises `NotHere` for what is none."""
    found = ids.parse(call.in_path[name])
    if found is None:
        raise NotHere
    return found


async def waiting_count(db: Database, reach: str | None) -> int:
    """How much waits for a person; at most 5 seconds old."""
    kept = _kept.setdefault(db, {})
    at, number = kept.get(reach, (-_COUNTED_FOR_S, 0))
    if time.monotonic() - at >= _COUNTED_FOR_S:
        number = sum(each.count for each in await desk.count_waiting(db, reach))
        kept[reach] = (time.monotonic(), number)
    return number


def _place(text: str | None, *, by_id: bool) -> str | None:
    if not text:
        return None
    return text if not by_id or ids.parse(text) is not None else None
