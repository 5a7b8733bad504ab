"""Settings: read once, checked at once, and every complaint is one line that names the setting and not its value."""

from __future__ import annotations

import base64
import os
import secrets
import stat
from pathlib import Path

import pytest
from tests import rig

from kassa.cardwatch import CardLimits
from kassa.settings import Settings, SettingsError

GOOD = {
    "DATABASE_URL": "postgresql+asyncpg://kassa:hidden-password@db/kassa",
    "JWT_SECRET": "pX3vN8qLw2mZr7Tc5kYd9HsBf4GjQa6UeVnM1xRo",
    "KASSA_SECRET": base64.b64encode(bytes(range(32))).decode(),
}


@pytest.fixture(autouse=True)
def _an_empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in set(os.environ) - set(rig.clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("KASSA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def complaint(development: bool, **environment: str) -> str:
    """What is said when these settings are loaded."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(SettingsError) as found:
            Settings.load(development)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_development_needs_no_setting_at_all() -> None:
    settings = Settings.load(True)
    assert not settings.production
    assert (settings.http_host, settings.http_port, settings.grpc_port) == ("127.0.0.1", 8000, 7000)
    assert settings.simulated_payments
    assert settings.api_docs
    assert settings.public_url == "http://localhost:8000"
    assert len(settings.kassa_secret) == 32


def test_development_secrets_are_made_once_and_for_their_owner_alone() -> None:
    first, second = Settings.load(True), Settings.load(True)
    assert (first.jwt_secret, first.kassa_secret) == (second.jwt_secret, second.kassa_secret)
    for name in ("jwt_secret", "kassa_secret"):
        assert stat.S_IMODE((first.kassa_home / "secrets" / name).stat().st_mode) == 0o600


def test_another_home_has_other_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = Settings.load(True)
    monkeypatch.setenv("KASSA_HOME", str(tmp_path / "other"))
    assert Settings.load(True).jwt_secret != first.jwt_secret


@pytest.mark.parametrize("missing", list(GOOD))
def test_production_names_what_is_missing(missing: str) -> None:
    assert complaint(False, **{name: value for name, value in GOOD.items() if name != missing}).startswith(f"{missing} is not set")


def test_production_takes_good_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load(False)
    assert settings.production
    assert settings.database_url == "postgresql://kassa:hidden-password@db/kassa"
    assert settings.http_host == "0.0.0.0"
    assert not settings.simulated_payments
    assert not settings.api_docs


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    shown = repr(Settings.load(False))
    assert "hidden-password" not in shown
    assert GOOD["JWT_SECRET"] not in shown


@pytest.mark.parametrize(
    "weak",
    [
        "secret",
        "x" * 64,
        "your-super-secret-jwt-key-change-this-in-production",
        "development-secret-0123456789-0123456789",
    ],
)
def test_production_refuses_a_secret_that_can_be_guessed(weak: str) -> None:
    said = complaint(False, **GOOD | {"JWT_SECRET": weak})
    assert said.startswith("JWT_SECRET is ")
    assert "openssl" in said
    assert weak not in said


def test_production_refuses_the_development_secrets_of_its_home() -> None:
    made = Settings.load(True)
    assert "development secret" in complaint(False, **GOOD | {"JWT_SECRET": made.jwt_secret})
    assert "development secret" in complaint(False, **GOOD | {"KASSA_SECRET": base64.b64encode(made.kassa_secret).decode()})


def test_production_refuses_a_kill_point() -> None:
    assert complaint(False, **GOOD, KASSA_CRASH_AT="settle:after_commit").startswith("KASSA_CRASH_AT is set")


def test_production_always_limits_how_fast_cards_may_be_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint(False, **GOOD, CARD_LIMITS="off").startswith("CARD_LIMITS is off")
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert Settings.load(False, CARD_LIMITS=None).card_limits == CardLimits()
    assert Settings.load(False, CARD_LIMITS="buyer=9, shop=1000").card_limits == CardLimits(buyer=9, shop=1000)
    development = [Settings.load(True, CARD_LIMITS=given).card_limits for given in (None, "off", "on", "card=1")]
    assert development == [CardLimits(on=False), CardLimits(on=False), CardLimits(), CardLimits(card=1)]


def test_the_limit_of_one_person_is_written_in_major_units() -> None:
    given = {"INR": 5_000_00, "JPY": 900, "KWD": 1_500}
    assert Settings.load(True, OFFICE_APPROVAL_ABOVE="INR=5000, JPY=900,KWD=1.5").office_approval_above == given
    assert Settings.load(True).office_approval_above is None


def test_random_secrets_are_good_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(300):
        monkeypatch.setenv("JWT_SECRET", secrets.token_urlsafe(36))
        monkeypatch.setenv("KASSA_SECRET", base64.b64encode(secrets.token_bytes(32)).decode())
        monkeypatch.setenv("DATABASE_URL", GOOD["DATABASE_URL"])
        Settings.load(False)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HTTP_PORT", "70000", "HTTP_PORT"),
        ("PORT", "eighty", "PORT"),
        ("APP_PORT", "0", "APP_PORT"),
        ("DATABASE_URL", "mysql://root:topsecret@db/shop", "DATABASE_URL must begin with postgresql://"),
        ("DATABASE_URL", "postgresql://me:topsecret@db:port/shop", "DATABASE_URL is not an address"),
        ("SURFACES", "orders,shop", "SURFACES must name some of orders"),
        ("RATE_LIMIT", "fast", "RATE_LIMIT must be"),
        ("CARD_LIMITS", "topsecret", "CARD_LIMITS must be on, off"),
        ("CARD_LIMITS", "card=0", "CARD_LIMITS must be on, off"),
        ("OFFICE_APPROVAL_ABOVE", "5000", "OFFICE_APPROVAL_ABOVE must be amounts"),
        ("OFFICE_APPROVAL_ABOVE", "INR=1,INR=2", "OFFICE_APPROVAL_ABOVE must be amounts"),
        ("OFFICE_APPROVAL_ABOVE", "XYZ=1", "OFFICE_APPROVAL_ABOVE must be amounts"),
        ("OFFICE_APPROVAL_ABOVE", "JPY=1.5", "OFFICE_APPROVAL_ABOVE has an amount that JPY cannot have"),
        ("CORS_ORIGINS", "https://shop.example,*", "CORS_ORIGINS must be whole origins"),
        ("CORS_ORIGINS", "https://shop.example/", "CORS_ORIGINS must be whole origins"),
        ("CORS_ORIGINS", "https://shop.example:99999", "CORS_ORIGINS must be whole origins"),
        ("CORS_ORIGINS", "https://Shop.example", "CORS_ORIGINS must be whole origins"),
        ("CORS_ORIGINS", "null", "CORS_ORIGINS must be whole origins"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,me", "TRUSTED_PROXIES must be"),
        ("PAYMENT_SERVICE_URL", "localhost:8081", "PAYMENT_SERVICE_URL must begin with http://"),
        ("KASSA_SECRET", "c2hvcnQ=", "KASSA_SECRET must be at least 32 random bytes"),
        ("KASSA_LEASE_S", "0", "KASSA_LEASE_S"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL"),
        ("PRODUCTION", "perhaps", "PRODUCTION"),
        ("JWT_ALGORITHM", "none", "JWT_ALGORITHM"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL must begin with redis://"),
        ("RABBITMQ_URL", "http://guest:topsecret@localhost", "RABBITMQ_URL must begin with amqp://"),
        ("EXCHANGE_NAME", "amq.topic", "EXCHANGE_NAME must have"),
        ("QUEUE_NAME", "q" * 241, "QUEUE_NAME must have"),
        ("MERCHANT_CALLBACK_URL", "shop.example/hook", "MERCHANT_CALLBACK_URL must begin with http://"),
        ("MERCHANT_CALLBACK_SECRET", "topsecret", "MERCHANT_CALLBACK_SECRET must be whsec_"),
        ("MERCHANT_CALLBACK_SECRET", "whsec_topsecret", "MERCHANT_CALLBACK_SECRET must be whsec_"),
        ("MERCHANT_CALLBACK_EVENTS", "payment.paid,payment.lost", "MERCHANT_CALLBACK_EVENTS must name"),
        ("WEBHOOK_RETRY_SECONDS", "0,5,soon", "WEBHOOK_RETRY_SECONDS must be whole numbers"),
        ("WEBHOOK_RETRY_SECONDS", "0,-5", "WEBHOOK_RETRY_SECONDS must be whole numbers"),
        ("WEBHOOK_RETRY_SECONDS", "0,86401", "WEBHOOK_RETRY_SECONDS must be 1 to 20 numbers"),
        ("WEBHOOK_RETRY_SECONDS", ",".join(["1"] * 21), "WEBHOOK_RETRY_SECONDS must be 1 to 20 numbers"),
        ("WEBHOOK_TIMEOUT_S", "31", "WEBHOOK_TIMEOUT_S"),
        ("WEBHOOK_TIMEOUT_S", "0", "WEBHOOK_TIMEOUT_S"),
        ("EGRESS_PROXY", "proxy:3128", "EGRESS_PROXY must begin with http://"),
        ("EMAIL_BACKEND", "pigeon", "EMAIL_BACKEND"),
        ("EMAIL_FROM", "topsecret", "EMAIL_FROM must be an e-mail address"),
        ("EMAIL_BACKEND", "smtp", "SMTP_HOST is not set; EMAIL_BACKEND=smtp needs it"),
        ("EMAIL_BACKEND", "mailgun", "MAILGUN_DOMAIN is not set; EMAIL_BACKEND=mailgun needs it"),
        ("SMTP_TLS", "maybe", "SMTP_TLS"),
    ],
)
def test_a_malformed_setting_is_named_and_its_value_is_not(name: str, value: str, says: str) -> None:
    said = complaint(True, **{name: value})
    assert said.startswith(says)
    assert "topsecret" not in said


def test_merchants_may_name_private_addresses_in_development_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load(True).allow_private_callbacks
    assert not Settings.load(True, ALLOW_PRIVATE_CALLBACKS="false").allow_private_callbacks
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert not Settings.load(False).allow_private_callbacks
    assert Settings.load(False, ALLOW_PRIVATE_CALLBACKS="true").allow_private_callbacks


def test_a_development_machine_shows_e_mails_and_production_sends_none_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load(True).email_backend == "console"
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    assert Settings.load(False).email_backend == "none"


def test_letters_need_a_sender() -> None:
    said = complaint(True, EMAIL_BACKEND="smtp", SMTP_HOST="mail.example.com")
    assert said.startswith("EMAIL_FROM is not set; EMAIL_BACKEND=smtp needs it")


def test_production_sends_no_password_in_the_clear_to_another_machine() -> None:
    mail = {"EMAIL_BACKEND": "smtp", "EMAIL_FROM": "shop@example.com", "SMTP_PASSWORD": "p", "SMTP_TLS": "off"}
    assert complaint(False, **GOOD, **mail, SMTP_HOST="mail.example.com").startswith("SMTP_TLS is off")


def test_the_plan_of_attempts_is_the_contracts_unless_another_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(True)
    assert settings.webhook_retry_seconds == (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert settings.webhook_timeout_s == 15
    monkeypatch.setenv("WEBHOOK_RETRY_SECONDS", "0, 1,2")
    assert Settings.load(True).webhook_retry_seconds == (0, 1, 2)


def test_signing_secrets_and_addresses_with_passwords_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "whsec_" + base64.b64encode(b"topsecret" * 3).decode()
    monkeypatch.setenv("MERCHANT_CALLBACK_SECRET", secret)
    monkeypatch.setenv("RABBITMQ_URL", "amqp://me:topsecret@localhost/")
    monkeypatch.setenv("SMTP_PASSWORD", "topsecret")
    monkeypatch.setenv("MAILGUN_API_KEY", "topsecret")
    settings = Settings.load(True)
    assert settings.merchant_callback_secret == secret
    assert "topsecret" not in repr(settings)
    assert secret not in repr(settings)


def test_the_first_of_the_port_names_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_PORT", "8005")
    assert Settings.load(True).http_port == 8005
    monkeypatch.setenv("PORT", "8083")
    assert Settings.load(True).http_port == 8083
    monkeypatch.setenv("HTTP_PORT", "9000")
    assert Settings.load(True).http_port == 9000
    assert Settings.load(True, HTTP_PORT=9001).http_port == 9001


def test_a_surface_that_runs_alone_takes_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "7777")
    assert Settings.load(True).grpc_port == 7000
    monkeypatch.setenv("SURFACES", "grpc")
    assert Settings.load(True).grpc_port == 7777


def test_lan_opens_development_to_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAN", "1")
    assert Settings.load(True).http_host == "0.0.0.0"


def test_an_env_file_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HTTP_PORT=8100\nREDIS_HOST=cache\nGRPC_PORT=\n")
    monkeypatch.setenv("HTTP_PORT", "8200")
    settings = Settings.load(True)
    assert (settings.http_port, settings.redis_url, settings.grpc_port) == (8200, "redis://cache:6379/0", 7000)


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert complaint(True, KASSA_HOME=str(tmp_path / "file")).startswith("KASSA_HOME: ")


def test_the_example_file_lists_every_setting_and_nothing_else() -> None:
    text = (rig.ROOT / ".env.example").read_text()
    listed = {line[1:].split("=")[0] for line in text.splitlines() if line.startswith("#") and "=" in line and line[1].isupper()}
    known = set()
    for field in Settings.model_fields.values():
        known |= {str(name) for name in field.validation_alias.choices}  # type: ignore[union-attr]
    assert listed == known
