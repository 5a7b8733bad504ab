"""Diagrams are drawn whole: every state, every move, every word; what cannot be drawn is an error."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from scripts import drawing
from tests import rig

from kassa.checkout.model import MOVES as CHECKOUT
from kassa.payments.model import MOVES as PAYMENT

SVG = "{http://www.w3.org/2000/svg}"


def read(mermaid: str) -> ET.Element:
    """A drawing as a tree."""
    return ET.fromstring(drawing.svg(mermaid))


def words(picture: ET.Element) -> list[str]:
    """All that is written in it."""
    return [each.text or "" for each in picture.iter(f"{SVG}text")]


def boxes(picture: ET.Element) -> dict[str, tuple[float, float, float]]:
    """Where each state stands: left, right and top."""
    found = {}
    names = [each for each in picture.iter(f"{SVG}text") if "class" not in each.attrib]
    for box, text in zip(picture.iter(f"{SVG}rect"), names, strict=True):
        left, width = float(box.attrib["x"]), float(box.attrib["width"])
        found[text.text or ""] = (left, left + width, float(box.attrib["y"]))
    return found


@pytest.mark.parametrize("moves", [CHECKOUT, PAYMENT])
def test_every_status_and_move_of_a_table_is_drawn(moves: object) -> None:
    text = moves.diagram()  # type: ignore[attr-defined]
    picture = read(text)
    assert set(words(picture)) >= moves.statuses()  # type: ignore[attr-defined]
    lines = [each for each in picture.iter(f"{SVG}path") if each.attrib.get("class") == "line"]
    assert len(lines) == text.count("-->")


def test_no_state_stands_on_another_or_outside_of_the_picture() -> None:
    picture = read(CHECKOUT.diagram())
    found = boxes(picture)
    wide, tall = map(float, picture.attrib["viewBox"].split()[2:])
    for name, (left, right, top) in found.items():
        assert 0 < left < right < wide
        assert 0 < top < tall
        for other, (its_left, its_right, its_top) in found.items():
            assert other == name or top != its_top or right < its_left or its_right < left, (name, other)


def test_a_way_back_is_a_line_of_its_own_and_words_are_escaped() -> None:
    picture = read("stateDiagram-v2\n    a --> b: <go & see>\n    b --> a: back\n    b --> b: again\n")
    assert {"a", "b", "<go & see>", "back", "again"} == set(words(picture))
    ways = [each.attrib["d"] for each in picture.iter(f"{SVG}path") if each.attrib.get("class") == "line"]
    assert len(set(ways)) == 3


def test_who_cannot_see_it_is_told() -> None:
    told = read("sequenceDiagram\n    participant A as Buyer\n    participant K\n    A->>K: buy\n    K-->>A: done\n").attrib[
        "aria-label"
    ]
    assert told == "Who says what to whom: Buyer to K: buy; K to Buyer: done."


@pytest.mark.parametrize("mermaid", ["pie\n  x: 1", "stateDiagram-v2\n  note left of a", "sequenceDiagram\n  loop x"])
def test_what_it_does_not_know_is_an_error(mermaid: str) -> None:
    with pytest.raises(ValueError, match="no drawing for"):
        drawing.svg(mermaid)


def test_every_diagram_of_the_documents_can_be_drawn() -> None:
    files = [*rig.ROOT.glob("*.md"), *(rig.ROOT / "docs").rglob("*.md")]
    texts = [file.read_text(encoding="utf-8") for file in files]
    count = sum(len(re.findall(r"^```mermaid$", text, re.MULTILINE)) for text in texts)
    assert count >= 10
    assert sum(drawing.drawn(text).count("<svg ") for text in texts) == count
