"""How the plain service calls its neighbours: a new client each time."""

from __future__ import annotations

from typing import Any

import httpx2


class Declined(Exception):
    """A neighbour said no, or nothing."""


class Neighbours:
    """Payment, inventory and order service."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def pay(self, body: dict[str, Any]) -> str:
        """Charge the card; the transaction's id."""
        answer = await self._post("/payments/process", body)
        if answer.get("status") != "success":
            raise Declined("payment")
        return str(answer["transactionId"])

    async def deduct(self, items: list[dict[str, Any]]) -> None:
        """Take the stock."""
        if (await self._post("/inventory/deduct", {"items": items})).get("success") is not True:
            raise Declined("inventory")

    async def order(self, body: dict[str, Any]) -> str:
        """Make the order; its id."""
        return str((await self._post("/orders", body))["orderId"])

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with httpx2.AsyncClient(base_url=self._url, timeout=30) as client:
            answer = await client.post(path, json=body)
        if answer.status_code != 200:
            raise Declined(path)
        found: dict[str, Any] = answer.json()
        return found
