"""The reference says what the code says: every setting, command, error, event, figure, case and worker, each with a description."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
import typer
from scripts import reference
from tests import rig

from kassa.cli.app import app
from kassa.events.catalogue import TYPES
from kassa.kit.errors import KassaError
from kassa.pages.office.doubt import MEANINGS
from kassa.settings import Settings

SOURCE = rig.ROOT / "src" / "kassa"


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_committed_page_is_what_the_code_gives(name: str) -> None:
    committed = (reference.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert committed == reference.PAGES[name](), "run `.venv/bin/python scripts/reference.py`"


def rows(page: str) -> list[list[str]]:
    """The rows of all tables of a page, without their heads."""
    lines = (reference.FOLDER / f"{page}.md").read_text(encoding="utf-8").splitlines()
    found = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| ")]
    heads = {number for number, row in enumerate(found) if set("".join(row)) <= set("- ")}
    return [[cell.strip() for cell in row] for number, row in enumerate(found) if number not in heads and number + 1 not in heads]


def first_words(page: str) -> set[str]:
    """What stands in backticks in the first column."""
    return {word for row in rows(page) for word in re.findall(r"`([^`]+)`", row[0])}


def test_every_setting_is_there() -> None:
    named = {str(name) for field in Settings.model_fields.values() for name in field.validation_alias.choices}  # type: ignore[union-attr]
    assert first_words("settings") == named
    assert [row[0] for row in rows("settings") if len(row[2]) < 8] == []


def test_every_command_and_option_is_there_with_its_help() -> None:
    text = (reference.FOLDER / "commands.md").read_text(encoding="utf-8")
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        assert f"## kassa {name}\n" in text
        for inner in getattr(command, "commands", {}):
            assert f"### kassa {name} {inner}\n" in text
    assert [row for row in rows("commands") if not row[1]] == []


def test_every_error_of_every_contract_says_what_to_do() -> None:
    told = rows("errors")
    assert len(told) > 100
    assert [row for row in told if len(row) == 4 and not (row[2] and len(row[3]) > 12)] == []
    assert {row[1] for row in told if row[0] == "503"} >= {"`unavailable`", "`product_service_unavailable`"}


def test_a_code_that_is_documented_and_unknown_to_the_code_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_documented", lambda _: {(409, "no_such_code")})
    with pytest.raises(reference.Undescribed, match="409 no_such_code"):
        reference.errors()


@pytest.mark.parametrize("empty", [None, "", "  \n"])
def test_an_item_without_a_description_stops_the_run(empty: str | None) -> None:
    with pytest.raises(reference.Undescribed, match="the new thing"):
        reference._described("the new thing", empty)


def test_every_kind_of_error_gives_advice_of_its_own() -> None:
    kinds = [KassaError, *KassaError.__subclasses__()]
    general = [kind for kind in kinds if kind.__module__ == "kassa.kit.errors"]
    assert len({kind.advice for kind in general}) == len(general) == 8


def test_every_event_is_there() -> None:
    assert {each for each in first_words("events") if "." in each} == set(TYPES)


def test_every_figure_of_the_registry_is_there() -> None:
    from prometheus_client import REGISTRY

    shown = {family.name for family in REGISTRY.collect() if family.name.startswith("kassa_")}
    assert shown
    assert {name for name in shown if not any(word.removesuffix("_total") == name for word in first_words("metrics"))} == set()


def test_every_kind_of_case_is_there_and_in_the_handbook() -> None:
    opened = set()
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "open_case":
                opened |= {arg.value for arg in node.args[:3] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    assert len(opened) > 4
    listed = {name for name in first_words("cases") if not name.startswith("reconcile_")}
    assert opened <= listed
    section = (rig.ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("\n## Cases\n")[2].partition("\n## ")[0]
    handbook = {name for name in re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE) if name != "reconcile_"}
    assert listed == handbook
    assert listed <= set(MEANINGS)


def test_every_worker_that_can_be_named_is_there() -> None:
    from kassa.workers.clockwork import CLOCKWORK
    from kassa.workers.standing import STANDING

    assert first_words("workers") == {each.name for each in (*STANDING, *CLOCKWORK)}
