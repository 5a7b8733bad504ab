"""Somebody tries stolen cards at the shop (fault F72), over two processes, while real buyers buy.

The payment service is the sandbox, which plays a bank and remembers every call.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests import rig

if TYPE_CHECKING:
    from tests.conftest import StartKassa, StartSandbox

Json = dict[str, Any]

_numbers = itertools.count(secrets.randbelow(10**8))
_TOWN = {"street": "Flores", "number": "1", "city": "Recife", "state": "PE", "zip_code": "50000"}


class Doors:
    """Two processes on one database, with the bank behind them; addresses are told by a proxy on this machine."""

    def __init__(self, servers: list[rig.Server], bank: rig.Sandbox) -> None:
        self.servers = servers
        self.bank = bank
        self._turn = itertools.cycle(servers)
        self._calls_before = 0
        self._calls_before = self.calls()
        self._refused_before = Counter[str]()
        self._refused_before = self.refused()
        self.client = httpx2.AsyncClient(timeout=30, trust_env=False)

    async def buys(self, card: str, email: str, address: str, user: int | None = None, key: str | None = None) -> httpx2.Response:
        """One purchase at whichever door is next."""
        server = next(self._turn)
        form = {
            "payment_method": {"type": "credit_card", "card_number": card, "card_expiry": "12/35", "card_cvv": "737"},
            "customer_email": email,
            "shipping_address": _TOWN,
            "items": [{"product_id": "prod_001", "quantity": 1}],
        }
        headers = {"X-Forwarded-For": address, **({"Idempotency-Key": key} if key else {})}
        token = {"Authorization": f"Bearer {server.token(user)}"} if user is not None else {}
        return await self.client.post(f"{server.url}/checkout/process", json=form, headers=headers | token)

    def calls(self) -> int:
        """How often the bank was called since this test began."""
        return len(self.bank.book(only="calls")["calls"]) - self._calls_before

    def refused(self) -> Counter[str]:
        """What the figures of both say of cards that were not tried."""
        found: Counter[str] = Counter()
        for server in self.servers:
            for line in server.client().get("/metrics").text.splitlines():
                if line.startswith("kassa_cards_refused_total{"):
                    found[line.split('"')[1]] += int(float(line.split()[-1]))
        return found - self._refused_before


@pytest.fixture(scope="module")
def town(start_kassa: StartKassa, start_sandbox: StartSandbox) -> tuple[list[rig.Server], rig.Sandbox]:
    bank = start_sandbox()
    settings = {"CARD_LIMITS": "on", "TRUSTED_PROXIES": "127.0.0.1", **bank.settings("payment")}
    one = start_kassa(**settings)
    another = start_kassa(database=one.dsn, KASSA_SECRET=_secret_of(one), **settings)
    return [one, another], bank


@pytest.fixture
async def doors(town: tuple[list[rig.Server], rig.Sandbox]) -> AsyncIterator[Doors]:
    doors = Doors(*town)
    yield doors
    await doors.client.aclose()


def _secret_of(server: rig.Server) -> str:
    return (server.home / "secrets" / "kassa_secret").read_text().strip()


def a_card(ending: str = "") -> str:
    """A number that nobody has used; one that ends in 0002 is refused by the bank."""
    return f"4{next(_numbers):011d}{ending or '1111'}"


def an_email() -> str:
    return f"somebody{next(_numbers)}@example.com"


def an_address() -> str:
    number = next(_numbers)
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def words(answers: list[httpx2.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def no_card_was_tried(answer: httpx2.Response) -> None:
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 3600
    detail = answer.json()["detail"]
    assert detail == {
        "checkout_id": None,
        "error": "Too many requests",
        "message": "Too many cards or failed payments; try again later.",
        "code": "rate_limited",
    }


async def real_buyers(doors: Doors, number: int = 20) -> list[httpx2.Response]:
    """So many, each with a card and an address of their own, half of them signed in."""
    return [
        await doors.buys(a_card(), an_email(), an_address(), next(_numbers) + 10**9 if each % 2 else None) for each in range(number)
    ]


async def attack(
    doors: Doors, *, endings: tuple[str, ...], emails: Callable[[], str], addresses: Callable[[], str]
) -> list[httpx2.Response]:
    """Fifty cards, each of them another one."""
    return [await doors.buys(a_card(endings[each % len(endings)]), emails(), addresses()) for each in range(50)]


@pytest.mark.parametrize(
    ("by", "endings"),
    [("buyer", ("0002",)), ("buyer", ("1111",)), ("address", ("0002",)), ("address", ("0002", "0002", "0002", "1111"))],
    ids=["one buyer, bad cards", "one buyer, good cards", "one address, bad cards", "one address, every fourth card good"],
)
async def test_an_attacker_is_stopped_by_the_tenth_card_and_nobody_else_notices(
    doors: Doors, by: str, endings: tuple[str, ...]
) -> None:
    email, address = an_email(), an_address()
    emails, addresses = (lambda: email, an_address) if by == "buyer" else (an_email, lambda: address)
    attacked, served = await asyncio.gather(attack(doors, endings=endings, emails=emails, addresses=addresses), real_buyers(doors))
    assert words(served) == {200: 20}
    stopped_at = next(place for place, answer in enumerate(attacked, 1) if answer.status_code == 429)
    assert stopped_at <= 10
    tried = [answer for answer in attacked if answer.status_code != 429]
    assert len(tried) <= 12, "what leaks out of a measure meanwhile"
    assert doors.calls() == len(tried) + len(served), "a card that is not tried goes nowhere"
    for answer in attacked:
        if answer.status_code == 429:
            no_card_was_tried(answer)
    assert doors.refused() == {by: 50 - len(tried)}
    assert "a card was not tried" in "".join(server.log_text() for server in doors.servers)
    assert words(await real_buyers(doors, 2)) == {200: 2}


async def test_fifty_cards_at_the_same_moment_are_no_way_around(doors: Doors) -> None:
    email, address = an_email(), an_address()
    answers = await asyncio.gather(*(doors.buys(a_card("0002"), email, address) for _ in range(50)))
    assert words(list(answers)) == {422: 5, 429: 45}
    assert doors.calls() == 5


async def test_nothing_is_kept_of_a_refused_try_and_its_key_is_free(doors: Doors) -> None:
    server = doors.servers[0]
    email, address, key = an_email(), an_address(), f"form-{secrets.token_hex(8)}"
    for _ in range(5):
        await doors.buys(a_card("0002"), email, address)
    before = server.sql("SELECT (SELECT count(*) FROM checkouts) AS checkouts, (SELECT count(*) FROM payments) AS payments")
    good = a_card()
    no_card_was_tried(await doors.buys(good, email, address, key=key))
    assert server.sql("SELECT 1 FROM idempotency_keys WHERE key = $1", key) == []
    after = server.sql("SELECT (SELECT count(*) FROM checkouts) AS checkouts, (SELECT count(*) FROM payments) AS payments")
    assert after == before
    server.sql("SELECT kassa_move_clock(interval '11 minutes')")
    answer = await doors.buys(good, email, address, key=key)
    assert answer.status_code == 200
    assert "idempotent-replayed" not in answer.headers


async def test_a_repeat_of_a_key_gets_its_answer_however_full_the_measure_is(doors: Doors) -> None:
    email, address, key, card = an_email(), an_address(), f"form-{secrets.token_hex(8)}", a_card("0002")
    first = await doors.buys(card, email, address, key=key)
    for _ in range(4):
        assert (await doors.buys(card, email, address)).status_code == 422
    no_card_was_tried(await doors.buys(card, email, address))
    for _ in range(3):
        again = await doors.buys(card, email, address, key=key)
        assert (again.status_code, again.content) == (first.status_code, first.content)


async def test_a_buyer_who_mistypes_three_times_still_buys(doors: Doors) -> None:
    email, address = an_email(), an_address()
    for _ in range(3):
        assert (await doors.buys(a_card("0002"), email, address)).status_code == 422
    assert (await doors.buys(a_card(), email, address)).status_code == 200


async def test_a_bank_that_is_away_costs_nobody_a_try(doors: Doors) -> None:
    doors.bank.stop()
    email, address, card = an_email(), an_address(), a_card()
    for _ in range(12):
        answer = await doors.buys(card, email, address)
        assert answer.status_code == 422, answer.text
        assert answer.json()["detail"]["code"] == "payment_unavailable"
    doors.bank.start()
    for _ in range(100):  # until the breaker lets somebody look
        answer = await doors.buys(card, email, address)
        if answer.status_code == 200:
            break
        await asyncio.sleep(0.2)
    assert answer.status_code == 200
