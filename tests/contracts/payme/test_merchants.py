"""Merchants' own cashboxes: their payments at Payme, their key, and nobody else's (rulings 9 and 35; section 2.1)."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from .booking import Booking, kassa, tables_with
from .paycom import PATH, UUID7, Cashbox, Json, Purchase, a_tx, basic, refused, result, rush
from .texts import AMOUNT, BUSY, CLOSED, DENIED, NO_ORDER, NO_TRANSACTION, PAID


@dataclass(frozen=True)
class Branch:
    """A merchant with a cashbox of its own."""

    number: str
    api_key: str
    cashbox_id: str
    payme: Cashbox

    def ask(self, **changes: object) -> tuple[int, Json]:
        """The merchant's server asks for a payment."""
        body = {"order_id": f"A-{secrets.token_hex(6)}", "amount": 1, "price": "349.70", "alias": "payme", **changes}
        with self.payme.server.client(headers={"X-Api-Key": self.api_key}) as who:
            answer = who.post("/api/v1/payments", json=body)
        found: Json = answer.json()
        return answer.status_code, found

    def opened(self, price: str = "349.70", tiyin: int = 34_970, **changes: object) -> Purchase:
        status, body = self.ask(price=price, **changes)
        assert status == 200, body
        assert set(body) == {"payment_id", "status", "payment_url"}
        return Purchase(body["payment_id"], body["payment_id"], tiyin, body["payment_url"], 0, self.payme)

    def show(self, payment: Purchase) -> Json:
        with self.payme.server.client(headers={"X-Api-Key": self.api_key}) as who:
            found: Json = who.get(f"/api/v1/payments/{payment.payment_id}/show").json()
        return found

    def ledger(self, payment: Purchase) -> list[dict[str, str]]:
        with self.payme.server.client(headers={"X-Api-Key": self.api_key}) as who:
            entries = who.get(f"/api/v1/payments/{payment.payment_id}/ledger").json()["entries"]
        return [{posting["account"]: posting["amount"] for posting in entry["postings"]} for entry in entries]


def a_branch(town: Booking, *flags: str) -> Branch:
    number, cashbox_id, key = str(10**6 + secrets.randbelow(10**8)), secrets.token_hex(12), f"key:{secrets.token_hex(16)}"
    words = ("--name", "Branch", "--email", "owner@example.com", "--currency", "UZS", "--plan", "1", "--key", "--json")
    made = json.loads(kassa(town.server, "merchants", "add", number, *words))
    [api_key] = [text for text in texts_in(made) if text.startswith("sk_")]
    said = kassa(
        town.server, "merchants", "payme", "set", number, "--id", cashbox_id, "--key-file", "-", "--json", *flags, said=f"{key}\n"
    )
    assert key not in said
    return Branch(number, api_key, cashbox_id, Cashbox(town.server, key, path=f"{PATH}/{number}"))


def texts_in(value: object) -> Iterator[str]:
    """All texts inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts_in(each)


@pytest.fixture(scope="module")
def branches(_town: Booking) -> tuple[Branch, Branch, Branch]:
    """One in Payme's test mode, one that is live, and one that a test may spoil."""
    with ThreadPoolExecutor(3) as hands:
        first, second, third = (hands.submit(a_branch, _town, *flags) for flags in (("--test",), (), ()))
        return first.result(), second.result(), third.result()


@pytest.fixture
def branch(branches: tuple[Branch, Branch, Branch]) -> Branch:
    return branches[0]


@pytest.fixture
def other(branches: tuple[Branch, Branch, Branch]) -> Branch:
    return branches[1]


@pytest.fixture
def spoiled(branches: tuple[Branch, Branch, Branch]) -> Branch:
    return branches[2]


def test_the_link_names_the_merchants_cashbox_and_the_payment(branch: Branch, other: Branch) -> None:
    for each, host in ((branch, "https://test.paycom.uz"), (other, "https://checkout.paycom.uz")):
        payment = each.opened("1000", 100_000)
        assert UUID7.fullmatch(payment.payment_id)
        start, _, encoded = payment.payment_url.rpartition("/")
        assert start == host
        assert base64.b64decode(encoded).decode() == f"m={each.cashbox_id};ac.order_id={payment.payment_id};a=100000"
        each.payme.allowed(payment)


def test_a_payment_is_paid_and_refunded_through_payme(branch: Branch) -> None:
    payment = branch.opened()
    branch.payme.allowed(payment)
    refused(branch.payme.check_perform(payment, amount=34_971), AMOUNT)
    tx = branch.payme.created(payment)
    refused(branch.payme.check_perform(payment), BUSY)
    assert (branch.show(payment)["status"], branch.ledger(payment)) == (1, [])
    branch.payme.performed(tx)
    house = f"merchant:{branch.number}"
    assert (branch.show(payment)["status"], branch.show(payment)["captured"]) == (2, "349.70")
    assert branch.ledger(payment) == [{"provider:payme": "349.70", house: "-349.70"}]
    refused(branch.payme.check_perform(payment), PAID)
    branch.payme.cancelled(tx, 5, -2)
    assert (branch.show(payment)["status"], branch.show(payment)["refunded"]) == (6, "349.70")
    assert branch.ledger(payment)[1:] == [{"provider:payme": "-349.70", house: "349.70"}]
    refused(branch.payme.check_perform(payment), CLOSED)
    types = branch.payme.server.sql("SELECT type FROM events WHERE subject = $1 ORDER BY sequence", f"payment:{payment.payment_id}")
    found = [row["type"] for row in types]
    assert (found.count("payment.paid"), found.count("payment.refunded")) == (1, 1)


