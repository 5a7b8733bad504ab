"""Who may look at a checkout, and how a stranger is sent away (section 3, ground rules)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .journeys import (
    Shop,
    buy,
    forged,
    id_of,
    line,
    look,
    order_form,
    orders_of,
    problem,
    someone_signed_in,
    visitor,
)


@pytest.fixture(scope="module")
def a_buyers_checkout(server: Shop) -> tuple[int, str]:
    buyer = someone_signed_in()
    with visitor(server, server.token(buyer)) as client:
        answer = buy(client, order_form(line("prod_011")))
    assert answer.status_code == 200, answer.text
    return buyer, id_of(answer)


def test_a_buyers_checkout_is_read_by_the_buyer(server: Shop, a_buyers_checkout: tuple[int, str]) -> None:
    buyer, checkout_id = a_buyers_checkout
    with visitor(server, server.token(buyer)) as client:
        assert look(client, checkout_id)["checkout_id"] == checkout_id


@pytest.mark.parametrize("role", ["staff", "admin"])
def test_a_buyers_checkout_is_read_by_staff(server: Shop, a_buyers_checkout: tuple[int, str], role: str) -> None:
    with visitor(server, server.token(someone_signed_in(), role)) as client:
        assert look(client, a_buyers_checkout[1])["status"] == "completed"


@pytest.mark.parametrize("role", [None, "user", "owner", "STAFF"])
def test_a_buyers_checkout_is_not_there_for_another(server: Shop, a_buyers_checkout: tuple[int, str], role: str | None) -> None:
    with visitor(server, server.token(someone_signed_in(), role)) as stranger:
        problem(stranger.get(f"/checkout/{a_buyers_checkout[1]}"), 404, "Not found")


def test_a_buyers_checkout_is_not_there_for_a_guest(server: Shop, a_buyers_checkout: tuple[int, str]) -> None:
    with visitor(server) as guest:
        hidden = guest.get(f"/checkout/{a_buyers_checkout[1]}")
        unknown = guest.get("/checkout/0198c0de-0000-7000-8000-000000000000")
    assert problem(hidden, 404, "Not found") == problem(unknown, 404, "Not found")


def test_a_guests_checkout_is_read_by_any_signed_in_buyer_who_has_its_id(server: Shop) -> None:
    with visitor(server) as guest, visitor(server, server.token(someone_signed_in())) as other:
        checkout_id = id_of(buy(guest, order_form(line("prod_011"))))
        assert look(other, checkout_id)["status"] == "completed"


def test_a_checkout_shows_nothing_personal(server: Shop) -> None:
    form = order_form(line("prod_011"), email="carmen.rua@example.com")
    with visitor(server) as guest:
        checkout_id = id_of(buy(guest, form))
        text = guest.get(f"/checkout/{checkout_id}").text
    personal = ["carmen", "Rua das Flores", "Paulo", "01234", "411111", "12/25"]
    assert [word for word in personal if word in text.replace(checkout_id, "")] == []


@pytest.mark.parametrize(
    "checkout_id",
    [
        "0198c0de-0000-7000-8000-000000000000",
        "00000000-0000-0000-0000-000000000000",
        "x",
        "1",
        "-1",
        "null",
        "019",
        "0198c0de000070008000000000000000x",
        "0198c0de-0000-7000-8000-00000000000g",
        "%00",
        "%F0%9F%92%B3",
        "a" * 3000,
        "1%27%20or%20%271%27=%271",
    ],
)
def test_an_unknown_or_malformed_id_is_404(server: Shop, checkout_id: str) -> None:
    with visitor(server) as guest:
        answer = guest.get(f"/checkout/{checkout_id}")
    problem(answer, 404, "Not found")
    assert len(checkout_id) < 6 or checkout_id not in answer.text


def test_a_good_token_makes_a_buyer_of_a_guest_by_id_or_by_sub(server: Shop) -> None:
    buyer = someone_signed_in()
    by_sub = forged(server.secret, {"sub": str(buyer), "exp": int(time.time()) + 600})
    with visitor(server, by_sub) as client:
        answer = buy(client, order_form(line("prod_011")))
    assert answer.status_code == 200, answer.text
    assert [order["id"] for order in orders_of(server, server.token(buyer))] == [answer.json()["order_id"]]


@pytest.mark.parametrize("user", ["a\u0000b", "a\ud800b", "名前", "a b", "'; --", "u" * 255])
def test_a_signed_user_of_odd_characters_buys_or_is_turned_away(server: Shop, user: str) -> None:
    token = forged(server.secret, {"id": user, "exp": int(time.time()) + 600})
    with visitor(server, token) as client:
        answer = buy(client, order_form(line("prod_011")))
    assert answer.status_code in {200, 401}, answer.text


def _claims(**other: Any) -> dict[str, Any]:
    return {"id": 1, "exp": int(time.time()) + 600, **other}


def _bad_credentials(server: Shop) -> dict[str, str]:
    secret = server.secret
    good = forged(secret, _claims())
    head, body, signature = good.split(".")
    unsigned = forged(secret, _claims(), {"alg": "none", "typ": "JWT"}).rsplit(".", 1)[0] + "."
    return {
        "garbage": "Bearer abc.def.ghi",
        "nothing after Bearer": "Bearer",
        "another scheme": "Basic dXNlcjpwYXNz",
        "no scheme": good,
        "another secret": f"Bearer {forged('x' * 32, _claims())}",
        "expired": f"Bearer {forged(secret, _claims(exp=int(time.time()) - 1))}",
        "no exp": f"Bearer {forged(secret, {'id': 1})}",
        "exp of text": f"Bearer {forged(secret, _claims(exp='tomorrow'))}",
        "not yet valid": f"Bearer {forged(secret, _claims(nbf=int(time.time()) + 600))}",
        "no user": f"Bearer {forged(secret, {'exp': int(time.time()) + 600})}",
        "an empty user": f"Bearer {forged(secret, _claims(id=''))}",
        "a user of 256 characters": f"Bearer {forged(secret, _claims(id='u' * 256))}",
        "a user that is a list": f"Bearer {forged(secret, _claims(id=[1]))}",
        "a user that is true": f"Bearer {forged(secret, _claims(id=True))}",
        "alg none": f"Bearer {unsigned}",
        "alg RS256": f"Bearer {forged(secret, _claims(), {'alg': 'RS256', 'typ': 'JWT'})}",
        "alg HS512": f"Bearer {forged(secret, _claims(), {'alg': 'HS512', 'typ': 'JWT'})}",
        "crit": f"Bearer {forged(secret, _claims(), {'alg': 'HS256', 'crit': ['exp'], 'exp': 1})}",
        "over 8 kB": f"Bearer {forged(secret, _claims(pad='x' * 9000))}",
        "a cut signature": f"Bearer {head}.{body}.{signature[:-4]}",
        "no signature": f"Bearer {head}.{body}",
        "a changed body": f"Bearer {head}.{body[:-2]}AA.{signature}",
    }


BAD = [
    "garbage", "nothing after Bearer", "another scheme", "no scheme", "another secret", "expired", "no exp",
    "exp of text", "not yet valid", "no user", "an empty user", "a user of 256 characters", "a user that is a list",
    "a user that is true", "alg none", "alg RS256", "alg HS512", "crit", "over 8 kB", "a cut signature",
    "no signature", "a changed body",
]  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_a_token_that_is_wrong_is_401_and_never_a_guest(server: Shop, fault: str) -> None:
    headers = {"Authorization": _bad_credentials(server)[fault]}
    with visitor(server) as client:
        bought = buy(client, order_form(line("prod_011")), headers=headers)
        read = client.get("/checkout/0198c0de-0000-7000-8000-000000000000", headers=headers)
    for answer in (bought, read):
        problem(answer, 401, "Unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_wrong_token_is_seen_before_the_body_is_read(server: Shop) -> None:
    with visitor(server, "abc.def.ghi") as client:
        problem(buy(client, b"{"), 401, "Unauthorized")
        problem(buy(client, b" " * 70_000), 401, "Unauthorized")


def test_every_bad_credential_is_tried(server: Shop) -> None:
    assert set(BAD) == set(_bad_credentials(server))
