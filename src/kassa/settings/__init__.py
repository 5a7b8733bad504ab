"""Every setting of a process, read once. Only bootstrap, the command line and tests import this."""

from kassa.settings.forms import SURFACES
from kassa.settings.kept import SettingsError, demo_password, kept_secret, secrets_folder
from kassa.settings.read import REQUIRED, SANDBOX_CASHBOX, Settings

__all__ = ["REQUIRED", "SANDBOX_CASHBOX", "SURFACES", "Settings", "SettingsError", "demo_password", "kept_secret", "secrets_folder"]
