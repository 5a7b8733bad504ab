"""An ambassador who is deleted cannot be bought any more, told over Redis or not; what is paid or held stays (section 8)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from tests import services

from .ambassadors import fails
from .journeys import Buyer, Json, Shop, a_key, eventually, fill, good, refusal

CHANNEL = "ambassador.deleted"
AT_ONCE_S = 1.0
RECONNECTS_WITHIN_S = 15.0
MOMENT = "2026-01-01T00:00:00Z"
Publish = Callable[[bytes | str], object]

GOOD: dict[str, Callable[[int], bytes]] = {
    "as documented": lambda one: dumped(event_id=a_key(), type=CHANNEL, ambassador_id=one, occurred_at=MOMENT),
    "a bare integer": lambda one: str(one).encode(),
    "id": lambda one: dumped(id=one),
    "ambassador_id": lambda one: dumped(ambassador_id=one),
    "with more members": lambda one: dumped(ambassador_id=one, reason="left", nested={"a": [1]}),
    "without type": lambda one: dumped(event_id=a_key(), ambassador_id=one),
    "white space": lambda one: b" \n" + dumped(id=one) + b"\r\n ",
}
BAD: dict[str, Callable[[int], bytes]] = {
    "a text": lambda one: json.dumps(str(one)).encode(),
    "an id as text": lambda one: dumped(ambassador_id=str(one)),
    "a fraction": lambda one: f"{one}.0".encode(),
    "a fraction inside": lambda one: f'{{"id": {one}.0}}'.encode(),
    "an exponent": lambda one: f"{one}e0".encode(),
    "a list": lambda one: f"[{one}]".encode(),
    "an id in a list": lambda one: dumped(id=[one]),
    "another type": lambda one: dumped(type="ambassador.created", ambassador_id=one),
    "a type that is no text": lambda one: dumped(type=["ambassador.deleted"], ambassador_id=one),
    "another member": lambda one: dumped(ambassadorId=one),
    "not JSON": lambda one: f"{{ambassador_id: {one}}}".encode(),
    "two documents": lambda one: f"{one} {one}".encode(),
    "not UTF-8": lambda one: b'{"x": "\xff", "id": ' + str(one).encode() + b"}",
    "NaN": lambda one: f'{{"x": NaN, "id": {one}}}'.encode(),
    "empty": lambda _: b"",
    "null": lambda _: b"null",
    "true": lambda _: b"true",
    "an empty object": lambda _: b"{}",
    "zero": lambda _: b"0",
    "negative": lambda one: f"-{one}".encode(),
    "2^63": lambda _: b"9223372036854775808",
    "5000 digits": lambda _: b"9" * 5000,
    "deep": lambda _: b"[" * 100_000,
    "huge": lambda one: b'{"pad": "' + b"x" * 2_000_000 + f'", "type": "no", "id": {one}}}'.encode(),
}


def dumped(**members: object) -> bytes:
    return json.dumps(members).encode()


@contextlib.contextmanager
def publisher(server: services.OwnRedis) -> Iterator[Publish]:
    line = redis.Redis.from_url(server.url)
    try:
        yield lambda payload: line.publish(CHANNEL, payload)
    finally:
        line.close()


@pytest.fixture
def publish(shop: Shop, town_redis: services.OwnRedis) -> Iterator[Publish]:
    town_redis.revive()
    with publisher(town_redis) as publish:
        settled(shop, publish)
        yield publish


def settled(shop: Shop, publish: Publish) -> None:
    """Wait until the subscriber listens: a deletion published now reaches the carts."""
    [nobody] = shop.agency.hire(1)
    witness = shop.buyer()
    witness.add(nobody)

    def heard() -> bool:
        publish(str(nobody))
        return witness.in_cart() == []

    assert eventually(heard, within=RECONNECTS_WITHIN_S), "nobody listens"


def gone(*buyers: Buyer) -> bool:
    """Whether these carts are empty, and hold nothing that is only invalid."""
    carts = [buyer.cart() for buyer in buyers]
    return all(cart["items"] == [] and cart["invalid_ids"] == [] for cart in carts)


@pytest.mark.parametrize("form", GOOD.values(), ids=GOOD.keys())
def test_every_form_of_the_message_drops_it_from_every_cart(shop: Shop, publish: Publish, form: Callable[[int], bytes]) -> None:
    leaves, stays = shop.agency.hire(100, 20)
    ada, bob, eve = shop.buyer(), shop.buyer(), shop.buyer()
    ada.add(leaves)
    bob.add(leaves)
    eve.add(leaves, stays)
    publish(form(leaves))
    assert eventually(lambda: gone(ada, bob) and eve.in_cart() == [stays], within=AT_ONCE_S)
    refusal(ada.drop(leaves), 404, "not_in_cart")


def test_whatever_else_is_published_is_dropped_and_the_subscriber_lives(shop: Shop, publish: Publish) -> None:
    hired = shop.agency.hire(*[7] * len(BAD))
    buyer, witness = shop.buyer(), shop.buyer()
    buyer.add(*hired)
    for form, ambassador in zip(BAD.values(), hired, strict=True):
        publish(form(ambassador))
    [last] = shop.agency.hire(1)
    witness.add(last)
    publish(str(last))
    assert eventually(lambda: gone(witness), within=3)
    assert buyer.in_cart() == hired
    shop.is_well()


def test_a_repeated_event_is_skipped(shop: Shop, publish: Publish) -> None:
    [ambassador, last] = shop.agency.hire(100, 20)
    event = dumped(event_id=a_key(), type=CHANNEL, ambassador_id=ambassador, occurred_at=MOMENT)
    buyer, witness = shop.buyer(), shop.buyer()
    buyer.add(ambassador)
    publish(event)
    assert eventually(lambda: gone(buyer), within=AT_ONCE_S)
    buyer.add(ambassador)  # the service knows it (again)
    witness.add(last)
    publish(event)
    publish(str(last))
    assert eventually(lambda: gone(witness), within=AT_ONCE_S)
    assert buyer.in_cart() == [ambassador]


def test_an_unpaid_purchase_is_cancelled_and_the_next_checkout_makes_a_new_one(shop: Shop, publish: Publish) -> None:
    leaves, stays = shop.agency.hire(100, 20)
    buyer, only = shop.buyer(), shop.buyer()
    purchase, lonely = buyer.buy(leaves, stays), only.buy(leaves)
    publish(str(leaves))
    assert eventually(lambda: shop.is_over(purchase) and shop.is_over(lonely), within=AT_ONCE_S)
    newer = good(buyer.check_out(), 201)
    assert newer["purchase_id"] != purchase["purchase_id"]
    assert newer["amount"] == 20
    refusal(only.check_out(), 400, "cart_empty")


def test_what_is_paid_or_held_is_not_touched(shop: Shop, publish: Publish) -> None:
    [leaves] = shop.agency.hire(100)
    owner, holder, waiting = shop.buyer(), shop.buyer(), shop.buyer()
    paid = owner.buy(leaves)
    shop.payme.pay(paid)
    held = holder.buy(leaves)
    transaction = shop.payme.create(held)
    unpaid = waiting.buy(leaves)
    publish(dumped(event_id=a_key(), type=CHANNEL, ambassador_id=leaves, occurred_at=MOMENT))
    assert eventually(lambda: shop.is_over(unpaid) and gone(holder), within=AT_ONCE_S)
    assert owner.owns() == [leaves]
    assert (shop.status(paid), shop.status(held)) == ("completed", "pending")
    assert shop.payme.state(transaction) == 1
    shop.payme.perform(transaction)
    assert holder.owns() == [leaves]
    assert owner.owns() == [leaves]


def test_a_purchase_that_was_made_from_an_older_cart_is_cancelled_too(shop: Shop, publish: Publish) -> None:
    leaves, stays = shop.agency.hire(100, 20)
    buyer = shop.buyer()
    purchase = buyer.buy(leaves, stays)
    assert buyer.drop(leaves).status_code == 204  # its link stays payable until the next checkout
    publish(str(leaves))
    assert eventually(lambda: shop.is_over(purchase), within=AT_ONCE_S)
    assert good(buyer.check_out(), 201)["amount"] == 20


def test_paying_and_deleting_at_once_end_as_one_of_them(shop: Shop, publish: Publish) -> None:
    for _ in range(3):
        [leaves] = shop.agency.hire(100)
        buyer = shop.buyer()
        purchase = buyer.buy(leaves)
        with ThreadPoolExecutor(2) as hands:
            holding = hands.submit(
                shop.payme.call, "CreateTransaction", id=a_key()[-24:], time=shop.payme.clock(), **shop.payme.order(purchase)
            )
            hands.submit(publish, str(leaves)).result()
            said = holding.result()
        assert eventually(lambda b=buyer: gone(b), within=AT_ONCE_S)  # type: ignore[misc]
        if "result" in said:
            assert shop.status(purchase) == "pending"
        else:
            assert shop.is_over(purchase)


def test_messages_that_were_lost_are_made_up_for_on_the_next_connection(shop: Shop, town_redis: services.OwnRedis) -> None:
    leaves, held_one, stays = shop.agency.hire(100, 50, 20)
    waiting, holder, owner, other = shop.buyer(), shop.buyer(), shop.buyer(), shop.buyer()
    with publisher(town_redis) as publish:
        settled(shop, publish)
    paid = owner.buy(leaves)
    shop.payme.pay(paid)
    held = holder.buy(held_one)
    transaction = shop.payme.create(held)
    unpaid = waiting.buy(leaves, stays)
    other.add(leaves)
    town_redis.kill()
    shop.agency.fire(leaves, held_one)
    try:
        refusal(other.check_out(), 409, "ambassadors_invalid", "invalid_ids")  # (a) at checkout
        refusal(shop.buyer().put(leaves), 404, "ambassador_not_found")
        assert good(shop.http.get("/ready")) == {"message": "ready"}
    finally:
        town_redis.revive()
    assert eventually(lambda: gone(other, holder) and waiting.in_cart() == [stays], within=RECONNECTS_WITHIN_S)
    assert eventually(lambda: shop.is_over(unpaid), within=1)
    assert (shop.status(paid), shop.status(held)) == ("completed", "pending")
    shop.payme.perform(transaction)
    assert (owner.owns(), holder.owns()) == ([leaves], [held_one])
    assert good(waiting.check_out(), 201)["amount"] == 20


def test_a_failed_call_removes_nobody(shop: Shop, town_redis: services.OwnRedis) -> None:
    """The service is away when the subscriber comes back: the carts wait for an explicit answer."""
    [ambassador] = shop.agency.hire(100)
    buyer = shop.buyer()
    purchase = buyer.buy(ambassador)
    with publisher(town_redis) as publish:
        settled(shop, publish)
    shop.agency.will(*[fails()] * 3)
    try:
        town_redis.kill()
        town_redis.revive()
        with publisher(town_redis) as publish:
            shop.agency.will()
            settled(shop, publish)
    finally:
        shop.agency.will()
    assert buyer.in_cart() == [ambassador]
    assert good(buyer.check_out(), 201) == purchase


def test_a_restart_makes_up_for_what_was_lost_and_forgets_nothing(shop: Shop, publish: Publish) -> None:
    leaves, stays, heard_of, last = shop.agency.hire(100, 20, 3, 1)
    buyer, other, witness = shop.buyer(), shop.buyer(), shop.buyer()
    event, key = dumped(event_id=a_key(), ambassador_id=heard_of), {"Idempotency-Key": a_key()}
    other.add(heard_of)
    publish(event)
    assert eventually(lambda: gone(other), within=AT_ONCE_S)
    other.add(heard_of)
    witness.add(last)
    buyer.add(leaves, stays)
    first = buyer.check_out(headers=key)
    hired = shop.agency.hire(*[1] * 1002)  # more than one batch
    for start in range(0, len(hired), 99):
        assert {answer.status_code for answer in fill(shop.buyer(), hired[start : start + 99])} == {201}

    sold_by_nobody = links_that_no_cart_tells_of(shop, publish)

    shop.server.kill()
    shop.agency.fire(leaves)
    with shop.agency.watched() as calls:
        shop.server.start()
        assert eventually(lambda: buyer.in_cart() == [stays] and buyer.cart()["invalid_ids"] == [], within=RECONNECTS_WITHIN_S)
        assert eventually(lambda: shop.is_over(good(first, 201)), within=1)
        assert eventually(lambda: all(map(shop.is_over, sold_by_nobody)), within=1)
        settled(shop, publish)
    assert all(len(call.ids) <= 1000 for call in calls)
    assert {leaves, stays, heard_of, *hired} <= {one for call in calls for one in call.ids}

    again = buyer.check_out(headers=key)
    assert (again.status_code, again.content, again.headers["Idempotent-Replayed"]) == (201, first.content, "true")
    assert good(buyer.check_out(), 201)["amount"] == 20
    publish(event)
    publish(str(last))
    assert eventually(lambda: gone(witness), within=AT_ONCE_S)
    assert other.in_cart() == [heard_of]  # the same event, skipped


def links_that_no_cart_tells_of(shop: Shop, publish: Publish) -> list[Json]:
    """Purchases of ambassadors who have left: the line is gone, or the purchase was held when the message came or was lost."""
    gone_line, heard, unheard, kept_line, other = shop.agency.hire(1, 2, 3, 4, 5)
    one, two, three, four = (shop.buyer() for _ in range(4))
    links = [one.buy(gone_line, other), two.buy(heard), three.buy(unheard), four.buy(kept_line)]
    held = [shop.payme.create(links[1]), shop.payme.create(links[2])]
    assert one.drop(gone_line).status_code == 204
    publish(str(heard))
    assert eventually(lambda: gone(two), within=AT_ONCE_S)
    shop.agency.fire(gone_line, heard, unheard, kept_line)
    assert [shop.payme.cancel(transaction) for transaction in held] == [-1, -1]
    four.add(other)
    refusal(four.check_out(), 409, "ambassadors_invalid", "invalid_ids")
    return links


def test_a_hundred_at_once_are_all_heard(shop: Shop, publish: Publish) -> None:
    hired = shop.agency.hire(*[1] * 100)
    buyer = shop.buyer()
    fill(buyer, hired)
    for one in hired:
        publish(str(one))
    assert eventually(lambda: gone(buyer), within=3)


def test_in_our_own_catalog_it_is_retired(house: Shop, house_redis: services.OwnRedis) -> None:
    owner, buyer = house.buyer(), house.buyer()
    house.payme.pay(owner.buy(5))
    purchase = buyer.buy(5, 1)
    with publisher(house_redis) as publish:
        publish(dumped(event_id=a_key(), type=CHANNEL, ambassador_id=5, occurred_at=MOMENT))
    assert eventually(lambda: buyer.in_cart() == [1], within=AT_ONCE_S)
    assert eventually(lambda: house.is_over(purchase), within=AT_ONCE_S)
    refusal(house.buyer().put(5), 404, "ambassador_not_found")
    assert owner.owns() == [5]
    assert good(buyer.check_out(), 201)["amount"] == 5000000


def test_a_retired_one_stays_retired_after_a_restart(house: Shop, house_redis: services.OwnRedis) -> None:
    buyer = house.buyer()
    buyer.add(3)
    with publisher(house_redis) as publish:
        publish(b'{"id": 3}')
    assert eventually(lambda: gone(buyer), within=AT_ONCE_S)
    house.server.kill()
    house.server.start()
    refusal(buyer.put(3), 404, "ambassador_not_found")
    good(buyer.put(1), 201)
