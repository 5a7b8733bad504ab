"""Where letters lead: to the page of the order, where it is known how the world reaches it and the page is served."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from kassa import bootstrap
from kassa.kit.secrets import Keys
from kassa.pages.buyer import tokens

KEYS = Keys(b"a secret of thirty-two bytes or so")
ORDER = uuid.uuid4()


def follow(**other: Any) -> Any:
    given = {"production": True, "public_url": "https://shop.example.com", "http_port": 8000, "pages": ("buyer", "office"), **other}
    return bootstrap._follow(SimpleNamespace(**given), KEYS)  # type: ignore[arg-type]


def test_the_link_opens_this_order_and_no_other() -> None:
    link = urlsplit(follow()("1", ORDER))
    assert (link.scheme, link.netloc, link.path) == ("https", "shop.example.com", f"/track/{ORDER}")
    [token] = parse_qs(link.query)["t"]
    assert tokens.is_good(KEYS, tokens.ORDER, "1", ORDER, token)
    assert not tokens.is_good(KEYS, tokens.ORDER, "1", uuid.uuid4(), token)
    assert not tokens.is_good(KEYS, tokens.ORDER, "2", ORDER, token)


@pytest.mark.parametrize(
    ("other", "leads"),
    [
        ({"public_url": "http://localhost:8000"}, False),
        ({"public_url": "http://localhost:8000", "production": False}, True),
        ({"pages": ("office",)}, False),
        ({"pages": ()}, False),
        ({"pages": None}, False),
    ],
)
def test_there_is_no_link_to_nowhere(other: dict[str, Any], leads: bool) -> None:
    assert (follow(**other) is not None) == leads
