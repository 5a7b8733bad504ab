"""The site's pages: each is in the navigation, each contract tells the same things, and what is promised is there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from scripts import site
from tests import rig

DOCS = rig.ROOT / "docs"
CONTRACTS = sorted(path.stem for path in (DOCS / "contracts").glob("*.md"))


def named(nav: Any) -> Iterator[str]:
    """Every page that a navigation names."""
    match nav:
        case str():
            yield nav
        case list():
            for each in nav:
                yield from named(each)
        case dict():
            for each in nav.values():
                yield from named(each)


def test_every_page_is_in_the_navigation_once() -> None:
    nav = list(named(tomllib.loads((rig.ROOT / "zensical.toml").read_text())["project"]["nav"]))
    pages = {site.place_of(document) for document in site.documents()} | {"decisions/index.md"}
    wanted = {page for page in pages if not re.match(r"decisions/\d", page)}
    assert len(nav) == len(set(nav))
    assert sorted(wanted - set(nav)) == [], "name these pages in the navigation of zensical.toml"
    assert sorted(set(nav) - wanted) == [], "these pages are gone: take them out of zensical.toml"


def test_there_is_a_page_for_each_contract() -> None:
    assert CONTRACTS == ["checkout", "grpc", "orders", "payme", "payments", "purchases", "webhooks"]


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_contract_says_what_it_is_for_and_how_to_begin(name: str) -> None:
    text = (DOCS / "contracts" / f"{name}.md").read_text()
    assert "\n**For** " in text
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[0] == "First call"
    assert headings[-1] == "Limits"
    assert any(heading.startswith("States") for heading in headings)
    assert "../reference/errors.md" in text
    assert re.search(r"\.\./apis/\w+(\.asyncapi)?\.json|payments\.proto|flows/payme\.md", text)


def test_the_comparison_says_when_it_was_looked_up_and_where() -> None:
    text = (DOCS / "comparison.md").read_text()
    assert re.search(r"Looked up on \d{4}-\d\d-\d\d", text)
    for other in (
        "Stripe",
        "Adyen",
        "Saleor",
        "Medusa",
        "Vendure",
        "Spree",
        "Solidus",
        "Kill Bill",
        "Hyperswitch",
        "Lago",
        "Temporal",
        "DBOS",
    ):
        assert other in text
    assert "## What is weak here" in text


def test_settings_that_a_page_sets_exist() -> None:
    """`NAME=value` in a block of a page is a setting, or set in that page itself."""
    from kassa.settings import Settings

    known = {str(name) for field in Settings.model_fields.values() for name in field.validation_alias.choices}  # type: ignore[union-attr]
    mine = {"API", "TOKEN", "ORDER", "ADDRESS", "CARD", "SECRET", "TALLY_URL", "U", "H"}
    for folder in ("recipes", "concepts", "contracts"):
        for page in (DOCS / folder).glob("*.md"):
            for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
                for name in re.findall(r"^\s*([A-Z][A-Z_0-9]+)=", block, re.MULTILINE):
                    assert name in known | mine, f"{page.name}: {name}"