def test_a_cancelled_attempt_leaves_the_link_payable(branch: Branch) -> None:
    payment = branch.opened()
    first = branch.payme.cancelled(branch.payme.created(payment), 2)
    assert branch.show(payment)["status"] == 1
    branch.payme.paid(payment)
    assert branch.payme.state(first) == (-1, 2)
    assert branch.show(payment)["status"] == 2


def test_the_merchants_order_id_is_no_account(branch: Branch) -> None:
    number = f"B-{secrets.token_hex(4)}"
    payment = branch.opened(order_id=number)
    refused(branch.payme.check_perform(payment, account={"order_id": number}), NO_ORDER)


def test_one_live_payment_per_order_here_too(branch: Branch) -> None:
    number = f"C-{secrets.token_hex(4)}"
    payment = branch.opened(order_id=number)
    branch.payme.created(payment)
    status, body = branch.ask(order_id=number)
    assert (status, body["code"], body["payment_id"]) == (400, "payment_already_exists", payment.payment_id)
    assert body["payment_url"] == payment.payment_url


def test_a_key_opens_its_own_cashbox_only(booking: Booking, branch: Branch, other: Branch) -> None:
    house = booking.cashbox
    purchase, payment = booking.buy(), branch.opened()
    boxes = {house.path: house, branch.payme.path: branch.payme, other.payme.path: other.payme}
    for path in boxes:
        for box in boxes.values():
            answer = box.with_(path=path).check(a_tx())
            refused(answer, NO_TRANSACTION if box.path == path else DENIED)
            refused(box.with_(path=f"{path}/").check(a_tx()), NO_TRANSACTION if box.path == path else DENIED)
    for stranger in (branch.payme, other.payme):
        refused(stranger.ask("CheckPerformTransaction", {"amount": purchase.amount, "account": purchase.account}), NO_ORDER)
    for stranger in (house, other.payme):
        refused(stranger.ask("CheckPerformTransaction", {"amount": payment.amount, "account": payment.account}), NO_ORDER)
        refused(stranger.create(payment, a_tx()), NO_ORDER)


def test_transactions_of_another_merchant_do_not_exist(booking: Booking, branch: Branch, other: Branch) -> None:
    tx = branch.payme.paid(branch.opened())
    for stranger in (booking.cashbox, other.payme):
        refused(stranger.check(tx), NO_TRANSACTION)
        refused(stranger.perform(tx), NO_TRANSACTION)
        refused(stranger.cancel(tx, 5), NO_TRANSACTION)
        refused(stranger.ask("SetFiscalData", {"id": tx, "type": "PERFORM", "fiscal_data": {}}), -32001)
        assert tx not in str(stranger.statement(0, 10**13))
    assert branch.payme.state(tx) == (2, None)
    assert tx in str(branch.payme.statement(0, 10**13))


def test_two_merchants_may_meet_the_same_transaction_id(booking: Booking, branch: Branch, other: Branch) -> None:
    tx = a_tx()
    one, two, three = branch.opened(), other.opened(), booking.buy()
    branch.payme.paid(one, tx=tx)
    other.payme.cancelled(other.payme.created(two, tx), 3)
    booking.cashbox.created(three, tx)
    assert [box.state(tx)[0] for box in (branch.payme, other.payme, booking.cashbox)] == [2, -1, 1]
    booking.cashbox.performed(tx)


def test_fifty_performs_pay_a_merchant_once(branch: Branch) -> None:
    payment = branch.opened()
    tx = branch.payme.created(payment)
    results = [result(answer) for answer in rush(branch.payme, [("PerformTransaction", {"id": tx})] * 50)]
    assert results == results[:1] * 50
    assert len(branch.ledger(payment)) == 1


def test_the_key_is_kept_encrypted_and_never_shown(branch: Branch) -> None:
    server = branch.payme.server
    key = branch.payme.key
    assert tables_with(server, key) == {}
    assert tables_with(server, key.encode().hex()) == {}
    shown = kassa(server, "merchants", "payme", "show", branch.number, "--json")
    assert branch.cashbox_id in shown
    assert key not in shown
    assert key not in server.log_text()
    assert basic("Paycom", key).removeprefix("Basic ") not in server.log_text()


def test_without_a_cashbox_there_is_no_payme(booking: Booking) -> None:
    with booking.server.client(headers={"X-Api-Key": "sk_demo_2"}) as who:
        answer = who.post(
            "/api/v1/payments", json={"order_id": f"D-{secrets.token_hex(4)}", "amount": 1, "price": "1.00", "alias": "payme"}
        )
    assert (answer.status_code, answer.json()["code"]) == (400, "provider_not_found"), answer.text


def test_a_new_key_replaces_the_old_and_a_cashbox_can_be_taken_away(booking: Booking, spoiled: Branch) -> None:
    """Another key, another currency, no cashbox: each time what no longer fits is refused."""
    payment = spoiled.opened()
    tx = spoiled.payme.created(payment)
    key_file = ("--id", spoiled.cashbox_id, "--key-file", "-")
    kassa(booking.server, "merchants", "payme", "set", spoiled.number, *key_file, said="  another&amp;key \n")
    refused(spoiled.payme.check(tx), DENIED)
    renewed = spoiled.payme.with_(key="another&key")
    renewed.performed(tx)
    booking.server.sql("UPDATE merchants SET currency = 'USD' WHERE merchant_id = $1", spoiled.number)
    status, body = spoiled.ask()
    assert (status, body["code"]) == (400, "provider_not_found")
    booking.server.sql("UPDATE merchants SET currency = 'UZS' WHERE merchant_id = $1", spoiled.number)
    renewed.cancelled(tx, 5, -2)
    kassa(booking.server, "merchants", "payme", "unset", spoiled.number)
    refused(renewed.check(tx), DENIED)
    status, body = spoiled.ask()
    assert (status, body["code"]) == (400, "provider_not_found")
