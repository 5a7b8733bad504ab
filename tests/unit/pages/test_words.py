"""The words of the pages: every language has all of them, with the plurals that it needs, and no page asks for words that are not there."""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, nodes

from kassa import pages
from kassa.kit.languages import LANGUAGES
from kassa.pages.frame import _templates
from kassa.pages.language import Speech

HERE = Path(pages.__file__).parent
PLURALS = {"en": {"one", "other"}, "ru": {"one", "few", "many", "other"}, "uz": {"one", "other"}}
CYRILLIC = re.compile("[\u0400-\u04ff]")
NAMES = re.compile(r"\b(?:Payme|UPI|API|Kassa|SMS|JWT|CVV|CVC|QR|Visa|Mastercard|Uzcard|Humo)\b")


def words(code: str) -> dict[str, str | Mapping[str, str]]:
    text = (HERE / "words" / f"{code}.toml").read_text("utf-8")
    return {f"{room}.{key}": each for room, entries in tomllib.loads(text).items() for key, each in entries.items()}


def forms(each: str | Mapping[str, str]) -> list[str]:
    return [each] if isinstance(each, str) else list(each.values())


def places(each: str | Mapping[str, str]) -> set[str]:
    return {name for form in forms(each) for _, name, _, _ in string.Formatter().parse(form) if name is not None}


def asked() -> Iterator[tuple[str, str, bool]]:
    """Each file that asks for words, with the key; True where only the beginning of the key is known there."""
    environment: Environment = _templates()
    for path in sorted((HERE / "templates").rglob("*.html")):
        for call in environment.parse(path.read_text("utf-8")).find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == "t":
                for key, whole in _keys(call.args[0]):
                    yield path.name, key, not whole
    for path in sorted(HERE.rglob("*.py")):
        for key in re.findall(r"\.say\(\s*\"([a-z_]+\.[a-z_0-9]+)\"", path.read_text("utf-8")):
            yield path.name, key, False


def _keys(asked: nodes.Expr) -> Iterator[tuple[str, bool]]:
    if isinstance(asked, nodes.Const):
        yield asked.value, True
    elif isinstance(asked, nodes.CondExpr):
        yield from _keys(asked.expr1)
        if asked.expr2 is not None:
            yield from _keys(asked.expr2)
    elif isinstance(asked, nodes.Concat) and isinstance(asked.nodes[0], nodes.Const):
        yield asked.nodes[0].value, False


@pytest.mark.parametrize("code", sorted(LANGUAGES))
def test_every_language_has_the_same_words(code: str) -> None:
    assert set(words(code)) == set(words("en"))


@pytest.mark.parametrize("code", sorted(LANGUAGES))
def test_plurals_fit_the_language(code: str) -> None:
    english = words("en")
    for key, each in words(code).items():
        assert isinstance(each, str) == isinstance(english[key], str), key
        if not isinstance(each, str):
            assert set(each) == PLURALS[code], key
            assert any("{count}" in form for form in each.values()), key


@pytest.mark.parametrize("code", sorted(set(LANGUAGES) - {"en"}))
def test_the_same_places_are_filled_in_every_language(code: str) -> None:
    english = words("en")
    assert {key: places(each) for key, each in words(code).items()} == {key: places(each) for key, each in english.items()}


@pytest.mark.parametrize("code", sorted(set(LANGUAGES) - {"en"}))
def test_words_are_in_their_language(code: str) -> None:
    for key, each in words(code).items():
        for form in forms(each):
            bare = NAMES.sub("", re.sub(r"\{\w+\}", "", form))
            if re.search(r"\w", bare):
                assert bool(CYRILLIC.search(bare)) == (code == "ru"), (key, form)


@pytest.mark.parametrize("code", sorted(LANGUAGES))
def test_words_are_written_with_care(code: str) -> None:
    for key, each in words(code).items():
        for form in forms(each):
            assert form == form.strip(), key
            assert form, key
            assert "  " not in form, key
            assert not re.search(r" [,.!?:;]", form), (key, form)
            assert "..." not in form, (key, form)
            if code == "uz":  # two letters, and the sign of a stop, have characters of their own; a typewriter's quotes are none
                assert not re.search("[oOgG][\u02bc]|\\w['`\u2018\u2019]\\w", form), (key, form)


def test_no_template_asks_for_words_that_are_not_there() -> None:
    known = set(words("en"))
    missing = [
        (name, key)
        for name, key, begins in asked()
        if not (any(each.startswith(key) for each in known) if begins else key in known)
    ]
    assert missing == []


def test_no_words_are_there_for_nobody() -> None:
    found = list(asked())
    whole, beginnings = {key for _, key, begins in found if not begins}, tuple(key for _, key, begins in found if begins)
    code = "\n".join(path.read_text("utf-8") for path in HERE.rglob("*.py"))
    unused = [
        key
        for key in words("en")
        if key not in whole and not key.startswith(beginnings) and f'"{key}"' not in code and key.partition(".")[2] not in code
    ]
    assert unused == []


@pytest.mark.parametrize(("count", "form"), [(1, "one"), (2, "few"), (5, "many"), (21, "one"), (22, "few"), (11, "many")])
def test_a_count_takes_its_plural(monkeypatch: pytest.MonkeyPatch, count: int, form: str) -> None:
    plurals: dict[str, Any] = {"room.things": {each: f"{each} {{count}}" for each in PLURALS["ru"]}}
    monkeypatch.setattr("kassa.pages.language._words", lambda _code: plurals)
    assert Speech("ru").say("room.things", count=count) == f"{form} {count}"
