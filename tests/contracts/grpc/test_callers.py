"""Who calls: nobody, a key, a header behind a gateway, or both; and what each may do."""

from __future__ import annotations

import secrets

import pytest
from grpc import StatusCode
from tests.contracts.grpc.callers import (
    Caller,
    Json,
    a_word,
    an_order,
    eventually,
    http,
    listed,
    not_found,
    ordered,
    refused,
    request_of,
)
from tests.contracts.grpc.conftest import Meet
from tests.contracts.grpc.contract import message
from tests.rig import Server

REQUIRED = (StatusCode.UNAUTHENTICATED, "API key required")
BAD_KEY = (StatusCode.UNAUTHENTICATED, "Invalid API key")
UNKNOWN = (StatusCode.UNAUTHENTICATED, "Unknown merchant")
DIFFERENT = (StatusCode.PERMISSION_DENIED, "Merchant mismatch")
SCOPE = (StatusCode.PERMISSION_DENIED, "Insufficient scope")
NOBODYS_KEY = f"sk_{secrets.token_urlsafe(32)}"


def new_key(server: Server, *scopes: str) -> tuple[str, str]:
    """A new key of merchant 2, and its id."""
    name = a_word("key")
    with http(server, "sk_demo_2") as merchant:
        made = merchant.post("/api/v1/api-keys", json={"name": name, "scopes": list(scopes)})
        assert made.status_code == 201, made.text
        keys = merchant.get("/api/v1/api-keys").raise_for_status().json()
    rows: list[Json] = keys if isinstance(keys, list) else keys["items"]
    [key_id] = [row["key_id"] for row in rows if row["name"] == name]
    return str(made.json()["key"]), str(key_id)


def belongs_to(server: Server, caller: Caller, merchant: int) -> bool:
    """Whether what this caller asks for is the merchant's payment, and nobody else's."""
    order = an_order()
    payment = caller.pay(**order).payment_id
    assert caller.look(payment).order_id == order["order_id"]
    owners = [n for n in (1, 2, 3) if ordered(server, order, f"sk_demo_{n}") == [payment]]
    return owners == [merchant]


@pytest.mark.parametrize(
    ("said", "merchant"),
    [
        ({}, 1),
        ({"x_api_key": "sk_demo_1"}, 1),
        ({"x_api_key": "sk_demo_2"}, 2),
        ({"x_merchant_id": "1"}, 1),
        ({"x_merchant_id": "2"}, 2),
        ({"x_api_key": "sk_demo_3", "x_merchant_id": "3"}, 3),
    ],
    ids=["nobody", "key 1", "key 2", "header 1", "header 2", "both"],
)
def test_behind_a_gateway_a_caller_is_who_it_says(server: Server, meet: Meet, said: dict[str, str], merchant: int) -> None:
    assert belongs_to(server, meet(server.grpc, **said), merchant)


@pytest.mark.parametrize(
    ("said", "merchant"),
    [
        ({}, 1),
        ({"x_api_key": "sk_demo_2"}, 2),
        ({"x_api_key": "sk_demo_3", "x_merchant_id": "3"}, 3),
    ],
    ids=["nobody", "key", "both"],
)
def test_without_a_gateway_a_key_counts(strict: Server, meet: Meet, said: dict[str, str], merchant: int) -> None:
    assert belongs_to(strict, meet(strict.grpc, **said), merchant)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"x_api_key": NOBODYS_KEY}, BAD_KEY),
        ({"x_api_key": "sk_demo_99"}, BAD_KEY),
        ({"x_api_key": "sk_demo_2 x"}, BAD_KEY),
        ({"x_api_key": "SK_DEMO_2"}, BAD_KEY),
        ({"x_api_key": "nonsense"}, BAD_KEY),
        ({"x_api_key": "sk_" + "a" * 4000}, BAD_KEY),
        ({"x_api_key": NOBODYS_KEY, "x_merchant_id": "1"}, BAD_KEY),
        ({"x_merchant_id": "999"}, UNKNOWN),
        ({"x_merchant_id": "nonsense"}, UNKNOWN),
        ({"x_merchant_id": "-1"}, UNKNOWN),
        ({"x_merchant_id": "02"}, UNKNOWN),
        ({"x_api_key": "sk_demo_2", "x_merchant_id": "1"}, DIFFERENT),
        ({"x_api_key": "sk_demo_1", "x_merchant_id": "2"}, DIFFERENT),
    ],
)
def test_a_caller_who_is_not_who_it_says_gets_nothing(
    server: Server, meet: Meet, nobody: Caller, said: dict[str, str], answer: tuple[StatusCode, str]
) -> None:
    caller, order = meet(server.grpc, **said), an_order()
    assert refused(caller.pay, **order) == answer
    assert refused(caller.look, nobody.pay().payment_id) == answer
    assert [ordered(server, order, f"sk_demo_{n}") for n in (1, 2)] == [[], []]
    assert nobody.pay(**order).replayed is None, "the key is free"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"x_merchant_id": "1"}, REQUIRED),
        ({"x_merchant_id": "2"}, REQUIRED),
        ({"x_merchant_id": "999"}, REQUIRED),
        ({"x_api_key": NOBODYS_KEY}, BAD_KEY),
        ({"x_api_key": "sk_demo_2", "x_merchant_id": "1"}, DIFFERENT),
    ],
)
def test_without_a_gateway_a_header_alone_is_not_believed(
    strict: Server, meet: Meet, said: dict[str, str], answer: tuple[StatusCode, str]
) -> None:
    caller, order = meet(strict.grpc, **said), an_order()
    assert refused(caller.pay, **order) == answer
    assert refused(caller.look, "abc") == answer
    assert [ordered(strict, order, f"sk_demo_{n}") for n in (1, 2)] == [[], []]


