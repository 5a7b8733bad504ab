"""The samples of the documents: the blocks of a page, and a shell in which what a page says is typed beside a running server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests import rig

DOCS = rig.ROOT / "docs"
_FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title where it has one, and its text."""

    language: str
    title: str
    text: str


def blocks(page: str, language: str, title: str | None = None) -> list[Block]:
    """The blocks of `docs/<page>` in one language, in their order; with `title`, those of that title. Fails when there is none."""
    found = [Block(*match.groups(default="")) for match in _FENCE.finditer((DOCS / page).read_text(encoding="utf-8"))]
    wanted = [each for each in found if each.language == language and title in {None, each.title}]
    assert wanted, f"{page} has no {language} block {title or ''}"
    return wanted


def only(page: str, language: str, title: str) -> str:
    """The text of the one block of that title."""
    (found,) = blocks(page, language, title)
    return found.text


def typed(server: rig.Server, script: str, folder: Path, timeout_s: float = 100) -> str:
    """What a shell prints that is given a page's commands beside a running server. Fails at the first command that fails.

    Only what differs from a reader's machine is replaced: addresses, the place of programs, and where secrets of the folder are.
    """
    script = script.replace("http://localhost:8000", server.url).replace("localhost:7000", server.grpc)
    programs = {"kassa": f"{sys.executable} -m kassa", "python": sys.executable}
    script = re.sub(r"\.venv/bin/(kassa|python)\b", lambda found: programs[found[1]], script)
    script = script.replace("$(cat .kassa/database_url)", "$DATABASE_URL")
    script = script.replace("$(cat .kassa/secrets/provider_webhook_secret)", "$PROVIDER_WEBHOOK_SECRET")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**server.environment, "PATH": os.environ["PATH"]},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def apply_diff(source: Path, diff: str) -> None:
    """Change a file as a block in the form of a diff says: what it keeps and removes must stand there once, in one piece."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    text = source.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{source.name} has this {text.count(before)} times:\n{before}"
    source.write_text(text.replace(before, after), encoding="utf-8")
