"""What a fresh machine installs: pinned, hashed, from wherever its pip is told to look."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest
from tests import rig

LOCK = (rig.ROOT / "requirements.lock").read_text()
PINS = re.findall(r"^([A-Za-z0-9_.-]+)==\S+", LOCK, re.MULTILINE)


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=;! ]", name)[0]).lower()


def test_every_line_is_pinned_and_hashed() -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.split("\n", 1)[1].strip())
    assert len(blocks) == len(PINS)
    for block in blocks:
        assert re.match(r"^[A-Za-z0-9_.-]+==\S+", block), block[:80]
        assert "--hash=sha256:" in block, block[:80]


def test_no_index_no_address_no_path() -> None:
    assert not re.search(r"https?:|file:|--index|--find|--trusted|/", re.sub(r"^# .*$", "", LOCK, flags=re.MULTILINE))


def test_everything_that_pyproject_asks_for_is_there() -> None:
    project = tomllib.loads((rig.ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
        *project["build-system"]["requires"],
        "editables",
    ]
    assert {plain(name) for name in wanted} <= {plain(name) for name in PINS}


@pytest.mark.parametrize("script", ["scripts/setup", "scripts/lock", ".ci/run"])
def test_scripts_can_be_run(script: str) -> None:
    path = rig.ROOT / script
    assert path.stat().st_mode & 0o111
    shell = path.read_text().splitlines()[0].split("/")[-1].split()[-1]
    assert subprocess.run([shell, "-n", str(path)], check=False).returncode == 0


def test_make_alone_prints_its_help() -> None:
    done = subprocess.run(["make", "-C", str(rig.ROOT)], capture_output=True, text=True, check=True)
    for target in ("run", "test", "check", "bench", "help", "install", "format", "lint", "typecheck"):
        assert f"make {target}" in done.stdout
