"""Only a token of ours opens a door (sections 1 and 11)."""

from __future__ import annotations

import httpx2
import pytest
from tests.contracts.orders.tokens import HOSTILE, Claims, Forgery, claims, jwt, with_header

from .journeys import Buyer, Shop, refusal

DOORS = [("GET", "/cart"), ("POST", "/cart/items"), ("DELETE", "/cart/items"), ("POST", "/checkout"), ("GET", "/purchases")]
OVER = {"exp a second ago", "exp long ago", "exp below zero"}


def turned_away(response: httpx2.Response, detail: str | None = None) -> str:
    body = refusal(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    said: str = body["detail"]
    assert detail in {None, said}, said
    return said


def with_token(shop: Shop, token: str) -> Buyer:
    return Buyer("somebody", token, shop.http)


@pytest.mark.parametrize(("method", "path"), DOORS)
def test_every_door_wants_a_token(plain: Shop, method: str, path: str) -> None:
    turned_away(plain.http.request(method, path), "Not authenticated")


@pytest.mark.parametrize("value", ["", "Bearer", "Basic {token}", "Token {token}", "{token}", "Digest x"])
def test_another_scheme_or_nothing_is_no_authentication(plain: Shop, value: str) -> None:
    token = jwt(claims(), plain.server.secret)
    answer = plain.http.get("/cart", headers={"Authorization": value.format(token=token)})
    turned_away(answer, "Not authenticated")


@pytest.mark.parametrize("forge", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_token_opens_nothing(plain: Shop, forge: Forgery, request: pytest.FixtureRequest) -> None:
    token = forge(plain.server.secret)
    said = turned_away(with_token(plain, token).send("GET", "/cart"))
    if request.node.callspec.id in OVER:
        assert said == "Token has expired"
    else:
        reason = said.removeprefix("Invalid token: ")
        assert reason != said
        assert reason.strip()
        assert token not in said


def test_there_is_no_leeway(plain: Shop) -> None:
    for changes in ({"exp": 1}, {"nbf": 4102444800}):
        turned_away(with_token(plain, jwt(claims(**changes), plain.server.secret)).send("GET", "/purchases"))


@pytest.mark.parametrize("said", [{}, {"nbf": 1}, {"id": None, "sub": "somebody"}, {"id": "x" * 255}, {"iss": "a", "aud": "b"}])
def test_an_honest_token_is_let_in(plain: Shop, said: Claims) -> None:
    token = jwt(claims(**said), plain.server.secret, with_header())
    assert with_token(plain, token).send("GET", "/cart").status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"x" * 70_000, b'{"ambassador_id": "1"}'])
def test_who_one_is_comes_before_what_one_wants(plain: Shop, body: bytes) -> None:
    for method, path in DOORS[1:4]:
        turned_away(plain.http.request(method, path, content=body), "Not authenticated")
    turned_away(plain.http.get("/purchases", params={"page": "x"}), "Not authenticated")
    garbage = with_token(plain, "a.b.c")
    turned_away(garbage.send("POST", "/cart/items", content=body))


def test_without_a_token_nothing_is_written(plain: Shop) -> None:
    before = plain.server.sql("SELECT count(*) AS n FROM purchases.carts")
    for method, path in DOORS:
        plain.http.request(method, path, json={"ambassador_id": 1})
    assert plain.server.sql("SELECT count(*) AS n FROM purchases.carts") == before
