"""The cashbox and what goes with it: both of a pair or neither, forms that are checked at the start, a surface that is left out."""

from __future__ import annotations

import base64
import ipaddress
import os
import stat
from pathlib import Path

import pytest
from tests import rig

from kassa.settings import Settings, SettingsError

GOOD = {
    "DATABASE_URL": "postgresql://kassa:hidden-password@db/kassa",
    "JWT_SECRET": "pX3vN8qLw2mZr7Tc5kYd9HsBf4GjQa6UeVnM1xRo",
    "KASSA_SECRET": base64.b64encode(bytes(range(32))).decode(),
}
CASHBOX = {"PAYME_ID": "650000000000000000000036", "PAYME_KEY": "D3moKassaKey%&?@#$:0000000000000036"}
PROVIDER = {"PROVIDER_URL": "https://links.example", "PROVIDER_WEBHOOK_SECRET": "between-us"}


@pytest.fixture(autouse=True)
def _an_empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in set(os.environ) - set(rig.clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("KASSA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def loaded(development: bool = True, **environment: str) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return Settings.load(development)


def complaint(development: bool = True, **environment: str) -> str:
    with pytest.raises(SettingsError) as found:
        loaded(development, **environment).for_serving()
    said = str(found.value)
    assert "\n" not in said
    assert not any(value in said for value in environment.values() if len(value) > 8)
    return said


# The cashbox


def test_development_has_a_cashbox_whose_key_is_made_once() -> None:
    first, second = loaded(), loaded()
    assert first.payme_id == second.payme_id == "650000000000000000000001"
    assert first.payme_key == second.payme_key
    assert first.payme_key is not None
    assert len(first.payme_key) == 36
    assert first.payme_is_test_mode
    assert stat.S_IMODE((first.kassa_home / "secrets" / "payme_key").stat().st_mode) == 0o600
    assert first.payme_key not in repr(first)


def test_another_home_has_another_key(tmp_path: Path) -> None:
    assert loaded().payme_key != loaded(KASSA_HOME=str(tmp_path / "other")).payme_key


@pytest.mark.parametrize("development", [True, False])
def test_a_cashbox_is_taken_as_it_is_given(development: bool) -> None:
    settings = loaded(development, **GOOD, **CASHBOX)
    assert (settings.payme_id, settings.payme_key) == tuple(CASHBOX.values())
    assert settings.payme_is_test_mode is False
    assert loaded(development, **GOOD, **CASHBOX, PAYME_IS_TEST_MODE="true").payme_is_test_mode
    assert CASHBOX["PAYME_KEY"] not in repr(settings)


def test_the_sandboxs_cashbox_may_be_told_to_be_no_test() -> None:
    assert loaded(PAYME_IS_TEST_MODE="false").payme_is_test_mode is False


@pytest.mark.parametrize("development", [True, False])
@pytest.mark.parametrize(("given", "missing"), [("PAYME_ID", "PAYME_KEY"), ("PAYME_KEY", "PAYME_ID")])
def test_one_of_the_pair_alone_stops_the_start(development: bool, given: str, missing: str) -> None:
    says = f"{missing} is not set; set PAYME_ID and PAYME_KEY, or neither"
    assert complaint(development, **GOOD, **{given: CASHBOX[given]}) == says
    assert complaint(development, **GOOD, **{given: CASHBOX[given]}, SURFACES="orders") == says


@pytest.mark.parametrize("development", [True, False])
@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_one_stops_the_start(development: bool, empty: str) -> None:
    assert complaint(development, **GOOD, **CASHBOX | {"PAYME_KEY": empty}).startswith("PAYME_KEY is empty")
    assert complaint(development, **GOOD, **CASHBOX | {"PAYME_ID": empty}).startswith("PAYME_ID ")
    assert complaint(development, **GOOD, PAYME_ID="", PAYME_KEY="").startswith("PAYME_ID is empty")


def test_a_file_that_leaves_both_open_sets_neither(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PAYME_ID=\nPAYME_KEY=\n")
    assert loaded().payme_id == "650000000000000000000001"
    (tmp_path / ".env").write_text(f"PAYME_ID={CASHBOX['PAYME_ID']}\nPAYME_KEY=\n")
    assert complaint().startswith("PAYME_KEY is not set")


@pytest.mark.parametrize(
    ("pasted", "key"),
    [
        ("  key-of-a-cashbox\n", "key-of-a-cashbox"),
        ("a&amp;b&lt;c&gt;d&#64;e&#x23;f&quot;", 'a&b<c>d@e#f"'),
        ("a&b&ltc&nothing;%?@#$:", "a&b&ltc&nothing;%?@#$:"),
        ("&nbsp;key&nbsp;", "key"),
        ("a&amp;amp;b", "a&amp;b"),
    ],
)
def test_a_pasted_key_is_cleaned_and_nothing_else_of_it_is_changed(pasted: str, key: str) -> None:
    assert loaded(**CASHBOX | {"PAYME_KEY": pasted}).payme_key == key


def test_production_refuses_the_key_that_development_made() -> None:
    made = loaded()
    assert made.payme_key is not None
    said = complaint(False, **GOOD, PAYME_ID="650000000000000000000036", PAYME_KEY=made.payme_key)
    assert said.startswith("PAYME_KEY is the development secret")


# The surface


def test_production_without_a_cashbox_leaves_purchases_out_and_says_so() -> None:
    settings, lines = loaded(False, **GOOD, **PROVIDER).for_serving()
    assert settings.surfaces == ("orders", "checkout", "payments", "grpc")
    assert lines == ["the purchases surface is left out: PAYME_ID and PAYME_KEY are not set"]
    settings, lines = loaded(False, **GOOD).for_serving()
    assert settings.surfaces == ("orders", "checkout", "grpc")
    assert [line.split()[1] for line in lines] == ["payments", "purchases"]


def test_a_surface_that_is_named_stops_the_start_without_a_cashbox() -> None:
    said = complaint(False, **GOOD, SURFACES="orders,purchases")
    assert said == "PAYME_ID is not set; the purchases surface needs it in production"


def test_with_a_cashbox_purchases_are_served() -> None:
    for named in ({}, {"SURFACES": "purchases"}):
        settings, lines = loaded(False, **GOOD, **CASHBOX, **PROVIDER, **named).for_serving()
        assert "purchases" in settings.surfaces
        assert lines == []


def test_a_half_configured_provider_still_stops_the_start() -> None:
    said = complaint(False, **GOOD, **CASHBOX, PROVIDER_URL="https://links.example")
    assert said == "PROVIDER_WEBHOOK_SECRET is not set; the payments surface needs it in production"


def test_development_serves_everything() -> None:
    settings, lines = loaded().for_serving()
    assert (set(settings.surfaces), lines) == ({"orders", "checkout", "purchases", "payments", "grpc"}, [])


# The others


def test_what_is_not_set_is_as_the_contract_says() -> None:
    settings = loaded()
    assert (settings.payme_login, settings.payme_account_field, settings.payme_busy_order_code) == ("Paycom", "order_id", -31051)
    assert (settings.payme_tx_timeout_ms, settings.payme_max_body_bytes, settings.payme_link_ttl_s) == (43_200_000, 65536, 86400)
    assert (settings.payme_ip_allowlist, settings.payme_lang, settings.payme_return_url) == ((), None, None)
    assert (settings.ambassador_grpc_host, settings.ambassador_grpc_port) == (None, 50051)


def test_the_word_payme_stands_for_its_servers() -> None:
    listed = loaded(PAYME_IP_ALLOWLIST="payme, 198.51.100.0/24,2001:db8::1").payme_ip_allowlist
    networks = [ipaddress.ip_network(each) for each in listed]
    inside = {str(address) for network in networks[:-2] for address in network}
    assert inside == {f"185.234.113.{last}" for last in range(1, 16)}
    assert listed[-2:] == ("198.51.100.0/24", "2001:db8::1")


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("PAYME_LOGIN", "Merchant", "payme_login"),
        ("PAYME_ACCOUNT_FIELD", "purchase_id", "payme_account_field"),
        ("PAYME_BUSY_ORDER_CODE", "-31008", "payme_busy_order_code"),
        ("PAYME_TX_TIMEOUT_MS", "1", "payme_tx_timeout_ms"),
        ("PAYME_MAX_BODY_BYTES", "1048576", "payme_max_body_bytes"),
        ("PAYME_LINK_TTL_S", "60", "payme_link_ttl_s"),
        ("PAYME_LANG", "uz", "payme_lang"),
        ("PAYME_RETURN_URL", "https://shop.example/back/?o=:account.order_id;x=1", "payme_return_url"),
        ("AMBASSADOR_GRPC_HOST", "ambassadors.internal", "ambassador_grpc_host"),
        ("AMBASSADOR_GRPC_HOST", "10.0.0.7", "ambassador_grpc_host"),
        ("AMBASSADOR_GRPC_HOST", "::1", "ambassador_grpc_host"),
        ("AMBASSADOR_GRPC_PORT", "1", "ambassador_grpc_port"),
        ("PAYTECH_API_KEY", "anything", "paytech_api_key"),
        ("APP_NAME", "cart", "app_name"),
        ("DEBUG", "yes please", "debug"),
    ],
)
def test_what_is_set_is_taken(name: str, value: str, field: str) -> None:
    assert str(getattr(loaded(**{name: value}), field)) == value


def test_a_licence_key_is_not_shown() -> None:
    assert "topsecret" not in repr(loaded(PAYTECH_API_KEY="topsecret"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAYME_ID", "6500;a=1"),
        ("PAYME_ID", "6" * 65),
        ("PAYME_KEY", "two words"),
        ("PAYME_LOGIN", "Pay:com"),
        ("PAYME_LOGIN", "P" * 65),
        ("PAYME_IS_TEST_MODE", "perhaps"),
        ("PAYME_ACCOUNT_FIELD", "order.id"),
        ("PAYME_ACCOUNT_FIELD", "o" * 33),
        ("PAYME_ACCOUNT_FIELD", "номер"),
        ("PAYME_BUSY_ORDER_CODE", "-31050"),
        ("PAYME_BUSY_ORDER_CODE", "-31099"),
        ("PAYME_BUSY_ORDER_CODE", "busy"),
        ("PAYME_TX_TIMEOUT_MS", "0"),
        ("PAYME_TX_TIMEOUT_MS", "12h"),
        ("PAYME_IP_ALLOWLIST", "185.234.113.1-15"),
        ("PAYME_IP_ALLOWLIST", "paycom"),
        ("PAYME_MAX_BODY_BYTES", "0"),
        ("PAYME_MAX_BODY_BYTES", "99999999"),
        ("PAYME_LINK_TTL_S", "0"),
        ("PAYME_LANG", "de"),
        ("PAYME_RETURN_URL", "shop.example/back"),
        ("PAYME_RETURN_URL", "https://shop.example/a b"),
        ("AMBASSADOR_GRPC_HOST", "http://ambassadors"),
        ("AMBASSADOR_GRPC_HOST", "ambassadors:50051"),
        ("AMBASSADOR_GRPC_PORT", "0"),
        ("AMBASSADOR_GRPC_PORT", "65536"),
    ],
)
def test_another_form_stops_the_start(name: str, value: str) -> None:
    assert complaint(**CASHBOX | {name: value}).startswith(f"{name} ")
