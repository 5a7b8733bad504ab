"""Read a page as a person and a browser would: its text, its links, its forms, its headings. With the standard library alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})
_UNREAD = frozenset({"script", "style", "title", "head"})


@dataclass
class Element:
    """An element of a page, with what is in it."""

    name: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    def all(self, name: str | None = None, **attributes: str) -> Iterator[Element]:
        """Every element below this one of that name and with those attributes; `class_` is one class of it."""
        for child in self.children:
            if isinstance(child, Element):
                if name in {None, child.name} and all(child.has(key, value) for key, value in attributes.items()):
                    yield child
                yield from child.all(name, **attributes)

    def one(self, name: str | None = None, **attributes: str) -> Element:
        """The only one of them."""
        [found] = self.all(name, **attributes)
        return found

    def has(self, key: str, value: str) -> bool:
        """Whether an attribute has this value."""
        if key == "class_":
            return value in self.attributes.get("class", "").split()
        return self.attributes.get(key.replace("_", "-")) == value

    @property
    def text(self) -> str:
        """What a person reads of it, on one line."""
        return re.sub(r"\s+", " ", "".join(_texts(self))).strip()


@dataclass
class Form:
    """A form: where it is sent, and what it would send if nothing were typed."""

    method: str
    action: str
    fields: dict[str, str]


class Page(HTMLParser):
    """A whole page, or a part of one. Fails on tags that do not fit together."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("root", {})
        self._open = [self.root]
        self.feed(html)
        self.close()
        assert len(self._open) == 1, f"never closed: {[each.name for each in self._open[1:]]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        assert len(element.attributes) == len(attrs), f"<{tag}> says something twice"
        self._open[-1].children.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].name == tag, f"</{tag}> closes <{self._open[-1].name}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    @property
    def text(self) -> str:
        """What a person reads of the page."""
        return self.root.text

    @property
    def title(self) -> str:
        """What stands on the tab."""
        return "".join(each for each in self.root.one("title").children if isinstance(each, str)).strip()

    @property
    def language(self) -> str:
        """The language that the page says it is in."""
        return self.root.one("html").attributes["lang"]

    @property
    def headings(self) -> list[tuple[int, str]]:
        """Headings with their level, from top to bottom."""
        return [(int(each.name[1]), each.text) for each in self.root.all() if re.fullmatch("h[1-6]", each.name)]

    @property
    def links(self) -> dict[str, str]:
        """Where each link leads, by its words."""
        return {each.text: each.attributes["href"] for each in self.root.all("a")}

    @property
    def forms(self) -> list[Form]:
        """The forms of the page."""
        return [_form(each) for each in self.root.all("form")]


def _texts(element: Element) -> Iterator[str]:
    for child in element.children:
        if isinstance(child, str):
            yield child
        elif child.name not in _UNREAD:
            yield " "
            yield from _texts(child)
            yield " "


def _form(element: Element) -> Form:
    fields: dict[str, str] = {}
    for each in element.all():
        name, kind = each.attributes.get("name"), each.attributes.get("type", "text")
        if name is None:
            continue
        if each.name == "input" and (kind not in {"checkbox", "radio", "submit"} or "checked" in each.attributes):
            fields[name] = each.attributes.get("value", "")
        elif each.name == "textarea":
            fields[name] = each.text
        elif each.name == "select":
            options = list(each.all("option"))
            chosen = next((one for one in options if "selected" in one.attributes), options[0] if options else None)
            fields[name] = chosen.attributes.get("value", chosen.text) if chosen else ""
    return Form(element.attributes.get("method", "get").lower(), element.attributes.get("action", ""), fields)
