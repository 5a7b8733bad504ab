"""A cart of ambassadors over HTTP, and what is asked of the conductor for it. (Needs a database.)"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from tests.factories import at_once

from kassa import catalog, checkout, orders
from kassa.api import ApiOptions, TokenRules, create_app
from kassa.api.app import Api
from kassa.api.purchases import shown
from kassa.catalog import Channel, Offer, Publication, Sources
from kassa.catalog.sources import AmbassadorsUnavailable, OwnAmbassadors
from kassa.checkout.wishes import Placed, Replayed
from kassa.kit import once
from kassa.kit.context import Context
from kassa.kit.database import Database, in_transaction
from kassa.kit.errors import KassaError
from kassa.kit.money import Money
from kassa.orders import BoughtPage

from .asking import KEYS, SECRET, Heard, ask, bearer, yes
from .test_shapes import an_order

AMBASSADORS = Channel("1", "ambassadors", "UZS", 0, frozenset({"payme"}), frozenset())
PRICES = {1: 5_000_000, 2: 7_500_000, 3: 10_000_000}
users = itertools.count(1000)


class Source(OwnAmbassadors):
    """Our own ambassadors, which may be away or sold at other prices; it counts its questions."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.asked: list[list[str]] = []
        self.prices: dict[str, int] = {}
        self.unknown: set[str] = set()

    async def offers(self, ctx: Context, channel: Channel, product_ids: Sequence[str]) -> Mapping[str, Offer]:
        assert in_transaction() is None
        self.asked.append(list(product_ids))
        if self.away:
            raise AmbassadorsUnavailable(3)
        found = await super().offers(ctx, channel, product_ids)
        dear = {
            each: Offer(each, each, each, Money(price, "UZS"), (), None, "elsewhere")
            for each, price in self.prices.items()
            if each in product_ids
        }
        return {each: offer for each, offer in {**found, **dear}.items() if each not in self.unknown}


@pytest.fixture
async def db(kassa_dsn: str) -> AsyncIterator[Database]:
    found = await Database.connect(kassa_dsn, size=12)
    products = [Publication(str(each), f"Ambassador {each}", Money(price, "UZS"), None) for each, price in PRICES.items()]
    try:
        async with found.transaction("test.publish") as tx:
            await catalog.publish_channel(tx, "House", AMBASSADORS)
            await catalog.publish(tx, AMBASSADORS, products)
        yield found
    finally:
        await found.close()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def app(db: Database, source: Source) -> Api:
    ctx = Context(db=db, keys=KEYS, ports={Sources: Sources({"ambassadors": source})})
    return create_app(ctx, ApiOptions(frozenset({"purchases"}), TokenRules(SECRET), yes))


class Buyer:
    """Somebody with a cart of their own."""

    def __init__(self, app: Api, db: Database) -> None:
        self.app = app
        self.db = db
        self.user = next(users)

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Heard:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await ask(self.app, method, path, {**bearer(id=self.user), **named}, body)

    async def cart(self) -> Any:
        heard = await self.ask("GET", "/cart")
        assert heard.status == 200
        shown.AmbassadorCart.model_validate_json(heard.body)
        return heard.json

    async def add(self, ambassador_id: int, **headers: str) -> Heard:
        return await self.ask("POST", "/cart/items", b'{"ambassador_id": %d}' % ambassador_id, **headers)

    async def remove(self, ambassador_id: int) -> Heard:
        return await self.ask("DELETE", "/cart/items", b'{"ambassador_id": %d}' % ambassador_id)

    async def version(self) -> int:
        sql = "SELECT version FROM carts WHERE merchant_id = '1' AND channel = 'ambassadors' AND buyer_id = $1"
        found: int = await self.db.value(sql, str(self.user))
        return found


@pytest.fixture
def ann(app: Api, db: Database) -> Buyer:
    return Buyer(app, db)


@pytest.fixture
def bob(app: Api, db: Database) -> Buyer:
    return Buyer(app, db)


async def test_a_cart_is_made_by_looking_at_it(ann: Buyer, source: Source) -> None:
    first = await ann.cart()
    assert (first["items"], first["total"], first["invalid_ids"], first["user_id"]) == ([], 0, [], ann.user)
    assert await ann.cart() == first
    assert source.asked == []


async def test_fifty_first_looks_at_once_make_one_cart(ann: Buyer) -> None:
    found = await at_once(*(ann.cart() for _ in range(50)))
    assert len({each["id"] for each in found}) == 1


