"""`.env.example` is printed from the settings class, and says of each setting what it is for."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests import rig

from kassa.settings import Settings
from kassa.settings.example import printed

TEXT = (rig.ROOT / ".env.example").read_text()
_LINE = re.compile(r"#([A-Z][A-Z0-9_]*)=(.*)")


def test_the_example_is_what_the_settings_class_prints() -> None:
    assert printed() == TEXT, "run `.venv/bin/python scripts/env_example.py`"


def test_the_script_writes_it_and_the_lists_of_the_compose_files(tmp_path: Path) -> None:
    files = (".env.example", "compose.yaml", "compose.production.yaml")
    for name in files:
        (tmp_path / name).write_text((rig.ROOT / name).read_text().replace(" JWT_ISSUER,", ""))
    subprocess.run([sys.executable, str(rig.ROOT / "scripts" / "env_example.py"), str(tmp_path)], check=True, timeout=60)
    assert [(tmp_path / name).read_text() for name in files] == [(rig.ROOT / name).read_text() for name in files]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_is_for(name: str) -> None:
    assert len(Settings.model_fields[name].description or "") > 10


def test_every_name_stands_there_once_under_a_heading_and_a_comment() -> None:
    lines = TEXT.splitlines()
    names = [match[1] for line in lines if (match := _LINE.fullmatch(line))]
    assert len(names) == len(set(names))
    assert all(len(line) <= 140 for line in lines)
    for before, line in itertools.pairwise(lines):
        if _LINE.fullmatch(line):
            assert _LINE.fullmatch(before) or before.startswith("# "), line


def test_a_default_that_is_shown_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each line that has a value is taken alone: it is good, and where the class has a default of its own it changes nothing."""
    for name in set(os.environ) - set(rig.clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KASSA_HOME", str(tmp_path))
    plain = Settings()
    for name, value in (match.groups() for line in TEXT.splitlines() if (match := _LINE.fullmatch(line)) and match[2]):
        field = next(field for field, told in Settings.model_fields.items() if name in told.validation_alias.choices)  # type: ignore[union-attr]
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            read = getattr(Settings(), field)
        has_default = Settings.model_fields[field].default not in (None, "") and field not in {"production", "kassa_home"}
        assert read == getattr(plain, field) or not has_default, name


def test_as_it_stands_it_changes_nothing(tmp_path: Path) -> None:
    """`cp .env.example .env` is what the READMEs say first."""
    assert not [line for line in TEXT.splitlines() if line and not line.startswith("#")]
    with_every_value = re.sub(r"^#([A-Z])", r"\1", TEXT, flags=re.MULTILINE)
    for line in with_every_value.splitlines():
        if re.match(r"[A-Z]", line) and " " not in line:
            assert shlex.split(line, comments=True) == [line], "a value that shells and Compose read otherwise"
