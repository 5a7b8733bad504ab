"""The sandbox that plays the provider when there is none (section 3)."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import pytest

from .till import BASE, Mall, ask, becomes, give_back, is_well, ledger_of, opened, rush, show, status_of, track, wish

if TYPE_CHECKING:
    from tests.conftest import StartKassa

PRESSED = {"detail": "Payment already processed or invalid state"}


def link_of(mall: Mall, number: int = 1) -> tuple[str, str]:
    """A new payment and the path of its page."""
    answer = ask(mall.merchant(number), price=20)
    return opened(answer), urlsplit(answer.json()["payment_url"]).path


def press(mall: Mall, page: str, button: str) -> httpx2.Response:
    return mall.nobody().post(f"/sandbox/payments/{page.rpartition('/')[2]}/{button}")


def test_the_link_leads_to_the_sandbox_of_this_machine(sandbox: Mall) -> None:
    answer = ask(sandbox.merchant(1))
    opened(answer)
    port = urlsplit(sandbox.server.url).port
    assert re.fullmatch(rf"http://localhost:{port}/sandbox/pay/[^/?#]+", answer.json()["payment_url"])


def test_the_public_url_is_where_links_lead(start_kassa: StartKassa) -> None:
    server = start_kassa(PUBLIC_URL="https://kassa.example.com")
    answer = ask(Mall(server).merchant(1))
    opened(answer)
    assert re.fullmatch(r"https://kassa\.example\.com/sandbox/pay/[^/?#]+", answer.json()["payment_url"])
    is_well(server)


def test_a_kassa_of_make_run_trusts_the_header(sandbox: Mall) -> None:
    """Section 2: `TRUST_MERCHANT_HEADER` is on there."""
    payment_id = opened(ask(sandbox.with_headers(X_Merchant_Id="1")))
    assert sandbox.nobody().get(f"{BASE}/{payment_id}/show").json() == show(sandbox.merchant(1), payment_id)


def test_no_two_links_are_the_same(sandbox: Mall) -> None:
    assert len({link_of(sandbox)[1] for _ in range(5)}) == 5


def test_the_page_has_a_button_to_pay_and_one_to_decline(sandbox: Mall) -> None:
    _, page = link_of(sandbox)
    token = page.rpartition("/")[2]
    answer = sandbox.nobody().get(page)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    for word in ("Pay", "Decline", f"payments/{token}/accept", f"payments/{token}/decline"):
        assert word in answer.text
    assert sandbox.server.webhook_secret not in answer.text


@pytest.mark.parametrize(("button", "word", "status"), [("accept", "finished", 2), ("decline", "failed", 3)])
@pytest.mark.parametrize("number", [1, 5, 6])
def test_what_a_buyer_presses_reaches_the_payment(sandbox: Mall, button: str, word: str, status: int, number: int) -> None:
    payment_id, page = link_of(sandbox, number)
    answer = press(sandbox, page, button)
    assert (answer.status_code, answer.json()) == (200, {"payment_id": payment_id, "status": word})
    becomes(sandbox.merchant(number), payment_id, status)


@pytest.mark.parametrize("first", ["accept", "decline"])
@pytest.mark.parametrize("second", ["accept", "decline"])
def test_the_second_press_is_refused(sandbox: Mall, first: str, second: str) -> None:
    payment_id, page = link_of(sandbox)
    assert press(sandbox, page, first).status_code == 200
    again = press(sandbox, page, second)
    assert (again.status_code, again.json()) == (409, PRESSED)
    becomes(sandbox.merchant(1), payment_id, 2 if first == "accept" else 3)


@pytest.mark.parametrize("button", ["accept", "decline"])
def test_a_token_that_nobody_has_does_nothing(sandbox: Mall, button: str) -> None:
    for token in ("nobody", "%00", "0" * 400):
        assert press(sandbox, f"/sandbox/pay/{token}", button).status_code in {404, 409}
        assert sandbox.nobody().get(f"/sandbox/pay/{token}").status_code == 404


def test_fifty_presses_are_one(sandbox: Mall) -> None:
    payment_id, page = link_of(sandbox)
    path = f"/sandbox/payments/{page.rpartition('/')[2]}"
    answers = rush(sandbox.server, [(f"{path}/{'decline' if place % 2 else 'accept'}", b"", {}) for place in range(50)])
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 49}
    [won] = [answer.json()["status"] for answer in answers if answer.status_code == 200]
    becomes(sandbox.merchant(1), payment_id, 2 if won == "finished" else 3)


def test_a_paid_link_is_captured_once_and_its_verdict_is_in_the_timeline(sandbox: Mall) -> None:
    payment_id, page = link_of(sandbox)
    press(sandbox, page, "accept")
    who = sandbox.merchant(1)
    found = becomes(who, payment_id, 2)
    assert (found["captured"], found["refundable"]) == ("20.00", "20.00")
    assert [entry["kind"] for entry in ledger_of(who, payment_id)["entries"]] == ["capture"]
    assert [(event["event_name"], event["status"]) for event in track(who, payment_id) if event["event_type"] == 3] == [
        ("EVENT_PROVIDER_PAYMENT_ACCEPTED", 2)
    ]


def test_the_sandbox_gives_back_at_once(sandbox: Mall) -> None:
    payment_id, page = link_of(sandbox)
    press(sandbox, page, "accept")
    who = sandbox.merchant(1)
    becomes(who, payment_id, 2)
    answer = give_back(who, payment_id, amount="5.00")
    assert (answer.status_code, answer.json()["status"], answer.json()["refundable"]) == (201, "succeeded", "15.00")
    assert give_back(who, payment_id).json()["status"] == "succeeded"
    becomes(who, payment_id, 6)


def test_a_declined_buyer_may_be_asked_again(sandbox: Mall) -> None:
    who, body = sandbox.merchant(1), wish()
    first = ask(who, body)
    press(sandbox, urlsplit(first.json()["payment_url"]).path, "decline")
    becomes(who, opened(first), 3)
    second = ask(who, body)
    press(sandbox, urlsplit(second.json()["payment_url"]).path, "accept")
    becomes(who, opened(second), 2)
    assert status_of(who, opened(first)) == 3


def test_what_was_pressed_before_a_restart_arrives(start_kassa: StartKassa) -> None:
    """The sandbox repeats its report until it is answered."""
    mall = Mall(start_kassa())
    pressed = [link_of(mall) for _ in range(5)]
    for _, page in pressed:
        assert press(mall, page, "accept").status_code == 200
    mall.server.kill()
    mall.forget_clients()
    mall.server.restart()
    for payment_id, _ in pressed:
        becomes(mall.merchant(1), payment_id, 2, within=20)
    is_well(mall.server)


def test_show_tells_the_link_while_it_waits(sandbox: Mall) -> None:
    answer = ask(sandbox.merchant(1))
    assert show(sandbox.merchant(1), opened(answer))["payment_url"] == answer.json()["payment_url"]
    assert sandbox.merchant(1).get(f"{BASE}/ping").json() == {"ok": True}