async def test_an_ambassador_is_added_once_and_the_same_line_is_shown_again(ann: Buyer, source: Source) -> None:
    first = await ann.add(1)
    assert (first.status, set(first.json)) == (201, {"id", "ambassador_id", "price", "created_at"})
    source.prices["1"] = 6_000_000
    again = await ann.add(1)
    assert (again.status, again.json) == (200, {**first.json, "price": 6_000_000})
    assert await ann.version() == 1
    await ann.add(3)
    cart = await ann.cart()
    assert [each["ambassador_id"] for each in cart["items"]] == [1, 3]
    assert cart["items"][0] == again.json
    assert cart["total"] == 16_000_000
    assert source.asked == [["1"], ["1"], ["3"], ["1", "3"]], "one question for each request"


async def test_fifty_adds_at_once_make_one_line(ann: Buyer) -> None:
    answers = await at_once(*(ann.add(2) for _ in range(50)))
    assert sorted(each.status for each in answers) == [200] * 49 + [201]
    assert len({each.body for each in answers}) == 1
    assert (await ann.version(), len((await ann.cart())["items"])) == (1, 1)


async def test_a_stranger_to_the_source_is_not_found(ann: Buyer) -> None:
    for unknown in (6, 9223372036854775807):
        heard = await ann.add(unknown)
        assert (heard.status, heard.json) == (404, {"detail": "Ambassador not found", "code": "ambassador_not_found"})
    heard = await ann.remove(6)
    assert (heard.status, heard.json["code"]) == (404, "not_in_cart")


async def test_what_a_client_says_of_prices_and_owners_is_not_heard(ann: Buyer) -> None:
    heard = await ann.ask("POST", "/cart/items", b'{"ambassador_id": 1, "price": 1, "user_id": 7, "cart_id": "x"}')
    assert (heard.status, heard.json["price"]) == (201, PRICES[1])
    assert (await ann.cart())["user_id"] == ann.user


async def test_the_hundred_and_first_does_not_fit(ann: Buyer, source: Source) -> None:
    source.prices = {str(each): 100 for each in range(1, 102)}
    for each in range(1, 101):
        assert (await ann.add(each)).status == 201
    full = await ann.add(101)
    assert (full.status, full.json["code"]) == (409, "cart_full")
    assert (await ann.add(100)).status == 200
    assert len((await ann.cart())["items"]) == 100


async def test_taking_out_works_while_the_source_is_away_and_for_what_it_no_longer_knows(ann: Buyer, source: Source) -> None:
    for each in (1, 2, 3):
        await ann.add(each)
    source.away = True
    gone = await ann.remove(1)
    assert (gone.status, gone.body) == (204, b"")
    assert {gone.header(name) for name in ("content-type", "content-length")} == {None}
    assert (await ann.ask("DELETE", "/cart/items?ambassador_id=3&x=1")).status == 204
    assert (await ann.ask("DELETE", "/cart/items?ambassador_id=2", b'{"ambassador_id": 9}')).json["code"] == "not_in_cart"
    source.away, source.unknown = False, {"2"}
    cart = await ann.cart()
    assert (cart["items"], cart["total"], cart["invalid_ids"]) == ([], 0, [2])
    assert (await ann.remove(2)).status == 204
    assert (await ann.cart())["invalid_ids"] == []
    assert await ann.version() == 6


async def test_fifty_who_take_it_out_at_once_find_it_once(ann: Buyer) -> None:
    await ann.add(1)
    answers = await at_once(*(ann.remove(1) for _ in range(50)))
    assert sorted(each.status for each in answers) == [204] + [404] * 49
    assert await ann.version() == 2


async def test_nothing_is_written_while_the_source_is_away(ann: Buyer, source: Source) -> None:
    source.away = True
    heard = await ann.add(1)
    assert (heard.status, heard.json["code"], heard.header("retry-after")) == (503, "ambassadors_unavailable", "3")
    assert await ann.version() is None
    source.away = False
    await ann.add(1)
    source.away = True
    assert (await ann.ask("GET", "/cart")).status == 503


async def test_nobody_sees_anothers_cart(ann: Buyer, bob: Buyer) -> None:
    await ann.add(1)
    assert (await bob.cart())["items"] == []
    assert (await bob.remove(1)).status == 404
    assert len((await ann.cart())["items"]) == 1


# Keys


async def test_a_repeat_of_a_key_gets_the_first_answer(ann: Buyer, source: Source) -> None:
    first = await ann.add(1, Idempotency_Key="the-first-key")
    await ann.remove(1)
    source.away = True
    again = await ann.add(1, Idempotency_Key="the-first-key")
    assert (again.status, again.body, again.header("idempotent-replayed")) == (201, first.body, "true")
    assert (first.header("idempotent-replayed"), (await ann.ask("GET", "/cart")).json["items"]) == (None, [])
    source.away = False
    for other in (2, 6):
        heard = await ann.add(other, Idempotency_Key="the-first-key")
        assert (heard.status, heard.json["code"]) == (422, "idempotency_key_reused")


