"""What can be set, and what stops the start (section 10)."""

from __future__ import annotations

import base64
import re
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest
from tests import rig
from tests.contracts.orders.tokens import claims, jwt

from .journeys import BUSY, CLOSED, PAYME_ID, PAYME_KEY, Buyer, Shop, a_transaction, good, kassas_clock, link_of, open_shop, refusal

if TYPE_CHECKING:
    from tests.conftest import StartKassa

BOTH = {"PAYME_ID": PAYME_ID, "PAYME_KEY": PAYME_KEY}
FOR_REAL = {
    "PRODUCTION": "true",
    "SURFACES": "purchases",
    "KASSA_SECRET": base64.b64encode(b"thirty-two bytes for production!").decode(),
    "JWT_SECRET": secrets.token_urlsafe(48),
    "APP_HOST": "127.0.0.1",
}
LONG_SECRET = "another-secret-that-only-tests-know-" * 3
ODD = {
    "JWT_ALGORITHM": "HS512",
    "JWT_SECRET": LONG_SECRET,
    "RATE_LIMIT": "20/second",
    "PAYME_LOGIN": "Merchant",
    "PAYME_ACCOUNT_FIELD": "purchase_id",
    "PAYME_BUSY_ORDER_CODE": "-31008",
    "PAYME_LINK_TTL_S": "600",
    "PAYME_LANG": "uz",
    "PAYME_RETURN_URL": "https://shop.example/back?x=1;y=2",
    "PAYTECH_API_KEY": "unused",
    "APP_NAME": "Purchases",
    "DEBUG": "true",
    "EMAIL_BACKEND": "console",
    "MAILGUN_API_KEY": "key-unused",
    "MAILGUN_DOMAIN": "mg.example.com",
    "MAILGUN_FROM_EMAIL": "shop@example.com",
}


