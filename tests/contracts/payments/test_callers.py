"""Who calls (section 2): every cell of the table, with the header trusted and not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx2
import pytest

from .till import BASE, Json, Mall, a_key, an_order, ask, is_well, pay_link, refusal, wish

if TYPE_CHECKING:
    from tests.conftest import StartKassa

GOOD, BAD = "sk_demo_1", "sk_demo_99"
Pairs = list[tuple[str, str]]

# Routes that need a caller in both columns. `{id}` is a payment of merchant 1.
CLOSED = [
    ("POST", BASE, wish()),
    ("GET", BASE, None),
    ("GET", f"{BASE}/{{id}}", None),
    ("POST", f"{BASE}/{{id}}/refunds", {"amount": "1.00"}),
    ("GET", f"{BASE}/{{id}}/refunds", None),
    ("GET", f"{BASE}/{{id}}/ledger", None),
    ("GET", "/api/v1/merchants/me", None),
    ("GET", "/api/v1/api-keys", None),
    ("POST", "/api/v1/api-keys", {"name": "till", "scopes": ["payments:read"]}),
    ("DELETE", "/api/v1/api-keys/{id}", None),
]
PUBLIC = ["show", "tracking"]
REPEATED: list[Pairs] = [
    [("X-Merchant-Id", "1"), ("X-Merchant-Id", "2")],
    [("X-Api-Key", GOOD), ("X-Api-Key", "sk_demo_2")],
    [("X-Api-Key", GOOD), ("X-Api-Key", BAD)],
    [("X-Api-Key", BAD), ("X-Api-Key", GOOD)],
    [("X-Api-Key", GOOD), ("X-Merchant-Id", "1"), ("X-Merchant-Id", "2")],
    [("X-Merchant-Id", "1"), ("X-Api-Key", GOOD), ("X-Api-Key", "sk_demo_1_read")],
]
NO_KEYS = ["", "sk_", "sk_demo_0", "sk_demo_1 x", "SK_DEMO_1", "sk_demo_1_", "demo_1", "1", "Bearer sk_demo_1",
           "' OR 1=1 --", "sk_" + "A" * 43, "sk_" + "A" * 4000]  # fmt: skip


@pytest.fixture(scope="module")
def strict(start_kassa: StartKassa) -> Iterator[Mall]:
    """A Kassa without a gateway in front: it does not trust the header."""
    server = start_kassa(TRUST_MERCHANT_HEADER="false")
    yield Mall(server)
    is_well(server)


@pytest.fixture(scope="module")
def payment_id(mall: Mall) -> str:
    return pay_link(mall.merchant(1))


@pytest.fixture(scope="module")
def strict_id(strict: Mall) -> str:
    return pay_link(strict.merchant(1))


def listed(mall: Mall, *headers: tuple[str, str]) -> httpx2.Response:
    return mall.nobody().get(BASE, headers=list(headers))


def whose(mall: Mall, *headers: tuple[str, str]) -> int:
    answer = mall.nobody().get("/api/v1/merchants/me", headers=list(headers))
    assert answer.status_code == 200, answer.text
    found: int = answer.json()["merchant_id"]
    return found


def unauthorized(answer: httpx2.Response) -> None:
    refusal(answer, 401, "unauthorized", "Unauthorized")


def invalid_key(answer: httpx2.Response) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.json() == {"detail": "Invalid API key", "code": "invalid_api_key"}


# The header alone


@pytest.mark.parametrize("number", [1, 2, 7])
def test_a_trusted_header_names_the_merchant(mall: Mall, number: int) -> None:
    assert whose(mall, ("X-Merchant-Id", str(number))) == number


@pytest.mark.parametrize("text", ["0", "9", "999", "-1", "01", "1.0", "one", "1;2", "1 OR 1=1", "9" * 400])
def test_a_trusted_header_that_names_nobody_is_refused(mall: Mall, text: str) -> None:
    refusal(listed(mall, ("X-Merchant-Id", text)), 401, "unknown_merchant", "Unknown merchant")


@pytest.mark.parametrize("text", ["1", "2", "999", "one"])
@pytest.mark.parametrize(("method", "path", "body"), CLOSED)
def test_an_untrusted_header_alone_is_nobody(
    strict: Mall, strict_id: str, text: str, method: str, path: str, body: Json | None
) -> None:
    headers = {"X-Merchant-Id": text, "Idempotency-Key": a_key()}
    unauthorized(strict.nobody().request(method, path.format(id=strict_id), json=body, headers=headers))


def test_a_trusted_header_may_do_everything_but_manage_keys(mall: Mall) -> None:
    gateway = mall.with_headers(X_Merchant_Id="1")
    payment_id = pay_link(gateway)
    for path in (BASE, f"{BASE}/{payment_id}/show", f"{BASE}/{payment_id}/ledger", "/api/v1/merchants/me"):
        assert gateway.get(path).status_code == 200
    refused = gateway.post(f"{BASE}/{payment_id}/refunds", json={}, headers={"Idempotency-Key": a_key()})
    refusal(refused, 400, "not_refundable")
    for answer in (
        gateway.get("/api/v1/api-keys"),
        gateway.post("/api/v1/api-keys", json={"name": "x", "scopes": ["payments:read"]}),
    ):
        refusal(answer, 403, "insufficient_scope", "Insufficient scope", required="keys:manage")


# The key alone, and both


@pytest.mark.parametrize("number", range(1, 9))
def test_a_key_is_its_merchant_whether_headers_are_trusted_or_not(mall: Mall, strict: Mall, number: int) -> None:
    assert whose(mall, ("X-Api-Key", f"sk_demo_{number}")) == number
    assert whose(strict, ("X-Api-Key", f"sk_demo_{number}")) == number


def test_a_key_and_a_header_of_the_same_merchant_agree(mall: Mall, strict: Mall) -> None:
    for kassa in (mall, strict):
        assert whose(kassa, ("X-Api-Key", GOOD), ("X-Merchant-Id", "1")) == 1


@pytest.mark.parametrize(("key", "number"), [(GOOD, "2"), ("sk_demo_2", "1"), ("sk_demo_1_read", "2")])
def test_a_key_and_a_header_of_two_merchants_are_refused(mall: Mall, strict: Mall, key: str, number: str) -> None:
    for kassa in (mall, strict):
        refusal(listed(kassa, ("X-Api-Key", key), ("X-Merchant-Id", number)), 403, "merchant_mismatch", "Merchant mismatch")


def test_a_key_beside_a_header_that_names_nobody_is_refused(mall: Mall, strict: Mall) -> None:
    for kassa in (mall, strict):
        assert listed(kassa, ("X-Api-Key", GOOD), ("X-Merchant-Id", "999")).status_code in {401, 403}


def test_the_header_adds_nothing_to_what_the_key_may_do(mall: Mall, strict: Mall) -> None:
    for kassa in (mall, strict):
        client = kassa.with_headers(X_Api_Key="sk_demo_1_read", X_Merchant_Id="1")
        refusal(ask(client), 403, "insufficient_scope", "Insufficient scope", required="payments:write")
        assert client.get(BASE).status_code == 200


@pytest.mark.parametrize("key", NO_KEYS)
def test_a_key_that_is_none_is_refused(mall: Mall, strict: Mall, key: str) -> None:
    for kassa in (mall, strict):
        answer = listed(kassa, ("X-Api-Key", key))
        if key:
            invalid_key(answer)
        assert answer.status_code == 401
        assert len(key) < 4 or key not in answer.text


@pytest.mark.parametrize("key", [b"sk_demo_\xc3\xbc", b"sk_\xff\xfe"])
def test_a_key_of_strange_bytes_is_refused(mall: Mall, key: bytes) -> None:
    invalid_key(mall.nobody().get(BASE, headers=[(b"X-Api-Key", key)]))


def test_a_bad_key_is_never_ignored_in_favour_of_the_header(mall: Mall, strict: Mall, payment_id: str) -> None:
    for kassa in (mall, strict):
        invalid_key(listed(kassa, ("X-Api-Key", BAD), ("X-Merchant-Id", "1")))
    for name in PUBLIC:
        invalid_key(mall.nobody().get(f"{BASE}/{payment_id}/{name}", headers={"X-Api-Key": BAD}))


def test_a_header_of_the_family_is_not_taken_for_another(mall: Mall) -> None:
    """A key is a key in `X-Api-Key` only."""
    unauthorized(listed(mall, ("Authorization", f"Bearer {GOOD}")))
    unauthorized(mall.nobody().get(BASE, params={"api_key": GOOD, "X-Merchant-Id": "1"}))


# Neither


@pytest.mark.parametrize(("method", "path", "body"), CLOSED)
def test_nobody_is_refused(
    mall: Mall, strict: Mall, payment_id: str, strict_id: str, method: str, path: str, body: Json | None
) -> None:
    for kassa, number in ((mall, payment_id), (strict, strict_id)):
        unauthorized(kassa.nobody().request(method, path.format(id=number), json=body, headers={"Idempotency-Key": a_key()}))


@pytest.mark.parametrize("name", PUBLIC)
def test_behind_a_gateway_show_and_tracking_are_public(mall: Mall, merchant: httpx2.Client, payment_id: str, name: str) -> None:
    answer = mall.nobody().get(f"{BASE}/{payment_id}/{name}")
    assert answer.status_code == 200, answer.text
    assert answer.json() == merchant.get(f"{BASE}/{payment_id}/{name}").json()


@pytest.mark.parametrize("name", PUBLIC)
def test_without_a_gateway_show_and_tracking_need_a_key(strict: Mall, strict_id: str, name: str) -> None:
    path = f"{BASE}/{strict_id}/{name}"
    unauthorized(strict.nobody().get(path))
    unauthorized(strict.with_headers(X_Merchant_Id="1").get(path))
    assert strict.merchant(1).get(path).status_code == 200


@pytest.mark.parametrize("name", PUBLIC)
def test_a_known_caller_sees_only_own_payments_even_where_they_are_public(mall: Mall, payment_id: str, name: str) -> None:
    path = f"{BASE}/{payment_id}/{name}"
    for client in (mall.merchant(2), mall.with_headers(X_Merchant_Id="2")):
        refusal(client.get(path), 404, "payment_not_found", "Payment not found")
    refusal(mall.with_headers(X_Merchant_Id="999").get(path), 401, "unknown_merchant", "Unknown merchant")


# Repeated headers


@pytest.mark.parametrize("headers", REPEATED, ids=str)
def test_a_header_that_says_two_things_is_refused(mall: Mall, strict: Mall, payment_id: str, headers: Pairs) -> None:
    for kassa in (mall, strict):
        assert listed(kassa, *headers).status_code == 401
    for name in PUBLIC:
        assert mall.nobody().get(f"{BASE}/{payment_id}/{name}", headers=headers).status_code == 401


# The order of judgement


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b'{"order_id": 0}'])
def test_credentials_are_judged_before_the_body(mall: Mall, strict: Mall, raw: bytes) -> None:
    short = {"Idempotency-Key": "short"}
    unauthorized(mall.nobody().post(BASE, content=raw, headers=short))
    invalid_key(mall.with_key(BAD).post(BASE, content=raw, headers=short))
    refusal(mall.with_headers(X_Merchant_Id="999").post(BASE, content=raw), 401, "unknown_merchant")
    refusal(mall.with_headers(X_Merchant_Id="2", X_Api_Key=GOOD).post(BASE, content=raw), 403, "merchant_mismatch")
    unauthorized(strict.with_headers(X_Merchant_Id="1").post(BASE, content=raw))


def test_credentials_are_judged_before_a_query(mall: Mall) -> None:
    unauthorized(mall.nobody().get(BASE, params={"page": "x"}))
    invalid_key(mall.with_key(BAD).get(BASE, params={"page": "x"}))


def test_scope_is_judged_before_the_body(mall: Mall) -> None:
    reader = mall.with_key("sk_demo_1_read")
    for raw in (b"", b"{", b'{"order_id": 0}'):
        answer = reader.post(BASE, content=raw, headers={"Idempotency-Key": "short"})
        refusal(answer, 403, "insufficient_scope", "Insufficient scope", required="payments:write")


def test_the_body_is_judged_before_the_key_and_the_key_before_the_business(merchant: httpx2.Client) -> None:
    short = {"Idempotency-Key": "short"}
    assert ask(merchant, price="12.345", headers=short).status_code == 422
    refusal(ask(merchant, alias="bank", headers=short), 400, "idempotency_key_invalid")
    refusal(ask(merchant, alias="bank"), 400, "provider_not_found")


def test_no_header_makes_a_payment_for_somebody_else(mall: Mall, strict: Mall) -> None:
    """F69: neither a header nor a member of the body changes whose payment it is."""
    for kassa in (mall, strict):
        order_id = an_order()
        pay_link(kassa.merchant(2), wish(order_id=order_id, merchant_id=1))
        assert kassa.merchant(1).get(BASE, params={"order_id": order_id}).json()["items"] == []
        assert [item["order_id"] for item in kassa.merchant(2).get(BASE, params={"order_id": order_id}).json()["items"]] == [
            order_id
        ]
