"""Many buyers at once: the last piece is sold once, the same form is charged once, nobody waits for ever (F21 to F29)."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from .journeys import (
    DECLINED_CARD,
    Json,
    Shop,
    a_key,
    at_once,
    buy,
    crowd,
    id_of,
    line,
    order_form,
    orders_of,
    refusal,
    someone_signed_in,
    stock_of,
    the_end,
    visitor,
)
from .neighbours import thinks
from .town import SHARED_SECRET, Town

if TYPE_CHECKING:
    from tests.conftest import StartKassa
    from tests.rig import Server


@pytest.fixture(scope="module")
def shop(start_kassa: StartKassa) -> Shop:
    """A shop of its own, because stock is counted here."""
    return start_kassa()


def rush(shop: Shop, forms: list[Json], headers: dict[str, str] | None = None, beside: Shop | None = None) -> list[httpx2.Response]:
    """Everybody posts at the same moment; every other one to the process beside, if there is one."""

    async def run() -> list[httpx2.Response]:
        async with crowd(shop) as client:
            doors = itertools.cycle([shop.url, (beside or shop).url])
            posts = [
                client.post(f"{door}/checkout/process", content=json.dumps(form).encode(), headers=headers)
                for door, form in zip(doors, forms, strict=False)
            ]
            return list(await asyncio.gather(*posts))

    return asyncio.run(run())


def words(answers: list[httpx2.Response]) -> Counter[str]:
    """How often each outcome was answered."""
    return Counter("completed" if answer.status_code == 200 else str(answer.json()["detail"]["error"]) for answer in answers)


def test_the_last_poster_is_sold_once_to_two_hundred_guests(shop: Shop) -> None:
    answers = rush(shop, [order_form(line("prod_last", 1, 500)) for _ in range(200)])
    assert words(answers) == {"completed": 1, "Insufficient stock": 199}
    for answer in answers:
        if answer.status_code == 422:
            detail = refusal(answer, "Insufficient stock", "stock_insufficient")
            assert detail["items"] == [{"product_id": "prod_last", "requested": 1, "available": 0}]
    assert stock_of(shop, "prod_last") == 0
    assert len({id_of(answer) for answer in answers}) == 200


def test_five_prints_among_thirty_pairs_make_two_pairs(shop: Shop) -> None:
    answers = rush(shop, [order_form(line("prod_few", 2)) for _ in range(30)])
    assert words(answers) == {"completed": 2, "Insufficient stock": 28}
    assert stock_of(shop, "prod_few") == 1


def test_declined_buyers_give_everything_back(shop: Shop) -> None:
    before = stock_of(shop, "prod_006")
    answers = rush(shop, [order_form(line("prod_006", 7), card=DECLINED_CARD) for _ in range(40)])
    assert words(answers) == {"Payment processing failed": 40}
    assert stock_of(shop, "prod_006") == before


def test_baskets_in_opposite_orders_do_not_lock_each_other_out(shop: Shop) -> None:
    names = ["prod_001", "prod_002", "prod_004", "prod_007"]
    before = {name: stock_of(shop, name) for name in names}
    baskets = list(itertools.permutations(names, 3))[:20] * 4
    answers = rush(shop, [order_form(*(line(name) for name in basket)) for basket in baskets])
    assert words(answers) == {"completed": len(baskets)}
    sold = Counter(name for basket in baskets for name in basket)
    assert {name: before[name] - stock_of(shop, name) for name in names} == dict(sold)


def test_every_sale_takes_stock_once(shop: Shop) -> None:
    before = stock_of(shop, "prod_008")
    answers = rush(shop, [order_form(line("prod_008")) for _ in range(50)])
    assert words(answers) == {"completed": 50}
    assert before - stock_of(shop, "prod_008") == 50


def is_one_purchase(answers: list[httpx2.Response]) -> httpx2.Response:
    """Fifty presses of one button: one first answer, the same bytes for whoever waited, 409 for the rest."""
    done = [answer for answer in answers if answer.status_code == 200]
    rest = [answer for answer in answers if answer.status_code != 200]
    assert done, Counter(answer.status_code for answer in answers)
    assert len({answer.content for answer in done}) == 1
    assert len([answer for answer in done if "Idempotent-Replayed" not in answer.headers]) == 1
    for answer in rest:
        assert (answer.status_code, answer.json()["detail"]["error"]) == (409, "Checkout in progress"), answer.text
        assert answer.headers["Retry-After"] == "1"
    return done[0]


def test_fifty_presses_of_one_button_are_one_refusal_or_one_order(shop: Shop) -> None:
    token, before = shop.token(someone_signed_in()), stock_of(shop, "prod_010")
    headers = {"Idempotency-Key": a_key(), "Authorization": f"Bearer {token}"}
    refused = rush(shop, [order_form(line("prod_003"), line("prod_010", 1, 24990))] * 50, headers)
    assert {answer.status_code for answer in refused} <= {422, 409}
    assert len({answer.content for answer in refused if answer.status_code == 422}) == 1
    assert stock_of(shop, "prod_010") == before

    headers["Idempotency-Key"] = a_key()
    answer = is_one_purchase(rush(shop, [order_form()] * 50, headers))
    paid = [order["id"] for order in orders_of(shop, token) if order["status"] == "paid"]
    assert paid == [answer.json()["order_id"]]


def test_fifty_presses_of_one_button_are_one_charge(town: Town) -> None:
    form = order_form()
    town.neighbours.for_buyer(form["customer_email"], process=thinks(0.5))
    answer = is_one_purchase(rush(town.shop, [form] * 50, {"Idempotency-Key": a_key()}))
    assert town.neighbours.checkouts_of(form["customer_email"]) == [id_of(answer)]
    assert town.neighbours.acts(id_of(answer)) == ["process", "deduct", "create"]


def test_fifty_presses_of_a_slow_button_are_one_charge(town: Town) -> None:
    form = order_form()
    town.neighbours.for_buyer(form["customer_email"], process=thinks(2))
    answers = rush(town.shop, [form] * 50, {"Idempotency-Key": a_key()})
    answer = is_one_purchase(answers)
    assert Counter(each.status_code for each in answers)[409] >= 40
    assert town.neighbours.acts(id_of(answer)) == ["process", "deduct", "create"]


def test_fifty_buyers_with_neighbours_are_charged_once_each(town: Town) -> None:
    forms = [order_form(line("prod_011")) for _ in range(50)]
    answers = rush(town.shop, forms)
    assert words(answers) == {"completed": 50}
    for form in forms:
        (checkout_id,) = town.neighbours.checkouts_of(form["customer_email"])
        assert town.neighbours.acts(checkout_id) == ["process", "deduct", "create"]


def test_buyers_who_hang_up_at_any_moment_leave_nothing_half_done(town: Town) -> None:
    """F24: the connection ends after 0, 4, 8 … milliseconds; what was begun is finished, what was not never was."""
    forms = [order_form(line("prod_011")) for _ in range(40)]
    for place, form in enumerate(forms):
        town.neighbours.for_buyer(form["customer_email"], process=thinks(0.02), deduct=thinks(0.02), create=thinks(0.02))
        with visitor(town.shop) as guest:
            guest.timeout = httpx2.Timeout(10, read=0.001 + place * 0.004)
            try:
                buy(guest, form)
            except httpx2.TimeoutException:
                continue
    with visitor(town.shop) as guest:
        for form in forms:
            for checkout_id in town.neighbours.checkouts_of(form["customer_email"]):
                end = the_end(guest, checkout_id, within=15)["status"]
                assert (end, town.neighbours.net(checkout_id)) in {("completed", 1), ("failed", 0)}
        assert buy(guest, order_form()).status_code == 200
    doubled = [form for form in forms if len(town.neighbours.checkouts_of(form["customer_email"])) > 1]
    assert doubled == []


def test_two_forms_under_one_key_are_one_purchase(town: Town) -> None:
    one, other = order_form(), order_form(line("prod_011"))
    other["customer_email"] = one["customer_email"]
    town.neighbours.for_buyer(one["customer_email"], process=thinks(0.3))
    answers = rush(town.shop, [one, other] * 15, {"Idempotency-Key": a_key()})
    (checkout_id,) = town.neighbours.checkouts_of(one["customer_email"])
    assert town.neighbours.acts(checkout_id) == ["process", "deduct", "create"]
    said = Counter("completed" if each.status_code == 200 else each.json()["detail"]["error"] for each in answers)
    assert set(said) <= {"completed", "Idempotency key reused", "Checkout in progress"}
    assert said["Idempotency key reused"] >= 1
    assert {id_of(each) for each in answers if each.status_code == 200} == {checkout_id}


# Two processes beside each other on one database


@pytest.fixture(scope="module")
def twin(start_kassa: StartKassa, town: Town) -> Server:
    """A second process on the town's database, with the same neighbours."""
    return start_kassa(database=town.shop.dsn, KASSA_SECRET=SHARED_SECRET, **town.neighbours.settings())


