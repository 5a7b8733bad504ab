"""Every answer has one shape, says which request it answers, and unknown doors are closed politely."""

from __future__ import annotations

import httpx2
import pytest

from .journeys import look, refusal


def test_a_living_process_says_so(passer_by: httpx2.Client) -> None:
    answer = passer_by.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"message": "ok", "status": "ok"})


def test_a_ready_process_says_so(passer_by: httpx2.Client) -> None:
    answer = passer_by.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"message": "ready"})


@pytest.mark.parametrize("request_id", ["a", "order-form/7731~!", "x" * 128])
def test_a_request_id_comes_back(buyer: httpx2.Client, request_id: str) -> None:
    answer = buyer.get("/api/cart", headers={"X-Request-Id": request_id})
    assert answer.headers["X-Request-Id"] == request_id


@pytest.mark.parametrize("request_id", [b"x" * 129, b"two words", b"caf\xe9", b""])
def test_a_request_id_that_cannot_be_used_is_replaced(buyer: httpx2.Client, request_id: bytes) -> None:
    answer = buyer.get("/api/cart", headers={b"X-Request-Id": request_id})
    assert answer.status_code == 200
    made = answer.headers["X-Request-Id"]
    assert made.encode("latin-1") != request_id
    assert 1 <= len(made) <= 128


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/ready", 200),
        ("GET", "/api/products", 200),
        ("GET", "/api/products/nothing", 404),
        ("GET", "/api/cart", 401),
        ("GET", "/api/cart/nowhere", 404),
        ("PATCH", "/api/cart", 405),
    ],
)
def test_every_answer_names_its_request(passer_by: httpx2.Client, method: str, path: str, status: int) -> None:
    answer = passer_by.request(method, path)
    assert answer.status_code == status
    assert answer.headers["X-Request-Id"]


def test_two_requests_get_two_ids(passer_by: httpx2.Client) -> None:
    first, second = (passer_by.get("/health").headers["X-Request-Id"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    "path",
    [
        "/api/cart/nowhere",
        "/api/cart/items/one/two",
        "/api/orders/one/nothing",
        "/api/orders/one/two/three",
        "/api/products/one/two",
        "/api/nowhere",
    ],
)
def test_an_unknown_path_is_not_found(buyer: httpx2.Client, path: str) -> None:
    refusal(buyer.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/cart", {"GET", "DELETE"}),
        ("PATCH", "/api/cart", {"GET", "DELETE"}),
        ("GET", "/api/cart/items", {"POST"}),
        ("GET", "/api/cart/items/some", {"PUT", "DELETE"}),
        ("POST", "/api/cart/items/some", {"PUT", "DELETE"}),
        ("DELETE", "/api/orders", {"GET", "POST"}),
        ("DELETE", "/api/orders/some", {"GET"}),
        ("GET", "/api/orders/some/status", {"PUT"}),
        ("POST", "/api/orders/some/tracking", {"GET"}),
        ("POST", "/api/orders/some/events", {"GET"}),
        ("POST", "/api/products", {"GET"}),
        ("DELETE", "/api/products/prod_001", {"GET"}),
    ],
)
def test_another_verb_is_told_which_verbs_there_are(buyer: httpx2.Client, method: str, path: str, allowed: set[str]) -> None:
    answer = buyer.request(method, path)
    refusal(answer, 405, "method_not_allowed")
    offered = {verb.strip() for verb in answer.headers["Allow"].split(",")}
    assert allowed <= offered
    assert not offered & ({"GET", "POST", "PUT", "PATCH", "DELETE"} - allowed)


def test_the_content_type_of_a_request_does_not_matter(buyer: httpx2.Client) -> None:
    answer = buyer.post(
        "/api/cart/items",
        content=b'{"productId": "prod_001"}',
        headers={"Content-Type": "text/plain"},
    )
    assert answer.status_code == 201
    assert look(buyer)["totalItems"] == 1


def test_answers_are_json(buyer: httpx2.Client) -> None:
    for path in ("/api/cart", "/api/products", "/api/orders", "/api/cart/nowhere"):
        assert buyer.get(path).headers["Content-Type"].startswith("application/json")
