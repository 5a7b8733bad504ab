"""Secrets that development makes for itself, and the folder in which they are kept."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


class SettingsError(Exception):
    """A setting is missing, malformed or contradicts another; the text is one line that names it."""


def make_home(home: Path) -> None:
    """Make the folder, if it is not there. Raises `SettingsError`."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"KASSA_HOME: {home} cannot be used: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return "it is not a folder" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror or str(error)


def secrets_folder(home: Path) -> Path:
    """Where development secrets are kept."""
    return home / "secrets"


def kept_secret(home: Path, name: str, make: Callable[[], str]) -> str:
    """The secret in `home`/secrets/`name`, made at first use, readable by its owner alone; two processes get the same one.

    Raises `SettingsError` when the folder cannot be written.
    """
    path = secrets_folder(home) / name
    try:
        if not path.exists():
            _write_once(path, make())
        return path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"KASSA_HOME: {home} cannot be used: {_reason(error)}") from None


def demo_password(home: Path) -> str:
    """The password of the back office's demo accounts on this machine, made at first use. Never for production."""
    return kept_secret(home, "office_password", lambda: secrets.token_urlsafe(12))


def _write_once(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text + "\n")
    try:
        os.link(draft, path)  # unlike a rename, this never replaces what another process has just written
    except FileExistsError:
        pass
    finally:
        draft.unlink()