def test_fifty_presses_over_two_processes_are_one_charge(town: Town, twin: Server) -> None:
    form = order_form()
    town.neighbours.for_buyer(form["customer_email"], process=thinks(0.4))
    answer = is_one_purchase(rush(town.shop, [form] * 50, {"Idempotency-Key": a_key()}, beside=twin))
    assert town.neighbours.checkouts_of(form["customer_email"]) == [id_of(answer)]
    assert town.neighbours.acts(id_of(answer)) == ["process", "deduct", "create"]
    with visitor(twin) as guest:
        assert the_end(guest, id_of(answer))["status"] == "completed"


def test_what_a_killed_process_left_open_its_twin_finishes(town: Town, twin: Server) -> None:
    forms = [order_form(line("prod_011")) for _ in range(8)]
    for form in forms:
        town.neighbours.for_buyer(form["customer_email"], process=thinks(0.4), deduct=thinks(0.4), create=thinks(0.4))

    def buyer(place: int) -> None:
        time.sleep(place * 0.12)
        with visitor(twin) as guest, pytest.raises(httpx2.TransportError):
            buy(guest, forms[place])

    def power_cut() -> None:
        time.sleep(1)
        twin.kill()

    buyers: list[Any] = [partial(buyer, place) for place in range(len(forms))]
    at_once([power_cut, *buyers])
    with visitor(town.shop) as guest:
        for form in forms:
            for checkout_id in town.neighbours.checkouts_of(form["customer_email"]):
                end = the_end(guest, checkout_id, within=40)["status"]
                assert (end, town.neighbours.net(checkout_id)) in {("completed", 1), ("failed", 0)}
                assert town.neighbours.acts(checkout_id).count("process") == 1
