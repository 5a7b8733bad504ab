"""Which database a command means: `DATABASE_URL`, else that of a running `kassa dev` in this folder, else the embedded one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from kassa.kit import embedded
from kassa.settings import Settings, SettingsError


def development(**given: Any) -> Settings:
    """The settings of a command that exists in development only. Raises `SettingsError` when production was asked for."""
    if Settings.load(True, need=(), **given).production:
        raise SettingsError(
            "PRODUCTION is true, and this command is for development only (demo data, sandbox, secrets of our own making)"
        )
    return Settings.load(True, **given)


def beside(settings: Settings) -> Settings:
    """`settings` with the database of a running `kassa dev` when none is set. Raises `SettingsError` when there is neither."""
    if settings.database_url:
        return settings
    found = embedded.dsn_of_running(settings.kassa_home)
    if found is None:
        raise SettingsError("DATABASE_URL is not set, and no `kassa dev` runs in this folder")
    return settings.model_copy(update={"database_url": found})


@contextlib.contextmanager
def database(settings: Settings) -> Iterator[Settings]:
    """`settings` with a database for the length of the block: the embedded server is started when nothing else is there."""
    found = settings.database_url or embedded.dsn_of_running(settings.kassa_home)
    if found or settings.production:
        yield beside(settings.model_copy(update={"database_url": found or ""}))
        return
    with embedded.running(settings.kassa_home) as dsn:
        yield settings.model_copy(update={"database_url": dsn})
