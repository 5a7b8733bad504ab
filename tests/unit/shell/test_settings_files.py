"""Secrets from files: `JWT_SECRET_FILE` names the file that holds `JWT_SECRET`, as secrets are mounted into containers."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from tests import rig

from kassa.settings import Settings, SettingsError

GOOD = {
    "DATABASE_URL": "postgresql://kassa:hidden-password@db/kassa",
    "JWT_SECRET": "pX3vN8qLw2mZr7Tc5kYd9HsBf4GjQa6UeVnM1xRo",
    "KASSA_SECRET": base64.b64encode(bytes(range(32))).decode(),
}


@pytest.fixture(autouse=True)
def _an_empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in set(os.environ) - set(rig.clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("KASSA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with a file for each secret that production needs, named in the environment."""
    folder = tmp_path / "run-secrets"
    folder.mkdir()
    for name, value in GOOD.items():
        (folder / name).write_text(value + "\n")
        monkeypatch.setenv(f"{name}_FILE", str(folder / name))
    return folder


def complaint(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as found:
        Settings.load(False)
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.usefixtures("mounted")
def test_production_starts_with_secrets_from_files_alone() -> None:
    settings = Settings.load(False)
    assert settings.production
    assert settings.database_url == GOOD["DATABASE_URL"]
    assert settings.jwt_secret == GOOD["JWT_SECRET"]
    assert settings.kassa_secret == bytes(range(32))


def test_every_secret_setting_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = {
        **GOOD,
        "JWT_SECRET_OLD": "oX3vN8qLw2mZr7Tc5kYd9HsBf4GjQa6UeVnM1xRo",
        "KASSA_SECRET_OLD": GOOD["KASSA_SECRET"],
        "METRICS_TOKEN": "m",
        "PROVIDER_WEBHOOK_SECRET": "p",
        "PROVIDER_WEBHOOK_SECRET_OLD": "o",
        "REDIS_URL": "redis://:hidden@redis/0",
        "RABBITMQ_URL": "amqp://kassa:hidden@rabbitmq/",
        "MERCHANT_CALLBACK_SECRET": "whsec_" + base64.b64encode(bytes(24)).decode(),
        "SMTP_PASSWORD": "s",
        "MAILGUN_API_KEY": "g",
        "PAYME_KEY": "k",
        "PAYMENTS_DB_URL": GOOD["DATABASE_URL"],
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer",
        "LOGS_DB_URL": "l",
        "PAYTECH_API_KEY": "y",
    }
    secret = {str(field.validation_alias.choices[0]) for field in Settings.model_fields.values() if not field.repr}  # type: ignore[union-attr]
    assert secret <= set(values), "a new secret setting: add it here"
    for name, value in values.items():
        (tmp_path / name).write_text(value)
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    monkeypatch.setenv("PAYME_ID", "650000000000000000000042")
    read = Settings.load(False).model_dump()
    for name, field in Settings.model_fields.items():
        if not field.repr:
            assert read[name], name


def test_what_is_no_secret_does_not_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "port").write_text("9000")
    monkeypatch.setenv("HTTP_PORT_FILE", str(tmp_path / "port"))
    assert Settings.load(True).http_port == 8000


@pytest.mark.usefixtures("mounted")
def test_a_secret_and_its_file_together_are_a_slip(monkeypatch: pytest.MonkeyPatch) -> None:
    said = complaint(monkeypatch, JWT_SECRET=GOOD["JWT_SECRET"])
    assert said == "JWT_SECRET and JWT_SECRET_FILE are both set; set one of them"


def test_an_env_file_may_name_files_and_an_empty_name_counts_as_not_set(
    mounted: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JWT_SECRET_FILE")
    monkeypatch.setenv("METRICS_TOKEN_FILE", "")
    (tmp_path / ".env").write_text(f"JWT_SECRET_FILE={mounted / 'JWT_SECRET'}\n")
    settings = Settings.load(False)
    assert (settings.jwt_secret, settings.metrics_token) == (GOOD["JWT_SECRET"], None)


def test_a_file_that_cannot_be_read_or_is_empty_is_named(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mounted / "JWT_SECRET").write_text(" \n")
    assert complaint(monkeypatch) == "JWT_SECRET_FILE names an empty file"
    (mounted / "JWT_SECRET").write_bytes(b"\xff\xfe\xfd")
    assert complaint(monkeypatch) == "JWT_SECRET_FILE names a file that is not text"
    (mounted / "JWT_SECRET").unlink()
    assert complaint(monkeypatch) == "JWT_SECRET_FILE names a file that cannot be read: No such file or directory"


def test_what_a_file_holds_is_checked_and_not_shown(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mounted / "DATABASE_URL").write_text("mysql://root:topsecret@db/shop")
    said = complaint(monkeypatch)
    assert said.startswith("DATABASE_URL must begin with postgresql://")
    assert "topsecret" not in said
