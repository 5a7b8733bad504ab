"""Orders to rehearse with: throw-away buyers put an ambassador into their carts and check out, through the public API."""

from __future__ import annotations

import time
from typing import Any

import aiohttp

from kassa.cli.show import CommandError
from kassa.cli.token import make_token
from kassa.sandbox.payme import Order
from kassa.sandbox.payme.script import ORDERS
from kassa.settings import Settings

_AMBASSADORS = range(1, 6)
"""The demo ambassadors: one of them is enough."""
_TOKEN_S = 3600


async def make_orders(settings: Settings, url: str) -> tuple[Order, ...]:
    """As many orders as a whole rehearsal needs, each of a buyer of its own, at the server at `url`. Raises `CommandError`."""
    run, expires = f"{time.time_ns():x}", int(time.time()) + _TOKEN_S
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        return tuple(
            [await _buy(session, url, make_token(settings, f"payme-{run}-{number}", "user", expires)) for number in range(ORDERS)]
        )


async def _buy(session: aiohttp.ClientSession, url: str, token: str) -> Order:
    for ambassador_id in _AMBASSADORS:
        status, body = await _post(session, f"{url}/cart/items", token, {"ambassador_id": ambassador_id})
        if status in {200, 201}:
            break
        if status != 404:
            raise CommandError(_reason("POST /cart/items", status, body))
    else:
        raise CommandError("no order could be made: the server has none of the demo ambassadors 1 to 5; give --order and --amount")
    status, body = await _post(session, f"{url}/checkout", token, {})
    if status != 201:
        raise CommandError(_reason("POST /checkout", status, body))
    return Order(str(body["purchase_id"]), int(body["amount"]))


async def _post(session: aiohttp.ClientSession, url: str, token: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with session.post(url, json=body, headers=headers, allow_redirects=False) as answer:
            content = await answer.json(content_type=None)
            return answer.status, content if isinstance(content, dict) else {}
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise CommandError(f"no order could be made: {url} did not answer ({type(error).__name__})") from None


def _reason(act: str, status: int, body: dict[str, Any]) -> str:
    code = body.get("code")
    return f"no order could be made: {act} answered {status}" + (f" {code}" if isinstance(code, str) else "")