def run(home: Path, *command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command of Kassa that must end by itself."""
    home.mkdir()
    ports = {"HTTP_PORT": str(rig.free_port()), "GRPC_PORT": str(rig.free_port())}
    env = {name: text for name, text in rig.clean_environment().items() if not name.startswith(("PAYME_", "AMBASSADOR_"))}
    return subprocess.run(
        [sys.executable, "-m", "kassa", *command],
        env={**env, "KASSA_HOME": str(home), **ports, **settings},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


BAD = {
    "an id alone": ({"PAYME_ID": PAYME_ID}, "PAYME_KEY"),
    "a key alone": ({"PAYME_KEY": PAYME_KEY}, "PAYME_ID"),
    "an empty key": ({"PAYME_ID": PAYME_ID, "PAYME_KEY": ""}, "PAYME_KEY"),
    "an empty id": ({"PAYME_ID": "", "PAYME_KEY": PAYME_KEY}, "PAYME_ID"),
    "neither, for real": (FOR_REAL, "PAYME_"),
    "a code that Payme does not take": ({**BOTH, "PAYME_BUSY_ORDER_CODE": "-31050"}, "PAYME_BUSY_ORDER_CODE"),
    "a language that Payme does not speak": ({**BOTH, "PAYME_LANG": "fr"}, "PAYME_LANG"),
    "a field that would break links": ({**BOTH, "PAYME_ACCOUNT_FIELD": "a;b=c"}, "PAYME_ACCOUNT_FIELD"),
}
Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def ends(_homes: Callable[[str], Path], kassa_dsn: str) -> dict[str, Ended]:
    """How each start with bad settings ended; they are made side by side."""

    def begin(case: str) -> Ended:
        settings, _ = BAD[case]
        command = "serve" if "PRODUCTION" in settings else "dev"
        return run(_homes("bad"), command, **{"DATABASE_URL": kassa_dsn, "PRODUCTION": "false", **settings})

    with ThreadPoolExecutor(3) as hands:
        return dict(zip(BAD, hands.map(begin, BAD), strict=True))


@pytest.mark.parametrize("case", BAD)
def test_half_or_bad_settings_stop_the_start_with_one_line(ends: dict[str, Ended], case: str) -> None:
    stopped(ends[case], BAD[case][1])


def stopped(ended: Ended, named: str) -> None:
    said = ended.stdout + ended.stderr
    assert ended.returncode != 0, said
    assert len([line for line in said.splitlines() if named in line]) == 1, said
    assert len([line for line in ended.stderr.splitlines() if line.strip()]) == 1, said
    assert "Traceback" not in said
    assert PAYME_KEY not in said


@pytest.fixture(scope="module")
def odd(start_kassa: StartKassa) -> Iterator[Shop]:
    """A Kassa in which nearly everything is set to something else than the default."""
    server = start_kassa(**BOTH, **ODD)
    with open_shop(server, login="Merchant", account="purchase_id", clock=kassas_clock(server)) as odd:
        yield replace(odd, sign=lambda user: jwt(claims(id=user), LONG_SECRET, {"alg": "HS512", "typ": "JWT"}, "sha512"))


def test_the_link_says_language_return_address_and_field(odd: Shop) -> None:
    purchase = odd.buyer().buy(1)
    host, pairs = link_of(purchase["payment_url"])
    assert host == "https://checkout.paycom.uz"  # PAYME_IS_TEST_MODE is false unless set
    assert pairs == [
        f"m={PAYME_ID}",
        f"ac.purchase_id={purchase['purchase_id']}",
        "a=5000000",
        "l=uz",
        "c=https://shop.example/back?x=1%3By=2",
    ]


def test_login_field_and_code_are_as_set(odd: Shop) -> None:
    buyer = odd.buyer()
    purchase = buyer.buy(1)
    odd.payme.create(purchase)
    assert odd.payme.error("CreateTransaction", id=a_transaction(), time=odd.payme.clock(), **odd.payme.order(purchase)) == -31008
    wrong = odd.payme.call("CheckPerformTransaction", amount=5000000, account={"order_id": purchase["purchase_id"]})
    assert (wrong["error"]["code"], wrong["error"]["data"]) == (-31050, "purchase_id")
    assert BUSY != -31008


def test_the_deadline_is_as_set(odd: Shop) -> None:
    buyer = odd.buyer()
    purchase = buyer.buy(1)
    odd.later(9 * 60)
    assert odd.payme.allows(purchase)
    odd.later(61)
    assert odd.payme.why_not(purchase) == CLOSED
    assert good(buyer.check_out(), 201)["purchase_id"] != purchase["purchase_id"]


def test_in_development_the_sandbox_cashbox_is_payable_by_a_click(plain: Shop) -> None:
    buyer = plain.buyer()
    purchase = buyer.buy(4)
    host, pairs = link_of(purchase["payment_url"])
    assert host == "https://test.paycom.uz"  # the built-in cashbox is a test one (ruling 35)
    assert pairs[0].startswith("m=")
    assert len(pairs[0]) > 2
    assert pairs[1:] == [f"ac.order_id={purchase['purchase_id']}", "a=2500000"]
    page = f"/sandbox/payme/{purchase['purchase_id']}"
    decline, pay = sorted(re.findall(r'<form[^>]* action="([^"]+)"', plain.http.get(page).text))
    assert plain.http.post(urljoin(page, decline), follow_redirects=True).status_code == 200
    assert (buyer.owns(), buyer.in_cart()) == ([], [4])
    assert plain.http.post(urljoin(page, pay), follow_redirects=True).status_code == 200
    assert (buyer.owns(), buyer.in_cart()) == ([4], [])


def test_another_algorithm_is_taken_exactly(odd: Shop) -> None:
    for said in (claims(), claims(id="somebody")):
        wrong = Buyer(4711, jwt(said, odd.server.secret), odd.http)
        refusal(wrong.send("GET", "/cart"), 401, "unauthorized")
    good(odd.buyer().send("GET", "/cart"))


def test_hasty_callers_are_told_when_to_come_back(odd: Shop) -> None:
    buyer = odd.buyer()
    answers = [buyer.send("GET", "/cart") for _ in range(80)]
    counted = Counter(answer.status_code for answer in answers)
    assert set(counted) == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            refusal(answer, 429, "rate_limited")
            assert int(answer.headers["Retry-After"]) >= 1
    assert good(odd.buyer().send("GET", "/cart"))["items"] == []  # the limit is each caller's own
    assert all(odd.http.get("/health").status_code == 200 for _ in range(40))
    assert all(odd.http.post("/payme/webhook", content=b"").status_code == 200 for _ in range(40))
