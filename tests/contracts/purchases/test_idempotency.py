"""`Idempotency-Key` on the two routes that write and answer 201 (section 1; rulings 24, 25 and 27)."""

from __future__ import annotations

from collections import Counter

import httpx2
import pytest

from .ambassadors import fails
from .journeys import Buyer, Shop, a_key, at_once, good, refusal, unavailable


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def replayed(first: httpx2.Response, second: httpx2.Response) -> None:
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (second.status_code, second.content) == (first.status_code, first.content)


def mismatch(answer: httpx2.Response) -> None:
    assert answer.status_code == 422, answer.text
    assert set(answer.json()) == {"detail", "code"}


def test_an_item_is_added_once(shop: Shop, buyer: Buyer) -> None:
    [ambassador] = shop.agency.hire(100)
    key = keyed(a_key())
    first = buyer.put(ambassador, headers=key)
    good(first, 201)
    shop.agency.prices[ambassador] = 900
    replayed(first, buyer.put(ambassador, headers=key))
    assert buyer.drop(ambassador).status_code == 204
    replayed(first, buyer.put(ambassador, headers=key))
    assert buyer.in_cart() == []


def test_an_item_that_was_there_is_replayed_too(shop: Shop, buyer: Buyer) -> None:
    [ambassador] = shop.agency.hire(100)
    buyer.add(ambassador)
    key = keyed(a_key())
    first = buyer.put(ambassador, headers=key)
    good(first, 200)
    replayed(first, buyer.put(ambassador, headers=key))


def test_a_checkout_is_replayed_even_when_the_cart_has_changed(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    buyer.add(one)
    key = keyed(a_key())
    first = buyer.check_out(headers=key)
    good(first, 201)
    buyer.add(two)
    replayed(first, buyer.check_out(headers=key))
    assert good(buyer.check_out(), 201)["amount"] == 120


def test_another_payload_is_refused(shop: Shop, buyer: Buyer) -> None:
    one, two = shop.agency.hire(100, 20)
    key = keyed(a_key())
    good(buyer.put(one, headers=key), 201)
    mismatch(buyer.put(two, headers=key))
    assert buyer.in_cart() == [one]


def test_a_key_belongs_to_a_buyer_and_a_route(shop: Shop) -> None:
    [ambassador] = shop.agency.hire(100)
    key = keyed(a_key())
    for buyer in (shop.buyer(), shop.buyer()):
        answers = [buyer.put(ambassador, headers=key), buyer.check_out(headers=key)]
        for answer in answers:
            good(answer, 201)
            assert "Idempotent-Replayed" not in answer.headers


@pytest.mark.parametrize("key", ["short", "x" * 256, "with a space in it", "tab\there-it-is", "naïve-key-0123", ""])
def test_a_malformed_key_is_refused(shop: Shop, buyer: Buyer, key: str) -> None:
    [ambassador] = shop.agency.hire(100)
    headers = [(b"Authorization", f"Bearer {buyer.token}".encode()), (b"Idempotency-Key", key.encode())]
    for path, body in (("/cart/items", {"ambassador_id": ambassador}), ("/checkout", None)):
        answer = shop.http.post(path, json=body, headers=headers)
        refusal(answer, 400, "idempotency_key_invalid")
    assert buyer.in_cart() == []


@pytest.mark.parametrize("key", ["12345678", "k" * 255, '"quoted-key-01"', "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"])
def test_eight_to_255_visible_characters_are_a_key(shop: Shop, buyer: Buyer, key: str) -> None:
    [ambassador] = shop.agency.hire(100)
    first = buyer.put(ambassador, headers=keyed(key))
    good(first, 201)
    replayed(first, buyer.put(ambassador, headers=keyed(key)))


def test_refusals_are_not_kept(shop: Shop, buyer: Buyer) -> None:
    [ambassador] = shop.agency.hire(100)
    item, buy = keyed(a_key()), keyed(a_key())
    refusal(buyer.check_out(headers=buy), 400, "cart_empty")
    shop.agency.fire(ambassador)
    refusal(buyer.put(ambassador, headers=item), 404, "ambassador_not_found")
    shop.agency.prices[ambassador] = 100
    shop.agency.will(fails())
    unavailable(buyer.put(ambassador, headers=item))
    good(buyer.put(ambassador, headers=item), 201)
    shop.agency.fire(ambassador)
    refusal(buyer.check_out(headers=buy), 409, "ambassadors_invalid", "invalid_ids")
    shop.agency.prices[ambassador] = 100
    shop.agency.will(fails())
    unavailable(buyer.check_out(headers=buy))
    good(buyer.check_out(headers=buy), 201)


def test_many_with_one_key_are_one(house: Shop) -> None:
    buyer = house.buyer()
    for path, body in (("/cart/items", {"ambassador_id": 1}), ("/checkout", None)):
        answers = at_once(buyer, 20, "POST", path, json=body, headers=keyed(a_key()))
        counted = Counter(answer.status_code for answer in answers)
        assert counted[201] >= 1
        assert set(counted) <= {201, 409}
        for answer in answers:
            if answer.status_code == 409:
                refusal(answer, 409, "in_progress")
        said = [answer for answer in answers if answer.status_code == 201]
        assert len({answer.content for answer in said}) == 1
        assert sum("Idempotent-Replayed" not in answer.headers for answer in said) == 1
    assert buyer.in_cart() == [1]
