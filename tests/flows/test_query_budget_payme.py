"""Payme's calls have a budget of statements, too, and a hundred ambassadors cost no more of them than one."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests import rig
from tests.flows.test_query_budget import SIZES, Counted, signed_in

from kassa import catalog, demo
from kassa.bootstrap import assemble
from kassa.catalog import Publication
from kassa.kit import clock
from kassa.kit.money import Money
from kassa.settings import Settings

BUDGET = {
    "put": 5, "check out": 8, "allow": 1, "create": 6, "create again": 2, "perform": 11, "perform again": 1, "look": 1, "keep": 2,
    "cancel": 20, "cancel again": 1, "list": 4,
}  # fmt: skip
KEY = "x7%Kassa&Tests?Only@Key#36$Chars=000"
BASIC = {"Authorization": f"Basic {base64.b64encode(f'Paycom:{KEY}'.encode()).decode()}"}


@pytest.fixture
async def counted(database_server: rig.DatabaseServer, tmp_path: Path) -> AsyncIterator[Counted]:
    settings = Settings.load(
        True,
        DATABASE_URL=database_server.fresh(),
        JWT_SECRET=rig.JWT_SECRET,
        KASSA_HOME=tmp_path,
        PAYME_ID="65a1b2c3d4e5f60718293a4b",
        PAYME_KEY=KEY,
    )
    async with assemble(settings) as kassa:
        await kassa.seed()
        ambassadors = [Publication(str(1000 + place), "An ambassador", Money(500, "UZS"), None) for place in range(100)]
        async with kassa.ctx.db.transaction("ambassadors") as tx:
            await catalog.publish(tx, demo.AMBASSADORS, ambassadors)
        transport = httpx2.ASGITransport(kassa.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://kassa") as client:
            (await client.get("/cart", headers=signed_in())).raise_for_status()  # the channel is remembered from here on
            yield Counted(kassa, client)


class Paycom:
    """Payme's calls about one purchase, each with the statements that it took."""

    def __init__(self, counted: Counted, bought: dict[str, Any]) -> None:
        self.counted = counted
        self.bought = bought
        self.payme_id = bought["purchase_id"].replace("-", "")[-24:]

    async def calls(self, method: str, **params: Any) -> int:
        """How many statements one call took; it was answered with a result."""
        body = {"method": method, "id": 1, "params": params}
        statements, said = await self.counted.count("POST", "/payme/webhook", 200, json=body, headers=BASIC)
        assert "result" in said, said
        return statements

    async def round(self) -> dict[str, int]:
        """Everything that Payme does with one purchase, and repetitions."""
        now = int((await clock.now(self.counted.kassa.ctx.db)).timestamp() * 1000)
        wanted = {"amount": self.bought["amount"], "account": {"order_id": self.bought["purchase_id"]}}
        mine = {"id": self.payme_id}
        return {
            "allow": await self.calls("CheckPerformTransaction", **wanted),
            "create": await self.calls("CreateTransaction", **mine, **wanted, time=now),
            "create again": await self.calls("CreateTransaction", **mine, **wanted, time=now),
            "perform": await self.calls("PerformTransaction", **mine),
            "perform again": await self.calls("PerformTransaction", **mine),
            "look": await self.calls("CheckTransaction", **mine),
            "keep": await self.calls("SetFiscalData", **mine, type="PERFORM", fiscal_data={"receipt_id": 1, "status_code": 0}),
            "cancel": await self.calls("CancelTransaction", **mine, reason=5),
            "cancel again": await self.calls("CancelTransaction", **mine, reason=5),
            "list": await self.calls("GetStatement", **{"from": now, "to": now}),
        }


async def bought(counted: Counted, lines: int) -> tuple[list[int], Any]:
    """A purchase of so many ambassadors; the statements of the last line and of the checkout."""
    buyer, putting = signed_in(), 0
    for place in range(lines):
        putting, _ = await counted.count("POST", "/cart/items", 201, json={"ambassador_id": 1000 + place}, headers=buyer)
    checking_out, said = await counted.count("POST", "/checkout", 201, headers=buyer)
    return [putting, checking_out], said


async def test_a_purchase_until_its_money_is_back(counted: Counted) -> None:
    taken = []
    for lines in SIZES:
        statements, purchase = await bought(counted, lines)
        taken.append({"put": statements[0], "check out": statements[1]} | await Paycom(counted, purchase).round())
    one, hundred = taken
    assert one == hundred
    assert {name: one[name] for name in one if one[name] > BUDGET[name]} == {}
    assert one.keys() == BUDGET.keys()
