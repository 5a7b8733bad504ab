"""`MERCHANT_CALLBACK_URL`: the operator's endpoint for every merchant that has none (section 2; ruling 40)."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.contracts.payments.till import BASE, a_key, until
from tests.contracts.webhooks.desk import (
    DTO,
    ENDPOINTS,
    STATUS_CHANGES,
    Office,
    genuine,
    is_envelope,
    is_secret,
    quiet_for,
    subject_of,
)
from tests.contracts.webhooks.merchants import BROKEN, FINE, Call, says

if TYPE_CHECKING:
    from tests.contracts.webhooks.conftest import OpenOffice

PATH = "/api/v1/payments/update"
SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes of an operator!").decode()


@pytest.fixture(scope="module")
def _house(open_office: OpenOffice) -> Office:
    return open_office(
        MERCHANT_CALLBACK_URL=lambda fake: fake.url(PATH),
        MERCHANT_CALLBACK_SECRET=SECRET,
        ALLOW_PRIVATE_CALLBACKS="false",
    )


@pytest.fixture
def house(_house: Office) -> Iterator[Office]:
    """An operator's endpoint and its secret; merchants' own must be public."""
    yield _house
    _house.clear()
    _house.fake.will(PATH, FINE)


@pytest.fixture(scope="module")
def _open_house(open_office: OpenOffice) -> Office:
    return open_office(MERCHANT_CALLBACK_URL=lambda fake: fake.url(PATH), MERCHANT_CALLBACK_EVENTS="*")


@pytest.fixture
def open_house(_open_house: Office) -> Iterator[Office]:
    """An operator's endpoint that wants everything and whose secret was not given."""
    yield _open_house
    _open_house.clear()
    _open_house.fake.will(PATH, FINE)


def told(office: Office, payment_id: str) -> list[Call]:
    return [call for call in office.fake.calls(PATH) if call.subject == subject_of(payment_id)]


def waits_for(office: Office, payment_id: str, count: int = 1) -> list[Call]:
    until(lambda: len(told(office, payment_id)) >= count, 8, "the operator's endpoint is called")
    return told(office, payment_id)


def no_more_than(office: Office, payment_id: str, count: int) -> None:
    quiet_for(1.2, lambda: len(told(office, payment_id)))
    assert len(told(office, payment_id)) == count


def test_it_gets_the_status_changes_of_every_merchant_without_one(house: Office) -> None:
    """Though it is plain HTTP and private: it is the operator's word."""
    for number in (1, 2, 5):
        payment_id = house.paid(number)
        [call] = waits_for(house, payment_id)
        assert call.type == "payment.paid"
        assert tuple(call.body) == DTO
        assert (call.body["merchant_id"], call.body["status"]) == (number, 2)


def test_it_is_signed_with_the_operators_secret(house: Office) -> None:
    [call] = waits_for(house, house.paid(1))
    assert genuine(SECRET, call)


def test_declined_and_refunded_are_status_changes_too(house: Office) -> None:
    declined = house.pay(3)
    house.settle(declined, "failed")
    assert [call.type for call in waits_for(house, declined)] == ["payment.declined"]
    refunded = house.paid(3)
    answer = house.merchant(3).post(f"{BASE}/{refunded}/refunds", json={}, headers={"Idempotency-Key": a_key()})
    assert answer.status_code == 201
    assert [call.type for call in waits_for(house, refunded, 2)] == ["payment.paid", "payment.refunded"]
    assert [call.body["status"] for call in told(house, refunded)] == [2, 6]


def test_merchants_do_not_see_it(house: Office) -> None:
    waits_for(house, house.paid(2))
    assert house.merchant(2).get(ENDPOINTS).json() == {"items": []}


def test_operators_see_it(house: Office) -> None:
    waits_for(house, house.paid(1))
    shown = house.kassa("merchants", "endpoints")
    assert shown.returncode == 0, shown.stderr
    assert house.fake.url(PATH) in re.sub(r"\s+", "", shown.stdout)
    assert SECRET not in shown.stdout


def test_it_is_not_counted_among_a_merchants_ten(house: Office) -> None:
    waits_for(house, house.paid(6))
    made = [house.merchant(6).post(ENDPOINTS, json={"url": "https://hooks.example.com/x"}) for _ in range(10)]
    assert [answer.status_code for answer in made] == [201] * 10
    for answer in made:
        house.merchant(6).delete(f"{ENDPOINTS}/{answer.json()['endpoint_id']}")


