"""What the user service may say of a buyer, and what of it is believed (orders contract, section 7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from kassa.kit.neighbour import Answer, BreakerOpen, NoAnswer, NotSent
from kassa.notices import Contact, Users

TOKEN = "a.b.c"
ASHA = {"id": 7, "email": "asha@example.com", "name": "Asha Rao"}


@dataclass
class Wire:
    """A user service that says one thing, and remembers what it was asked."""

    answer: Answer | Exception
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def call(self, method: str, path: str, **sent: Any) -> Answer:
        self.asked.append({"method": method, "path": path, **sent})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def saying(body: Any, status: int = 200) -> Wire:
    return Wire(Answer(status, body, {}))


async def said(wire: Wire, buyer_id: str = "7") -> Contact | None:
    return await Users(wire).contact(buyer_id, TOKEN)  # type: ignore[arg-type]


async def test_it_is_asked_for_the_buyer_with_the_callers_own_token() -> None:
    wire = saying(ASHA)
    await said(wire)
    [asked] = wire.asked
    assert (asked["method"], asked["path"], asked["timeout_s"]) == ("GET", "/api/users/7", 1.0)
    assert asked["headers"] == {"Authorization": "Bearer a.b.c"}
    assert "key" not in asked


@pytest.mark.parametrize(
    "body",
    [ASHA, {"success": True, "data": ASHA}, {**ASHA, "id": "7"}, {**ASHA, "role": "admin", "extra": [1]}],
)
async def test_both_shapes_are_understood(body: Any) -> None:
    assert await said(saying(body)) == Contact("7", "asha@example.com", "Asha Rao")


async def test_a_name_may_be_missing_or_bad() -> None:
    assert await said(saying({"id": 7, "email": "asha@example.com"})) == Contact("7", "asha@example.com", None)
    assert await said(saying({**ASHA, "name": "Asha\r\nBcc: x"})) == Contact("7", "asha@example.com", None)
    assert await said(saying({**ASHA, "name": ["Asha"]})) == Contact("7", "asha@example.com", None)


@pytest.mark.parametrize(
    "wire",
    [
        saying(ASHA, 404),
        saying(ASHA, 401),
        saying(ASHA, 500),
        saying(ASHA, 302),
        saying(None),
        saying({}),
        saying({"success": False, "message": "no"}),
        saying({"success": True, "data": [ASHA]}),
        saying({**ASHA, "id": 8}),
        saying({**ASHA, "id": None}),
        saying({**ASHA, "email": "asha@example.com\r\nBcc: all@example.com"}),
        saying({**ASHA, "email": None}),
        saying({**ASHA, "email": {"address": "asha@example.com"}}),
        Wire(NotSent()),
        Wire(NoAnswer()),
        Wire(BreakerOpen()),
    ],
    ids=lambda wire: str(wire.answer)[:60],
)
async def test_whatever_is_wrong_with_an_answer_it_is_none(wire: Wire) -> None:
    assert await said(wire) is None


async def test_a_good_answer_is_kept_and_a_bad_one_is_not() -> None:
    wire = Wire(NoAnswer())
    users = Users(wire)  # type: ignore[arg-type]
    assert await users.contact("7", TOKEN) is None
    wire.answer = Answer(200, ASHA, {})
    for _ in range(3):
        assert (await users.contact("7", TOKEN) or Contact()).email == "asha@example.com"
    assert len(wire.asked) == 2
    wire.answer = Answer(200, {"id": 8, "email": "bob@example.com"}, {})
    assert (await users.contact("8", TOKEN) or Contact()).email == "bob@example.com", "nobody gets another's answer"


async def test_an_answer_is_kept_for_five_minutes() -> None:
    now = [1000.0]
    wire = saying(ASHA)
    users = Users(wire, clock=lambda: now[0])  # type: ignore[arg-type]
    for at, asked in ((1000.0, 1), (1299.0, 1), (1301.0, 2)):
        now[0] = at
        await users.contact("7", TOKEN)
        assert len(wire.asked) == asked


@pytest.mark.parametrize(("buyer", "path"), [("a/b", "/api/users/a%2Fb"), ("ä b?c#d", "/api/users/%C3%A4%20b%3Fc%23d")])
async def test_an_odd_id_stays_one_part_of_the_path(buyer: str, path: str) -> None:
    wire = saying({"id": buyer, "email": "x@example.com"})
    assert await said(wire, buyer) is not None
    assert wire.asked[0]["path"] == path


@pytest.mark.parametrize("buyer", [".", ".."])
async def test_an_id_that_would_be_a_step_in_the_path_is_not_asked_for(buyer: str) -> None:
    wire = saying(ASHA)
    assert await said(wire, buyer) is None
    assert wire.asked == []