def test_a_header_that_is_said_twice_with_two_values_is_not_believed(server: Server, nobody: Caller) -> None:
    request = request_of(an_order())
    for more in ([("x-merchant-id", "1"), ("x-merchant-id", "2")], [("x-api-key", "sk_demo_1"), ("x-api-key", "sk_demo_2")]):
        assert refused(nobody.ask, "RequestPayment", request, more=more)[0] == StatusCode.UNAUTHENTICATED


def test_a_reader_may_read_and_not_pay(server: Server, meet: Meet, nobody: Caller) -> None:
    reader, order = meet(server.grpc, x_api_key="sk_demo_1_read"), an_order()
    assert refused(reader.pay, **order) == SCOPE
    assert ordered(server, order) == []
    payment = nobody.pay(**order)
    assert payment.replayed is None
    assert reader.look(payment.payment_id).payment_id == payment.payment_id
    assert refused(reader.pay, **order) == SCOPE, "not even to repeat"


def test_a_writer_may_pay_and_not_read(server: Server, meet: Meet, shop: Caller) -> None:
    key, _ = new_key(server, "payments:write")
    writer = meet(server.grpc, x_api_key=key)
    payment = writer.pay().payment_id
    assert refused(writer.look, payment) == SCOPE
    assert refused(writer.look, "abc") == SCOPE
    assert shop.look(payment).payment_id == payment


def test_a_key_with_other_scopes_may_do_neither(server: Server, meet: Meet, shop: Caller) -> None:
    key, _ = new_key(server, "refunds:write", "merchant:read")
    other = meet(server.grpc, x_api_key=key)
    assert refused(other.pay) == SCOPE
    assert refused(other.look, shop.pay().payment_id) == SCOPE


def test_a_revoked_key_is_refused_by_the_next_call(server: Server, meet: Meet) -> None:
    key, key_id = new_key(server, "payments:write", "payments:read")
    caller, order = meet(server.grpc, x_api_key=key), an_order()
    payment = caller.pay(**order).payment_id
    assert caller.look(payment).payment_id == payment
    with http(server, "sk_demo_2") as merchant:
        assert merchant.delete(f"/api/v1/api-keys/{key_id}").status_code == 204
    assert refused(caller.pay, **order) == BAD_KEY
    assert refused(caller.look, payment) == BAD_KEY
    assert refused(meet(server.grpc, x_api_key=key, x_merchant_id="2").pay) == BAD_KEY


@pytest.mark.parametrize("said", [{"x_api_key": NOBODYS_KEY}, {"x_merchant_id": "999"}, {"x_merchant_id": "2"}])
def test_health_asks_nobody_who_he_is(server: Server, strict: Server, meet: Meet, said: dict[str, str]) -> None:
    assert meet(server.grpc, **said).health() == "ok"
    assert meet(strict.grpc, **said).health() == "ok"


def test_a_merchant_may_pay_in_any_currency_of_the_list(server: Server, shop: Caller) -> None:
    order = an_order(currency="aud")
    payment = shop.pay(**order).payment_id
    assert shop.look(payment).currency == "AUD"
    assert [item["currency"] for item in listed(server, "sk_demo_2", order_id=order["order_id"])] == ["AUD"]


def test_a_request_id_comes_back_and_is_in_the_logs(server: Server, meet: Meet) -> None:
    for method, request in (("RequestPayment", request_of(an_order())), ("GetPayment", None)):
        word = a_word("request")
        caller = meet(server.grpc, x_request_id=word)
        answer = caller.ask(method, request or message("GetPaymentRequest")(payment_id=caller.pay().payment_id))
        assert answer.trailing["x-request-id"] == word
        assert eventually(lambda: word in server.log_text(), what="it is not in the logs")


def test_a_request_id_comes_back_with_a_refusal_and_with_a_repeat(server: Server, meet: Meet) -> None:
    word = a_word("request")
    caller = meet(server.grpc, x_request_id=word)
    for method, data in (("RequestPayment", b""), ("GetPayment", b"")):
        call = caller.channel.unary_unary(f"/payments.v1.PaymentService/{method}").future(data, timeout=20, metadata=caller.said)
        assert call.code() in {StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}
        assert ("x-request-id", word) in [(entry.key, entry.value) for entry in call.trailing_metadata()]
    order = an_order()
    caller.pay(**order)
    repeat = caller.pay(**order)
    assert (repeat.replayed, repeat.trailing["x-request-id"]) == ("true", word)


def test_what_a_caller_sent_stands_in_no_refusal(server: Server, meet: Meet) -> None:
    word = a_word("secret")
    caller = meet(server.grpc, x_api_key=word)
    assert word not in "".join(refused(caller.pay)[1])
    assert refused(meet(server.grpc).look, word) == not_found(word), "but for the id that was asked for"
