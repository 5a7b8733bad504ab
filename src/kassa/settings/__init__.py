"""Every setting of a process, read once. Only bootstrap, the command line and tests import this."""

from kassa.settings.derived import SANDBOX_CASHBOX
from kassa.settings.forms import SURFACES
from kassa.settings.kept import SettingsError, demo_password, kept_secret, secrets_folder
from kassa.settings.read import REQUIRED, Settings
from kassa.settings.traces import SAMPLERS, traces_headers, traces_ratio, traces_url

__all__ = [
    "REQUIRED",
    "SAMPLERS",
    "SANDBOX_CASHBOX",
    "SURFACES",
    "Settings",
    "SettingsError",
    "demo_password",
    "kept_secret",
    "secrets_folder",
    "traces_headers",
    "traces_ratio",
    "traces_url",
]
