"""Payme's Subscribe API with the sandbox on the other side: money goes back from Kassa, once, whoever speaks first.

The shop of this Kassa sells in UZS and has the cashbox that development makes, so the stand-in plays `checkout.paycom.uz/api` and
calls the webhook as Payme does.
"""

from __future__ import annotations

import itertools
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests import rig

SELL_IN_UZS = """
    WITH prices AS (UPDATE products SET currency = 'UZS' WHERE merchant_id = '1' AND channel = 'shop')
    UPDATE channels SET currency = 'UZS', methods = array_append(methods, 'payme') WHERE merchant_id = '1' AND channel = 'shop'"""
HOME = {"street": "1 Navoiy", "city": "Tashkent", "state": "Tashkent", "postalCode": "100000", "country": "Uzbekistan"}
MOUSE = "prod_001"
REFUSED = {"detail": "Payment is not refundable", "code": "refund_at_provider"}
_users = itertools.count(10**9 + secrets.randbelow(10**14))

Json = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """An order of the shop that is paid at Payme."""

    order_id: str
    payment_id: str
    user: int
    amount: int


@dataclass(frozen=True)
class Town:
    """A shop, its buyers, its staff, and Payme as the sandbox plays it."""

    server: rig.Server
    http: httpx2.Client
    key: str

    def as_user(self, user: int, role: str | None = None) -> Json:
        return {"Authorization": f"Bearer {self.server.token(user, role)}"}

    def order(self, **more: Any) -> Order:
        user = next(_users)
        body = {"productId": MOUSE, "quantity": 1}
        assert self.http.post("/api/cart/items", json=body, headers=self.as_user(user)).status_code == 201
        wish = {"shippingAddress": HOME, "paymentMethod": "payme", **more}
        answer = self.http.post("/api/orders", json=wish, headers=self.as_user(user))
        assert answer.status_code == 201, answer.text
        found = answer.json()["data"]
        return Order(found["id"], found["paymentId"], user, round(found["totalAmount"] * 100))

    def click(self, order: Order, what: str) -> Json:
        """A click on the sandbox's page of Payme."""
        answer = self.http.post(f"/sandbox/payme/{order.order_id}/{what}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def paid(self) -> Order:
        order = self.order()
        assert self.click(order, "pay")["state"] == "performed"
        return order

    def status(self, order: Order) -> tuple[str, str]:
        data = self.http.get(f"/api/orders/{order.order_id}", headers=self.as_user(order.user)).json()["data"]
        return data["status"], data["paymentStatus"]

    def move(self, order: Order, *statuses: str) -> None:
        for status in statuses:
            path = f"/api/orders/{order.order_id}/status"
            answer = self.http.put(path, json={"status": status}, headers=self.as_user(900, "staff"))
            assert answer.status_code == 200, answer.text

    def give_back(self, order: Order, body: Json | None = None, key: str | None = None) -> httpx2.Response:
        headers = {"X-Api-Key": "sk_demo_1", "Idempotency-Key": key or secrets.token_hex(8)}
        return self.http.post(f"/api/v1/payments/{order.payment_id}/refunds", json=body or {}, headers=headers)

    def script(self, service: str, act: str, behaviour: str, **more: Any) -> None:
        body = {"service": service, "act": act, "behaviour": behaviour, **more}
        answer = self.http.post("/sandbox/control/scripts", json=body)
        assert answer.status_code == 201, answer.text

    def payme_id(self, order: Order) -> str:
        [row] = self.server.sql(
            "SELECT payme_id FROM payme_transactions WHERE payment_id = $1::text::uuid AND state IN (2, -2)", order.payment_id
        )
        found: str = row["payme_id"]
        return found

    def asked(self, order: Order) -> list[str]:
        """The methods of the Subscribe API that were called about the order's receipt, in order."""
        calls = self.http.get("/sandbox/control/book", params={"service": "payme-api", "only": "calls"}).json()["calls"]
        return [call["act"] for call in calls if call["key"] == self.payme_id(order)]

    def refunds(self, order: Order) -> list[Json]:
        return self.server.sql(
            "SELECT amount_minor, status, sends, message FROM refunds WHERE payment_id = $1::text::uuid ORDER BY created_at",
            order.payment_id,
        )

    def books(self, order: Order) -> tuple[str, list[int], int]:
        """The payment's status, what each ledger entry moved at the provider, and how often `payment.refunded` was told."""
        [row] = self.server.sql("SELECT status FROM payments WHERE payment_id = $1::text::uuid", order.payment_id)
        entries = self.server.sql(
            """
            SELECT l.amount_minor FROM ledger_entries e JOIN ledger_lines l USING (merchant_id, entry_id)
             WHERE e.payment_id = $1::text::uuid AND l.account = 'provider:payme' ORDER BY e.entry_id
            """,
            order.payment_id,
        )
        told = self.server.sql(
            "SELECT 1 FROM events WHERE subject = $1 AND type = 'payment.refunded'", f"payment:{order.payment_id}"
        )
        return row["status"], [entry["amount_minor"] for entry in entries], len(told)

    def attempt(self, order: Order) -> tuple[int, int | None]:
        [row] = self.server.sql(
            "SELECT state, reason::int FROM payme_transactions WHERE payment_id = $1::text::uuid", order.payment_id
        )
        return row["state"], row["reason"]

    def cases(self, order: Order) -> list[str]:
        """The open cases about the order's refunds and its payment."""
        rows = self.server.sql(
            """
            SELECT kind FROM cases WHERE closed_at IS NULL AND (subject = 'payment:' || $1 OR subject IN
                   (SELECT 'refund:' || refund_id FROM refunds WHERE payment_id = $1::text::uuid)) ORDER BY kind
            """,
            order.payment_id,
        )
        return [row["kind"] for row in rows]

    def is_given_back_once(self, order: Order) -> None:
        """One refund, one reversal, told once, and Payme's attempt says the same."""
        assert [(row["amount_minor"], row["status"]) for row in self.refunds(order)] == [(order.amount, "succeeded")]
        assert self.books(order) == ("refunded", [order.amount, -order.amount], 1)
        assert self.attempt(order) == (-2, 5)
        assert self.cases(order) == []


def soon(question: Callable[[], Any], wanted: Any, within_s: float = 20) -> None:
    """Ask again until the answer is the wanted one."""
    end = time.monotonic() + within_s
    while (found := question()) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.05)