async def test_a_key_belongs_to_its_user_and_is_kept_for_a_month(ann: Buyer, bob: Buyer, db: Database) -> None:
    await ann.add(1, Idempotency_Key="everybodys-key")
    assert (await bob.add(2, Idempotency_Key="everybodys-key")).status == 201
    kept = await db.value(
        "SELECT extract(day FROM expires_at - created_at)::int FROM idempotency_keys WHERE caller = $1", f"user:{ann.user}"
    )
    assert kept == 30


async def test_a_refusal_leaves_the_key_free(ann: Buyer, source: Source) -> None:
    assert (await ann.add(6, Idempotency_Key="a-key-for-six")).status == 404
    source.prices["6"] = 100
    assert (await ann.add(6, Idempotency_Key="a-key-for-six")).status == 201


async def test_statements_of_a_cart_are_few(ann: Buyer, db: Database) -> None:
    await ann.cart()
    spent = []
    for asking in (ann.add(1), ann.add(1), ann.add(2, Idempotency_Key="a-key-of-mine"), ann.ask("GET", "/cart"), ann.remove(1)):
        before = db.statements
        assert (await asking).status < 300
        spent.append(db.statements - before)
    # The question of the source is one of each, but of the last.
    assert spent == [3, 4, 5, 2, 2]


# What is left to the conductor


@pytest.fixture
def conductor(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was wished, and what is answered."""
    told: dict[str, Any] = {}

    async def purchase(_ctx: Context, wish: Any, render: Any) -> Any:
        told["wish"] = wish
        outcome = told["outcome"]
        if isinstance(outcome, KassaError):
            raise outcome
        told["kept"] = render(outcome) if isinstance(outcome, Placed) else None
        return outcome

    monkeypatch.setattr(checkout, "purchase", purchase)
    return told


async def test_a_checkout_is_answered_with_the_bytes_that_a_key_keeps(ann: Buyer, conductor: dict[str, Any]) -> None:
    order = an_order(payment_url="https://test.paycom.uz/bT0=", total_minor=7_500_000)
    conductor["outcome"] = Placed(order, created=True)
    heard = await ann.ask("POST", "/checkout", b"whatever this is", Idempotency_Key="a-key-of-mine")
    assert (heard.status, heard.body) == conductor["kept"]
    assert heard.json["amount"] == 7_500_000
    wish = conductor["wish"]
    assert (wish.channel, wish.buyer_id, wish.key.operation) == (AMBASSADORS, str(ann.user), "POST /checkout")
    conductor["outcome"] = Replayed(201, heard.body)
    again = await ann.ask("POST", "/checkout", b"and another", Idempotency_Key="a-key-of-mine")
    assert (again.status, again.body, again.header("idempotent-replayed")) == (201, heard.body, "true")
    assert conductor["wish"].key == wish.key, "a body is not read, so it is no part of the request"
    await ann.ask("POST", "/checkout")
    assert conductor["wish"].key is None


@pytest.mark.parametrize(
    ("outcome", "status", "content"),
    [
        (checkout.CartEmpty(), 400, {"code": "cart_empty"}),
        (checkout.AmbassadorsInvalid(invalid_ids=[7, 9]), 409, {"code": "ambassadors_invalid", "invalid_ids": [7, 9]}),
        (AmbassadorsUnavailable(9), 503, {"code": "ambassadors_unavailable"}),
        (once.KeyReused(), 422, {"code": "idempotency_key_reused"}),
    ],
)
async def test_a_checkout_is_refused_in_the_words_of_the_contract(
    ann: Buyer, conductor: dict[str, Any], outcome: KassaError, status: int, content: dict[str, Any]
) -> None:
    conductor["outcome"] = outcome
    heard = await ann.ask("POST", "/checkout")
    assert (heard.status, heard.json | content) == (status, heard.json)
    assert set(heard.json) == {"detail", *content}


async def test_a_history_is_asked_page_by_page(ann: Buyer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    async def bought_page(_reader: Any, *given: Any) -> BoughtPage:
        asked.append(given)
        return BoughtPage([], 3)

    monkeypatch.setattr(orders, "bought_page", bought_page)
    for query in ("", "?page=2147483647&limit=100", "?limit=1&x=y"):
        heard = await ann.ask("GET", f"/purchases{query}")
        assert (heard.status, heard.json) == (200, {"purchases": [], "total": 3})
    assert asked == [("1", "ambassadors", str(ann.user), *page) for page in ((1, 20), (2147483647, 100), (1, 1))]


async def test_who_has_bought_nothing_has_an_empty_history(ann: Buyer) -> None:
    for query in ("", "?page=2147483647&limit=100"):
        heard = await ann.ask("GET", f"/purchases{query}")
        assert (heard.status, heard.json) == (200, {"purchases": [], "total": 0})
