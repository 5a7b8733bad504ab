"""Every Payme setting, changed (section 16)."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests import rig

from .booking import Booking
from .conftest import ODD_KEY, TOWN
from .paycom import HALF_A_DAY, KEY, LOGIN, PAYME_ID, Cashbox, a_tx, parsed, refused, result
from .texts import DENIED, MALFORMED, NO_ORDER, NO_TRANSACTION, NOT_NOW


@pytest.fixture
def shop(odd: Booking) -> Cashbox:
    return odd.cashbox


def test_the_key_may_hold_colons_and_is_cleaned_of_what_pasting_left(odd: Booking, shop: Cashbox) -> None:
    assert ":" in ODD_KEY
    assert "&" in ODD_KEY
    shop.allowed(odd.buy())


@pytest.mark.parametrize(
    ("login", "key"),
    [
        (LOGIN, ODD_KEY),
        ("Shop", ODD_KEY.rpartition(":")[2]),
        ("Shop", ODD_KEY.replace("&", "&amp;")),
        ("Shop", f"  {ODD_KEY}"),
        ("Shop:odd", ODD_KEY.partition(":")[2] + "x"),
        ("Shop", KEY),
    ],
)
def test_no_other_login_or_key_opens_it(shop: Cashbox, login: str, key: str) -> None:
    refused(shop.with_(login=login, key=key).check(a_tx()), DENIED)


def test_the_account_field_has_its_own_name(odd: Booking, shop: Cashbox) -> None:
    purchase = odd.buy()
    refused(shop.check_perform(purchase, account={"order_id": purchase.purchase_id}), NO_ORDER, "purchase_id")
    refused(shop.check_perform(purchase, account={}), NO_ORDER, "purchase_id")
    tx = shop.paid(purchase)
    assert shop.state(tx) == (2, None)
    [row] = [row for row in shop.statement(0, 10**13) if row["id"] == tx]
    assert row["account"] == {"purchase_id": purchase.purchase_id}


def test_a_busy_order_may_be_answered_with_31008(odd: Booking, shop: Cashbox) -> None:
    purchase = odd.buy()
    tx = shop.created(purchase)
    for answer in (shop.create(purchase, a_tx()), shop.check_perform(purchase)):
        data = parsed(answer)["error"]["data"]
        assert data in {None, "purchase_id"}
        refused(answer, NOT_NOW, data)
    shop.performed(tx)


def test_the_timeout_may_be_shorter(odd: Booking, shop: Cashbox) -> None:
    purchase, hour = odd.buy(), 3_600_000
    refused(shop.create(purchase, a_tx(), time=shop.now() - hour - 2_000), NOT_NOW)
    refused(shop.create(purchase, a_tx(), time=shop.now() - HALF_A_DAY + 1), NOT_NOW)
    shop.created(purchase, time=shop.now() - hour + 60_000)


def test_the_longest_body_may_be_shorter(shop: Cashbox) -> None:
    def body(size: int) -> bytes:
        start = b'{"id": 1, "method": "CheckTransaction", "params": {"id": "x"}, "pad": "'
        return start + b"x" * (size - len(start) - 2) + b'"}'

    refused(shop.post(body(4096)), NO_TRANSACTION)
    refused(shop.post(body(4097)), MALFORMED, id=None)


@pytest.mark.parametrize("address", ["185.234.113.1", "185.234.113.15", "10.1.255.255", "192.0.2.7", "::ffff:185.234.113.3"])
def test_listed_addresses_may_call(shop: Cashbox, address: str) -> None:
    refused(shop.with_(headers={"X-Forwarded-For": address}).check(a_tx()), NO_TRANSACTION)


@pytest.mark.parametrize(
    "address",
    [
        "185.234.113.0",
        "185.234.113.16",
        "185.234.114.1",
        "10.2.0.1",
        "192.0.2.8",
        "127.0.0.1",
        "185.234.113.5, 8.8.8.8",
        "8.8.8.8",
        "x",
        "::1",
    ],
)
def test_other_addresses_are_denied_like_bad_credentials(shop: Cashbox, address: str) -> None:
    refused(shop.with_(headers={"X-Forwarded-For": address}).check(a_tx()), DENIED)


def test_only_the_proxys_word_for_the_address_counts(shop: Cashbox) -> None:
    """The last address that the trusted proxy wrote is the caller's; what stands before it, the caller may have written."""
    refused(shop.with_(headers={"X-Forwarded-For": "8.8.8.8, 185.234.113.5"}).check(a_tx()), NO_TRANSACTION)
    refused(shop.with_(headers={}).check(a_tx()), DENIED)
    refused(shop.with_(headers={"X-Real-IP": "185.234.113.5"}).check(a_tx()), DENIED)


def test_payme_is_never_asked_to_slow_down(odd: Booking, shop: Cashbox) -> None:
    purchase = odd.buy()
    for _ in range(60):
        assert result(shop.check_perform(purchase)) == {"allow": True}


# Settings that cannot be

GOOD = {"PAYME_ID": PAYME_ID, "PAYME_KEY": KEY}
BAD = {
    "an id without a key": ({"PAYME_ID": PAYME_ID}, "PAYME_KEY"),
    "a key without an id": ({"PAYME_KEY": KEY}, "PAYME_ID"),
    "an empty key": ({**GOOD, "PAYME_KEY": ""}, "PAYME_KEY"),
    "an unknown language": ({**GOOD, "PAYME_LANG": "fr"}, "PAYME_LANG"),
    "another busy code": ({**GOOD, "PAYME_BUSY_ORDER_CODE": "-31050"}, "PAYME_BUSY_ORDER_CODE"),
    "no addresses": ({**GOOD, "PAYME_IP_ALLOWLIST": "paycom"}, "PAYME_IP_ALLOWLIST"),
    "nothing, in production": (
        {
            "PRODUCTION": "true",
            "SURFACES": "purchases",
            "KASSA_SECRET": TOWN["KASSA_SECRET"],
            "JWT_SECRET": secrets.token_urlsafe(48),
        },
        "PAYME_",
    ),
}


def test_settings_that_cannot_be_stop_the_start_with_one_line(kassa_dsn: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as hands:
        ends = dict(
            zip(BAD, hands.map(lambda name: ended(kassa_dsn, tmp_path / name.replace(" ", "-"), BAD[name][0]), BAD), strict=True)
        )
    for name, (code, said) in ends.items():
        assert code not in {0, None}, f"{name}: {said}"
        assert BAD[name][1] in said, f"{name}: {said}"
        assert "Traceback" not in said
        assert KEY not in said
        assert len([line for line in re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines() if line.strip()]) == 1, f"{name}: {said}"


def ended(dsn: str, home: Path, settings: dict[str, str]) -> tuple[int | None, str]:
    """How `kassa serve` ends with these settings: its exit code, None if it did not end, and what it said."""
    own = {"DATABASE_URL": dsn, "PRODUCTION": "false", "JWT_SECRET": rig.JWT_SECRET, "HTTP_PORT": str(rig.free_port())}
    environment = rig.clean_environment(KASSA_HOME=str(home), **own | settings)
    home.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "kassa", "serve"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home,
    )
    try:
        said, _ = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        return None, process.communicate()[0]
    return process.returncode, said
