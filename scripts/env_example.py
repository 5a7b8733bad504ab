"""Write what is printed from the settings class anew, after a change in src/kassa/settings/read.py.

That is `.env.example`, and the lists of settings that the two Compose files pass on to their containers. What a file decides by
itself, under `x-environment`, it does not pass on; what is passed on nowhere stands below, with the reason.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from kassa.settings import Settings
from kassa.settings.example import printed

ROOT = Path(__file__).resolve().parent.parent
WRITTEN = (".env.example", "compose.yaml", "compose.production.yaml")

NOT_PASSED = {
    "KASSA_HOME": "the image's own folder, or a volume there",
    "LAN": "set by the image",
    "APP_HOST": "all addresses of the container",
    "APP_PORT": "HTTP_PORT is the port on this machine",
    "PORT": "the port of gRPC on this machine",
    "HTTP_PORT": "the port of HTTP on this machine",
    "GRPC_PORT": "always 7000 in the container",
    "METRICS_PORT": "always 9464 in the container",
    "GRPC_TLS_CERT": "a file, which has to be mounted first",
    "GRPC_TLS_KEY": "a file, too",
    "KASSA_CRASH_AT": "for tests",
    "PAYMENTS_DB_URL": "the database is said by DATABASE_URL",
    "LOGS_DB_URL": "not used",
    "APP_NAME": "not used",
    "DEBUG": "not used",
    "PAYTECH_API_KEY": "not used",
}
IN_THE_FILE = {
    "INVENTORY_SERVICE_URL": "stock is Kassa's own",
    "PRODUCT_SERVICE_URL": "products are Kassa's own",
    "USER_SERVICE_URL": "buyers are known by their tokens",
    "NOTIFICATION_SERVICE_URL": "letters are printed",
    "PROVIDER_WEBHOOK_SECRET": "made in the volume, for the sandbox and all others",
    "PROVIDER_WEBHOOK_SECRET_OLD": "as that",
    "REDIS_HOST": "REDIS_URL says it",
    "REDIS_PORT": "the port of Redis on this machine",
}
"""What compose.yaml, which brings all neighbours along, does not pass on either."""

_SETTINGS = re.compile(r"(?<=^x-settings: &settings)(.*\n)  \{\n.*?\n  \}\n", re.MULTILINE | re.DOTALL)
_DECIDED = re.compile(r"^x-environment: &environment\n(.*?)\n\n", re.MULTILINE | re.DOTALL)


def renewed(name: str, text: str) -> str:
    """The file called `name` as it should be, from its text as it is."""
    if name == ".env.example":
        return printed()
    decided = {found.removesuffix("_FILE") for found in re.findall(r"^  (\w+):", _DECIDED.findall(text)[0], re.MULTILINE)}
    left_out = {*decided, *NOT_PASSED, *(IN_THE_FILE if name == "compose.yaml" else ())}
    fields: list[Any] = list(Settings.model_fields.values())
    names = sorted({str(each) for field in fields for each in field.validation_alias.choices} - left_out)
    lines = textwrap.fill(", ".join(names), 136, initial_indent="    ", subsequent_indent="    ")
    return _SETTINGS.sub(lambda found: f"{found[1]}  {{\n{lines},\n  }}\n", text)


if __name__ == "__main__":
    for path in (Path(*sys.argv[1:2] or [ROOT]) / name for name in WRITTEN):
        path.write_text(renewed(path.name, path.read_text()))