def test_a_merchant_with_an_endpoint_of_its_own_is_not_told_there(open_house: Office) -> None:
    hook = open_house.hook(2)
    payment_id = open_house.paid(2)
    hook.waits_for(3, subject_of(payment_id))
    no_more_than(open_house, payment_id, 0)
    other = open_house.paid(3)
    assert len(waits_for(open_house, other, 3)) == 3


def test_a_deleted_endpoint_does_not_count(open_house: Office) -> None:
    hook = open_house.hook(2)
    assert hook.who.delete(hook.place).status_code == 204
    payment_id = open_house.paid(2)
    assert [call.type for call in waits_for(open_house, payment_id, 3)] == ["payment.created", "payment.waiting", "payment.paid"]
    assert hook.calls() == []


def test_a_disabled_endpoint_counts(open_house: Office) -> None:
    hook = open_house.hook(5)
    assert hook.post("disable").status_code == 200
    no_more_than(open_house, open_house.paid(5), 0)


def test_an_endpoint_that_does_not_want_it_counts(open_house: Office) -> None:
    open_house.hook(5, events=["order.*"])
    no_more_than(open_house, open_house.paid(5), 0)


def test_all_events_may_be_wanted(open_house: Office) -> None:
    payment_id = open_house.paid(3, price="20.00")
    answer = open_house.merchant(3).post(
        f"{BASE}/{payment_id}/refunds", json={"amount": "5.00"}, headers={"Idempotency-Key": a_key()}
    )
    assert answer.status_code == 201
    until(lambda: "refund.succeeded" in {call.type for call in told(open_house, payment_id)}, 8, "the refund is told")
    for call in told(open_house, payment_id):
        if call.type.startswith("payment."):
            assert tuple(call.body) == DTO
        else:
            is_envelope(call.body)


def test_a_secret_that_was_not_given_is_made_once_and_shown_to_operators(open_house: Office) -> None:
    found = set()
    for _ in range(2):
        shown = open_house.kassa("merchants", "callback-secret")
        assert shown.returncode == 0, shown.stderr
        [secret] = set(re.findall(r"whsec_[A-Za-z0-9+/=]+", shown.stdout))
        is_secret(secret)
        found.add(secret)
    [secret] = found
    payment_id = open_house.paid(1)
    for call in waits_for(open_house, payment_id, 3):
        assert genuine(secret, call)
    assert secret not in open_house.server.log_text()


def test_the_generated_secret_outlives_a_restart(open_house: Office) -> None:
    [secret] = set(re.findall(r"whsec_[A-Za-z0-9+/=]+", open_house.kassa("merchants", "callback-secret").stdout))
    open_house.server.restart()
    open_house.mall.forget_clients()
    for call in waits_for(open_house, open_house.paid(1), 3):
        assert genuine(secret, call)


def test_a_redirect_of_it_is_not_followed(house: Office) -> None:
    house.fake.will(PATH, says(307, Location=house.fake.url("/inner")), FINE)
    payment_id = house.paid(1)
    assert [call.attempt for call in waits_for(house, payment_id, 2)] == [1, 2]
    assert house.fake.calls("/inner") == []


def test_it_follows_the_plan(house: Office) -> None:
    house.fake.will(PATH, BROKEN)
    payment_id = house.paid(1)
    calls = waits_for(house, payment_id, 4)
    assert [call.attempt for call in calls] == [1, 2, 3, 4]
    assert len({call.event_id for call in calls}) == 1
    no_more_than(house, payment_id, 4)


def test_one_that_is_gone_for_one_merchant_is_there_for_another(house: Office) -> None:
    """Ruling 40: one hidden row per merchant, enabled again by the operator."""
    house.fake.judges(PATH, lambda call: says(410) if call.body["merchant_id"] == 5 else FINE)
    gone = house.paid(5)
    waits_for(house, gone)
    later = house.paid(5)
    no_more_than(house, later, 0)
    waits_for(house, house.paid(1))
    assert house.kassa("merchants", "endpoints", "enable", "--help").returncode == 0


def test_the_status_changes_are_those_of_the_contract(house: Office) -> None:
    payment_id = house.paid(1)
    waits_for(house, payment_id)
    time.sleep(0.3)
    assert {call.type for call in told(house, payment_id)} <= set(STATUS_CHANGES)