@pytest.fixture(scope="module")
def town(database_server: rig.DatabaseServer, _homes: Callable[[str], Path]) -> Iterator[Town]:
    server = rig.make_server(_homes("pr"), database_server.fresh(), {})
    with rig.stopping([server]):
        server.start()  # brings the demo data
        server.kill()
        server.sql(SELL_IN_UZS)
        server.start()
        key = (server.home / "secrets" / "payme_key").read_text().strip()
        yield Town(server, server.client(), key)
        environment = {**server.environment, "KASSA_HOME": str(server.home)}
        command = [sys.executable, "-m", "kassa", "verify", "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        log = server.log_text()
        assert key not in log
        assert "Traceback" not in log, log[log.index("Traceback") :][:4000]


# ── money goes back from here ────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_that_the_shop_cancels_is_given_back_without_a_person(town: Town) -> None:
    order = town.paid()
    town.move(order, "cancelled")
    soon(lambda: town.books(order)[0], "refunded")
    town.is_given_back_once(order)
    assert town.status(order) == ("cancelled", "refunded")
    soon(lambda: town.asked(order), ["receipts.cancel"])


def test_a_merchant_gives_the_whole_payment_back(town: Town) -> None:
    order = town.paid()
    answer = town.give_back(order, key=f"all-{order.payment_id}")
    assert (answer.status_code, answer.json()["status"]) == (201, "succeeded"), answer.text
    town.is_given_back_once(order)
    assert town.status(order) == ("cancelled", "refunded")
    again = town.give_back(order, key=f"all-{order.payment_id}")
    assert (again.status_code, again.content) == (201, answer.content)
    assert town.give_back(order).json()["code"] == "not_refundable"
    soon(lambda: town.asked(order), ["receipts.cancel"])


def test_the_whole_payment_may_be_named_by_its_sum(town: Town) -> None:
    order = town.paid()
    answer = town.give_back(order, {"amount": f"{order.amount // 100}.{order.amount % 100:02}"})
    assert (answer.status_code, answer.json()["status"]) == (201, "succeeded"), answer.text
    town.is_given_back_once(order)


def test_a_part_of_it_is_given_back_in_the_cabinet_only(town: Town) -> None:
    order = town.paid()
    answer = town.give_back(order, {"amount": "1.00"})
    assert (answer.status_code, answer.json()) == (400, REFUSED)
    assert town.refunds(order) == []
    assert town.asked(order) == []
    assert town.give_back(order, {"amount": "999999.00"}).json()["code"] == "refund_exceeds_captured"


def test_what_was_never_paid_is_not_given_back(town: Town) -> None:
    order = town.order()
    assert town.give_back(order).json()["code"] == "not_refundable"


def test_goods_that_have_left_may_be_given_back_by_the_merchant_and_stay_sold(town: Town) -> None:
    order = town.paid()
    town.move(order, "processing", "shipped")
    answer = town.give_back(order)
    assert (answer.status_code, answer.json()["status"]) == (201, "succeeded"), answer.text
    town.is_given_back_once(order)
    assert town.status(order) == ("shipped", "refunded")


# ── who speaks first, and who not at all ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", ["book_then_cut", "book_then_500", "garbage", "huge"])
def test_paymes_cancel_concludes_a_refund_whose_answer_is_lost(town: Town, fault: str) -> None:
    order = town.paid()
    town.script("payme-api", "receipts.cancel", fault, match={"key": town.payme_id(order)})
    answer = town.give_back(order)
    # Payme's Cancel comes before its answer is lost, or a moment later; either way it concludes the refund.
    assert (answer.status_code, answer.json()["status"] in {"succeeded", "pending"}) == (201, True), answer.text
    soon(lambda: [refund["status"] for refund in town.refunds(order)], ["succeeded"])
    town.is_given_back_once(order)
    soon(lambda: town.asked(order)[:1], ["receipts.cancel"])


@pytest.mark.parametrize("fault", ["error", "cut", "no_route", "redirect"])
def test_what_never_arrived_is_asked_about_and_sent_again(town: Town, fault: str) -> None:
    order = town.paid()
    town.script("payme-api", "receipts.cancel", fault, match={"key": town.payme_id(order)})
    answer = town.give_back(order)
    assert (answer.status_code, answer.json()["status"]) == (201, "pending"), answer.text
    assert town.books(order) == ("refunding", [order.amount], 0)
    soon(lambda: town.books(order)[0], "refunded")
    town.is_given_back_once(order)
    soon(lambda: town.asked(order), ["receipts.cancel", "receipts.check", "receipts.cancel"])


def test_a_cancel_that_payme_has_queued_is_asked_about(town: Town) -> None:
    order = town.paid()
    town.script("payme", "cancel", "not_sent", match={"key": town.payme_id(order)})
    answer = town.give_back(order)
    assert (answer.status_code, answer.json()["status"]) == (201, "pending"), answer.text
    assert town.attempt(order) == (2, None)
    soon(lambda: town.books(order)[0], "refunded")
    town.is_given_back_once(order)
    soon(lambda: town.asked(order), ["receipts.cancel", "receipts.check"])


@pytest.mark.parametrize("way", ["send_twice", "send_at_once"])
def test_paymes_cancel_may_come_more_than_once(town: Town, way: str) -> None:
    order = town.paid()
    town.script("payme", "cancel", way, match={"key": town.payme_id(order)})
    assert town.give_back(order).json()["status"] == "succeeded"
    town.is_given_back_once(order)


def test_a_refund_in_the_cabinet_at_the_same_moment_is_the_same_refund(town: Town) -> None:
    order = town.paid()
    town.script("payme-api", "receipts.cancel", "late", seconds=1, match={"key": town.payme_id(order)})
    town.move(order, "cancelled")
    time.sleep(0.2)
    town.click(order, "refund")
    soon(lambda: town.books(order)[0], "refunded")
    time.sleep(1.5)
    town.is_given_back_once(order)


def test_a_receipt_that_payme_does_not_know_is_left_to_a_person(town: Town) -> None:
    order = town.paid()
    payme_id = town.payme_id(order)
    assert town.http.delete("/sandbox/control/book").status_code == 200
    town.move(order, "cancelled")
    soon(lambda: town.cases(order), ["refund_at_provider"])
    assert [row["status"] for row in town.refunds(order)] == ["parked"]
    # As Payme's cabinet would, after all.
    answer = httpx2.post(
        f"{town.server.url}/payme/webhook",
        json={"method": "CancelTransaction", "id": 1, "params": {"id": payme_id, "reason": 5}},
        auth=("Paycom", town.key),
    )
    assert answer.json()["result"]["state"] == -2
    town.is_given_back_once(order)


# ── a card's token pays ──────────────────────────────────────────────────────────────────────────────────────────────


def a_token(town: Town, *, verified: bool = True) -> str:
    """A card made on Payme's side, as a browser does it: no number of it comes near Kassa."""

    def ask(method: str, params: Json) -> Json:
        body = {"id": 1, "method": method, "params": params}
        answer = town.http.post("/sandbox/payme-api", json=body, headers={"X-Auth": "650000000000000000000001"}).json()
        found: Json = answer["result"]
        return found

    token: str = ask("cards.create", {"card": {"number": "8600495473316478", "expire": "0399"}, "save": True})["card"]["token"]
    if verified:
        assert ask("cards.get_verify_code", {"token": token})["sent"] is True
        assert ask("cards.verify", {"token": token, "code": "666666"})["card"]["verify"] is True
    return token


def with_token(town: Town, token: str) -> Order:
    return town.order(paymentDetails={"cardToken": token})


def charge_of(town: Town, order: Order) -> tuple[str, str | None]:
    [row] = town.server.sql("SELECT state, message FROM payme_charges WHERE payment_id = $1::text::uuid", order.payment_id)
    return row["state"], row["message"]


def receipts_of(town: Town, order: Order) -> list[int]:
    """The states of the receipts that Payme has for an order."""
    found = town.http.get("/sandbox/control/book", params={"only": "payme_receipts"}).json()["payme_receipts"]
    return [each["state"] for each in found if each["account"][0]["value"] == order.order_id]


def test_a_token_pays_once_and_is_nowhere_afterwards(town: Town) -> None:
    token = a_token(town)
    order = with_token(town, token)
    soon(lambda: town.status(order), ("paid", "paid"))
    soon(lambda: charge_of(town, order)[0], "paid")
    assert receipts_of(town, order) == [4]
    assert town.attempt(order) == (2, None)
    assert town.books(order) == ("paid", [order.amount], 0)
    soon(lambda: town.asked(order), ["receipts.pay"])
    assert token not in town.server.log_text()
    tables = town.server.sql("SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'")
    held = [row["name"] for row in tables if town.server.sql(f"SELECT 1 FROM {row['name']} t WHERE strpos(t::text, $1) > 0", token)]
    assert held == []
    town.move(order, "cancelled")
    soon(lambda: town.books(order)[0], "refunded")
    town.is_given_back_once(order)


def test_a_card_that_is_declined_leaves_the_link_payable(town: Town) -> None:
    token = a_token(town)
    town.script("payme-api", "receipts.pay", "decline", message="Not enough money")
    order = with_token(town, token)
    soon(lambda: charge_of(town, order), ("declined", "Payme refused it (-31630): Not enough money"))
    assert town.status(order) == ("pending", "pending")
    assert town.click(order, "pay")["state"] == "performed"
    soon(lambda: town.status(order), ("paid", "paid"))
    assert town.books(order) == ("paid", [order.amount], 0)


@pytest.mark.parametrize("token", ["a-token-that-payme-never-made", "unverified"])
def test_a_token_that_is_good_for_nothing_leaves_the_link_payable(town: Town, token: str) -> None:
    order = with_token(town, a_token(town, verified=False) if token == "unverified" else token)
    soon(lambda: charge_of(town, order)[0], "declined")
    assert town.click(order, "pay")["state"] == "performed"
    assert town.books(order) == ("paid", [order.amount], 0)


@pytest.mark.parametrize("fault", ["book_then_cut", "book_then_500", "garbage"])
def test_a_payment_whose_answer_is_lost_is_paid_once(town: Town, fault: str) -> None:
    token = a_token(town)
    town.script("payme-api", "receipts.pay", fault)
    order = with_token(town, token)
    soon(lambda: town.status(order), ("paid", "paid"))
    soon(lambda: charge_of(town, order)[0], "paid")
    assert receipts_of(town, order) == [4]
    assert town.asked(order).count("receipts.pay") == 1
    assert town.books(order) == ("paid", [order.amount], 0)


def test_a_payment_that_never_arrived_is_asked_about_and_never_sent_again(town: Town) -> None:
    token = a_token(town)
    town.script("payme-api", "receipts.pay", "cut")
    order = with_token(town, token)
    soon(lambda: receipts_of(town, order), [0])
    calls = "SELECT asks FROM payme_charges WHERE payment_id = $1::text::uuid AND state = 'paying'"
    soon(lambda: [row["asks"] > 0 for row in town.server.sql(calls, order.payment_id)], [True])
    assert town.status(order) == ("pending", "pending")
    assert town.click(order, "pay")["state"] == "performed", "the link is payable"
    soon(lambda: charge_of(town, order)[0], "lost")
    assert receipts_of(town, order)[0] == 0, "the receipt in doubt was not paid"
    assert town.books(order) == ("paid", [order.amount], 0)


def test_a_receipt_that_cannot_be_made_leaves_the_link_payable(town: Town) -> None:
    token = a_token(town)
    town.script("payme-api", "receipts.create", "error")
    order = with_token(town, token)
    soon(lambda: charge_of(town, order), ("lost", "no receipt was made"))
    assert receipts_of(town, order) == []
    assert town.click(order, "pay")["state"] == "performed"


def test_the_same_request_again_pays_nothing_more(town: Town) -> None:
    token, user = a_token(town), next(_users)
    headers = {**town.as_user(user), "Idempotency-Key": secrets.token_hex(8)}
    town.http.post("/api/cart/items", json={"productId": MOUSE, "quantity": 1}, headers=town.as_user(user))
    wish = {"shippingAddress": HOME, "paymentMethod": "payme", "paymentDetails": {"cardToken": token}, "cartVersion": 1}
    first = town.http.post("/api/orders", json=wish, headers=headers)
    again = town.http.post("/api/orders", json=wish, headers=headers)
    without_key = town.http.post("/api/orders", json=wish, headers=town.as_user(user))
    assert (first.status_code, again.content, without_key.status_code) == (201, first.content, 200)
    data = first.json()["data"]
    order = Order(data["id"], data["paymentId"], user, round(data["totalAmount"] * 100))
    soon(lambda: town.status(order), ("paid", "paid"))
    time.sleep(0.5)
    assert receipts_of(town, order) == [4]


@pytest.mark.parametrize("token", ["8600495473316478", "8600-4954-7331-6478", "", "a b", 7, {"a": 1}, "x" * 1025, "ю"])
def test_what_is_no_token_is_refused_and_not_repeated(town: Town, token: Any) -> None:
    user = next(_users)
    town.http.post("/api/cart/items", json={"productId": MOUSE, "quantity": 1}, headers=town.as_user(user))
    wish = {"shippingAddress": HOME, "paymentMethod": "payme", "paymentDetails": {"cardToken": token}}
    answer = town.http.post("/api/orders", json=wish, headers=town.as_user(user))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_input"), answer.text
    for said in (answer.text, town.server.log_text()):
        assert not re.search(r"8600.?4954.?7331.?6478", said)


def test_a_token_means_nothing_with_another_method(town: Town) -> None:
    order = town.order(paymentMethod="cash_on_delivery", paymentDetails={"cardToken": 7})
    assert town.server.sql("SELECT 1 FROM payme_charges WHERE payment_id = $1::text::uuid", order.payment_id) == []
