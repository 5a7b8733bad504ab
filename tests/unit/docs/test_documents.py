"""The documents say what the code says: printed parts are current, links lead somewhere, what is named exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from tests.crash.points import names_in_source

from kassa.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "src" / "kassa"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
CODE = sorted(path for path in SOURCE.rglob("*.py") if "sandbox" not in path.parts)

_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
_FILE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|md|toml|lock)|(?:[\w.-]+/)+|(?:src|docs|tests|scripts)/[\w./-]+)`")
_SETTING = re.compile(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`")
_COMMAND = re.compile(r"`(?:\.venv/bin/)?kassa ([a-z]+)")
_VARIABLE = re.compile(r"\$\{(\w+)")
_MADE_BY_MACHINES = (".kassa/", ".venv/", "docs/apis", "kassa/", "postgres/", "secrets/")
_NOT_SETTINGS = {"KASSA_TEST_DATABASE", "KASSA_TEST_INSTALL", "KASSA_TEST_INDEX", "KASSA_FUZZ", "KASSA_TEST_IMAGE", "TALLY_URL"}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def diagrams() -> ModuleType:
    spec = importlib.util.spec_from_file_location("diagrams", ROOT / "scripts" / "diagrams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_what_is_printed_from_the_code_is_current(path: Path, diagrams: ModuleType) -> None:
    text = path.read_text()
    assert diagrams.renewed(text) == text, "run `.venv/bin/python scripts/diagrams.py`"


def test_a_printed_diagram_follows_its_table(diagrams: ModuleType) -> None:
    assert "    paid --> refunding: refund_begun" in diagrams.moves("payment", "paid", "refunding")
    assert "declined" not in diagrams.moves("payment", "paid", "refunding")
    with pytest.raises(ValueError, match="lost"):
        diagrams.moves("order", "lost")


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target, anchor in _LINK.findall(path.read_text()):
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            assert anchor.removeprefix("#") in _anchors(there), f"{target}{anchor}"


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_file_that_is_named_exists(path: Path) -> None:
    for named in _FILE.findall(path.read_text()):
        if named.startswith(_MADE_BY_MACHINES):
            continue
        found = [folder / named for folder in (ROOT, SOURCE, ROOT / "src") if (folder / named).exists()]
        assert found or ("/" not in named and next(SOURCE.rglob(named), None)), named


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    known = {str(name) for field in Settings.model_fields.values() for name in field.validation_alias.choices}  # type: ignore[union-attr]
    code = "".join(file.read_text() for file in CODE)
    known |= {f"{name}_FILE" for name in known} | set(
        _VARIABLE.findall("".join(file.read_text() for file in ROOT.glob("compose*.yaml")))
    )
    for named in _SETTING.findall(path.read_text()):
        assert named in known | _NOT_SETTINGS or re.search(rf"\b{named}\b", code), named


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_command_that_is_named_exists(path: Path) -> None:
    from kassa.cli.app import app

    known = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    known |= {str(group.typer_instance.info.name) for group in app.registered_groups if group.typer_instance is not None}
    assert set(_COMMAND.findall(path.read_text())) <= known


def test_every_setting_stands_in_the_example() -> None:
    text = (ROOT / ".env.example").read_text()
    for field in Settings.model_fields.values():
        for name in field.validation_alias.choices:  # type: ignore[union-attr]
            assert re.search(rf"^#?{name}=", text, re.MULTILINE), name


def test_every_table_has_its_line_in_the_architecture() -> None:
    versions = (SOURCE / "migrations" / "versions").glob("*.py")
    made = {name for file in versions for name in re.findall(r"CREATE TABLE (\w+)", file.read_text())}
    told = set(re.findall(r"^\| `(\w+)` \| ", _section("7. The tables"), re.MULTILINE))
    assert told == made


def test_every_kill_point_has_its_line_in_the_architecture() -> None:
    lines = re.findall(r"^\| (`.*?) \|", _section("8. A crash at each point"), re.MULTILINE)
    told = {name for line in lines for name in re.findall(r"`([a-z._]+)`", line)}
    assert told == set().union(*names_in_source().values())


def _section(heading: str) -> str:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_decisions_are_numbered_without_gaps() -> None:
    assert [path.name[:4] for path in DECISIONS] == [f"{number:04d}" for number in range(1, len(DECISIONS) + 1)]


@pytest.mark.parametrize("path", DECISIONS, ids=_name)
def test_a_decision_is_one_page_with_three_parts(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"# {path.name[:4]} · ")
    assert re.search(r"^\d{4}-\d\d-\d\d · (accepted|succeeded by \[\d{4}\])", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert len(text.splitlines()) <= 60
