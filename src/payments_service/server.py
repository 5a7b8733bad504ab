"""`python -m payments_service.server`: the gRPC surface alone, on GRPC_PORT, else PORT, else 7000.

In development, which is the default, this is `kassa dev` with SURFACES=grpc: a database of its own unless DATABASE_URL is set,
brought up to date, with the demo merchants. With PRODUCTION=true it is `kassa rpc`.
"""

from __future__ import annotations

import contextlib
import os
import sys

from kassa.cli import main as kassa
from kassa.settings import Settings, SettingsError


def main() -> None:
    """Serve until Ctrl-C or SIGTERM, then exit with status 0. What stops the start is said in one line, with status 2."""
    os.environ["SURFACES"] = "grpc"
    sys.argv[1:] = ["rpc" if _in_production() else "dev"]
    kassa()


def _in_production() -> bool:
    with contextlib.suppress(SettingsError):  # the command itself says what is wrong
        return Settings.load(True, need=()).production
    return False


if __name__ == "__main__":
    main()
