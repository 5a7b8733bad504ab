"""Only a token of ours opens a door, and nobody sees what belongs to another."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import httpx2
import pytest
from tests.rig import Server

from .journeys import (
    SignIn,
    add,
    anybody,
    buy_for_cash,
    buy_waiting,
    look,
    move,
    orders_of,
    quantities,
    read,
    refusal,
    success,
    track,
)
from .tokens import ATTACKERS_SECRET, HOSTILE, Claims, Forgery, claims, jwt, with_header

Visit = Callable[[str | None], httpx2.Client]
SOME_ORDER = "019b76da-9c40-7a11-8d02-5b1f0c6e7a33"
DOORS = [
    ("GET", "/api/cart"),
    ("DELETE", "/api/cart"),
    ("POST", "/api/cart/items"),
    ("PUT", f"/api/cart/items/{SOME_ORDER}"),
    ("DELETE", f"/api/cart/items/{SOME_ORDER}"),
    ("POST", "/api/orders"),
    ("GET", "/api/orders"),
    ("GET", f"/api/orders/{SOME_ORDER}"),
    ("PUT", f"/api/orders/{SOME_ORDER}/status"),
    ("GET", f"/api/orders/{SOME_ORDER}/tracking"),
    ("GET", f"/api/orders/{SOME_ORDER}/events"),
]


def turned_away(answer: httpx2.Response) -> None:
    refusal(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), DOORS)
def test_every_door_wants_a_token(passer_by: httpx2.Client, method: str, path: str) -> None:
    turned_away(passer_by.request(method, path))


@pytest.mark.parametrize("forge", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_token_opens_nothing(server: Server, visit: Visit, forge: Forgery) -> None:
    began = time.monotonic()
    turned_away(visit(forge(server.secret)).get("/api/cart"))
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("header", ["jku", "x5u"])
def test_an_address_inside_a_token_is_never_called(server: Server, visit: Visit, header: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        token = jwt(claims(), ATTACKERS_SECRET, with_header(**{header: address, "kid": "1"}))
        turned_away(visit(token).get("/api/cart"))
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Basic {token}",
        "Token {token}",
        "{token}",
        "Bearer {token} {token}",
        "Bearer {token},{token}",
        'Bearer "{token}"',
        "Bearer:{token}",
    ],
)
def test_a_token_must_be_shown_the_documented_way(server: Server, passer_by: httpx2.Client, value: str) -> None:
    token = jwt(claims(), server.secret)
    turned_away(passer_by.get("/api/cart", headers={"Authorization": value.format(token=token)}))


def test_a_token_in_the_address_or_in_a_cookie_is_no_token(server: Server, passer_by: httpx2.Client) -> None:
    token = jwt(claims(), server.secret)
    turned_away(passer_by.get("/api/cart", params={"token": token, "access_token": token}))
    turned_away(passer_by.get("/api/cart", headers={"Cookie": f"token={token}"}))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"x" * 70_000, b'{"quantity": "2", "price": 1}'])
def test_who_one_is_comes_before_what_one_wants(passer_by: httpx2.Client, body: bytes) -> None:
    for path in ("/api/cart/items", "/api/orders"):
        turned_away(passer_by.post(path, content=body))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"alg": "HS256"}, {}),
        (with_header(kid="some-key"), {}),
        (with_header(jku="http://127.0.0.1:9/keys", x5u="http://127.0.0.1:9/cert"), {}),
        (with_header(), {"nbf": 1}),
        (with_header(), {"iat": 1, "iss": "somebody", "jti": "x", "email": "a@example.com"}),
        (with_header(), {"pad": "x" * 5000}),
        (with_header(), {"id": "a-text-id"}),
        (with_header(), {"id": "u" * 255}),
        (with_header(), {"id": None, "sub": "somebody"}),
        (with_header(), {"id": 4711, "sub": "somebody else"}),
    ],
)
def test_an_honest_token_is_let_in(server: Server, visit: Visit, header: Claims, said: Claims) -> None:
    success(visit(jwt(claims(**said), server.secret, header)).get("/api/cart"))


def test_id_and_sub_are_one_user(server: Server, visit: Visit) -> None:
    user = anybody()
    by_id = visit(jwt(claims(id=user), server.secret))
    by_text = visit(jwt(claims(id=str(user)), server.secret))
    by_sub = visit(jwt(claims(id=None, sub=str(user)), server.secret))
    item = add(by_id, "prod_001", 2)
    assert add(by_sub, "prod_001", 1)["id"] == item["id"]
    assert quantities(by_text) == {"prod_001": 3}
    assert look(by_id) == look(by_sub) == look(by_text)


def test_id_goes_before_sub(server: Server, visit: Visit) -> None:
    user, other = anybody(), anybody()
    add(visit(jwt(claims(id=user, sub=str(other)), server.secret)))
    assert quantities(visit(jwt(claims(id=user), server.secret))) == {"prod_001": 1}
    assert quantities(visit(jwt(claims(id=other), server.secret))) == {}


@pytest.mark.parametrize("role", ["user", "Staff", "STAFF", "root", "", "staff,admin"])
def test_any_other_role_is_a_plain_user(sign_in: SignIn, role: str) -> None:
    order = buy_waiting(sign_in())
    somebody = sign_in(role=role)
    refusal(somebody.get(f"/api/orders/{order['id']}"), 404, "not_found")
    refusal(move(somebody, order["id"], "cancelled"), 404, "not_found")


@pytest.mark.parametrize("role", [["staff"], True, 1, {"staff": True}])
def test_a_role_that_is_no_text_is_a_plain_user(server: Server, visit: Visit, role: object) -> None:
    owner = visit(jwt(claims(id=anybody(), role=role), server.secret))
    order = buy_waiting(owner)
    refusal(move(owner, order["id"], "processing"), 403, "forbidden")


# What belongs to another does not exist


def test_a_strangers_order_does_not_exist(buyer: httpx2.Client, stranger: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    path = f"/api/orders/{order['id']}"
    for answer in (
        stranger.get(path),
        stranger.get(f"{path}/tracking"),
        stranger.get(f"{path}/events"),
        move(stranger, order["id"], "cancelled"),
        move(stranger, order["id"], "delivered"),
        move(stranger, order["id"], "shipped", trackingNumber="1Z999"),
    ):
        refusal(answer, 404, "not_found")
    assert read(buyer, order["id"])["status"] == "pending"
    assert orders_of(stranger)["total"] == 0


@pytest.mark.parametrize(
    "order",
    [
        "nothing",
        "0",
        "507f1f77bcf86cd799439014",
        SOME_ORDER,
        SOME_ORDER[:-1],
        "%00",
        "x" * 300,
        "'%20or%20'1'='1",
        "%F0%9F%8E%81",
    ],
)
def test_an_order_that_is_not_there_is_not_found(buyer: httpx2.Client, staff: httpx2.Client, order: str) -> None:
    for who in (buyer, staff):
        for answer in (
            who.get(f"/api/orders/{order}"),
            who.get(f"/api/orders/{order}/tracking"),
            who.get(f"/api/orders/{order}/events"),
            move(who, order, "cancelled"),
        ):
            refusal(answer, 404, "not_found")


@pytest.mark.parametrize("role", ["staff", "admin"])
def test_staff_see_every_order_but_list_their_own(sign_in: SignIn, buyer: httpx2.Client, role: str) -> None:
    staff = sign_in(role=role)
    order = buy_for_cash(buyer)
    assert read(staff, order["id"]) == read(buyer, order["id"])
    assert track(staff, order["id"]) == track(buyer, order["id"])
    assert orders_of(staff)["orders"] == []
    own = buy_waiting(staff)
    assert [row["id"] for row in orders_of(staff)["orders"]] == [own["id"]]


def test_an_owner_may_only_cancel(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    for status in ("pending", "paid", "processing", "shipped", "delivered"):
        refusal(move(buyer, order["id"], status), 403, "forbidden")
    for more in ({"trackingNumber": "1Z999"}, {"carrier": "DHL"}):
        refusal(move(buyer, order["id"], "cancelled", **more), 403, "forbidden")
    assert read(buyer, order["id"])["status"] == "pending"


def test_an_owner_is_forbidden_before_the_move_is_looked_at(buyer: httpx2.Client) -> None:
    order = buy_waiting(buyer)
    success(move(buyer, order["id"], "cancelled"))
    refusal(move(buyer, order["id"], "shipped"), 403, "forbidden")


def test_staff_may_move_an_order_of_their_own(staff: httpx2.Client) -> None:
    order = buy_for_cash(staff)
    assert success(move(staff, order["id"], "shipped"))["status"] == "shipped"
