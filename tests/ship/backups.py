"""A PostgreSQL with the backups of `deploy/backup`: its scripts are run as an administrator would, as the account of the server."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable

from tests import rig
from tests.crash import clusters
from tests.crash.clusters import Cluster

SCRIPTS = rig.ROOT / "deploy" / "backup"


class Kept:
    """A server whose segments are kept while it runs. `close` ends it, and whatever was brought back from its backups."""

    def __init__(self) -> None:
        self.server = clusters.make()
        self.folder = self.server.home / "backups"
        self.programs = self.server.home / "bin"
        shutil.copytree(SCRIPTS, self.programs)  # where the account may read, wherever this repository is
        self.folder.mkdir()
        self.server._own(self.folder)
        self.server.settings |= {
            "archive_mode": "on",
            "archive_command": f"{self.programs}/keep-wal %p %f {self.folder}",
        }
        self.brought_back: list[Cluster] = []

    def runs(self, *words: str, server: Cluster | None = None, code: int = 0) -> str:
        """Run a script, or a program of PostgreSQL, against the server; what it printed."""
        asked = server or self.server
        given = asked._as()
        given["env"] |= {
            "PATH": os.pathsep.join([str(self.programs), str(clusters.programs()), os.defpath]),
            "PGHOST": "127.0.0.1",
            "PGPORT": str(asked.port),
            "PGUSER": clusters.ACCOUNT,
        }
        program = shutil.which(words[0], path=given["env"]["PATH"])
        assert program is not None, words
        done = subprocess.run([program, *words[1:]], capture_output=True, text=True, timeout=120, check=False, **given)
        assert done.returncode == code, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def save_the_last_segments(self) -> None:
        """What a dead server had not handed over yet: as the page says, from its directory."""
        line = f'cd {self.server.data}/pg_wal && for each in [0-9A-F]*; do [ -d "$each" ] || keep-wal "$each" "$each" {self.folder}; done'
        self.runs("sh", "-c", line)

    def bring_back(self, moment: str) -> Cluster:
        """A server at this moment (or at the `end`, where it can only be looked at), running."""
        name = f"{self.server.home.name}-back{len(self.brought_back)}"
        settings = {name: value for name, value in self.server.settings.items() if not name.startswith("archive_")}
        made = Cluster(self.server.home.with_name(name), settings)
        self.brought_back.append(made)
        self.runs("bring-back", str(self.folder), str(made.data), moment, server=made)
        made.start()
        if moment != "end":
            _wait(lambda: not made.is_standby(), made)
            for each in ("restore_command", "recovery_target_time", "recovery_target_action"):
                made.ask(f"ALTER SYSTEM RESET {each}")
        return made

    def close(self) -> None:
        """End all of it."""
        for each in [*self.brought_back, self.server]:
            each.close()


def _wait(true: Callable[[], bool], server: Cluster) -> None:
    deadline = time.monotonic() + clusters.START_S
    while not true():
        assert time.monotonic() < deadline, server.log_text()[-4000:]
        time.sleep(0.05)


def moment_of(server: Cluster) -> str:
    """The server's time now, as the page writes moments; what is committed from here on is later."""
    told = server.ask("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || ' UTC' AS now")
    time.sleep(0.01)
    return str(told[0]["now"])
