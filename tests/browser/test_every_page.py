"""What holds on every page: no barrier, no sideways scroll, light and dark, no more than 100 kB, nothing from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.browser.conftest import Open
from tests.browser.shopping import add, buy, say, state
from tests.browser.visit import HEAVIEST, PHONE, Visit
from tests.conftest import StartKassa
from tests.rig import Server

ANYONE = {
    "front": "/",
    "products": "/shop",
    "cart, empty": "/shop/cart",
    "sign in": "/shop/sign-in",
    "my orders": "/shop/orders",
    "nothing": "/track/019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
    "refused": "/develop/calls/nonsense",
    "developers": "/develop",
    "calls": "/develop/calls/orders",
    "more calls": "/develop/calls/payments",
    "events": "/develop/asyncapi",
    "grpc": "/develop/grpc",
    "inspector": "/develop/events",
}
WITH_SOMETHING = ("cart", "checkout", "paid", "tracking", "an event")
"""Pages that show what somebody has done before."""


@dataclass
class Town:
    """A server on which something was bought, and where its pages are."""

    server: Server
    places: dict[str, str]


@pytest.fixture(scope="module")
def town(start_kassa: StartKassa) -> Town:
    return Town(start_kassa(), {})


def places(town: Town, window: Visit) -> dict[str, str]:
    """The addresses of pages that somebody must have made; the cart and the checkout are this window's own."""
    if "paid" not in town.places:
        page = buy(window)
        state(page, "paid")
        town.places["paid"] = page.url.removeprefix(town.server.url)
        follow = page.get_by_role("link", name=say("pay.follow")).first.get_attribute("href")
        assert follow
        town.places["tracking"] = follow
        [row] = town.server.sql("SELECT event_id FROM events WHERE merchant_id = '1' AND type = 'payment.paid' LIMIT 1")
        town.places["an event"] = f"/develop/events/{row['event_id']}"
    return {**town.places, "cart": "/shop/cart", "checkout": "/shop/checkout"}


def opened(town: Town, window: Visit, name: str) -> str:
    """The address of a page, with what it needs already there."""
    if name in ANYONE:
        return ANYONE[name]
    found = places(town, window)[name]
    if name in {"cart", "checkout"}:
        add(window, "Wireless Mouse")
    return found


@pytest.mark.parametrize("name", [*ANYONE, *WITH_SOMETHING])
def test_nobody_is_kept_out(town: Town, visit: Open, name: str) -> None:
    window = visit(town.server)
    window.go(opened(town, window, name))
    assert window.barriers() == []
    if name == "checkout":
        window.picture(name)
    if name == "products":
        window.picture(name, clip={"x": 0, "y": 0, "width": 1100, "height": 450})  # its colours weigh much


@pytest.mark.parametrize("name", [*ANYONE, *WITH_SOMETHING])
def test_a_phone_needs_no_sideways_scroll(town: Town, visit: Open, name: str) -> None:
    window = visit(town.server, viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    window.go(opened(town, window, name))
    assert not window.is_wider_than_its_window()


@pytest.mark.parametrize("language", ["ru", "uz"])
@pytest.mark.parametrize("name", ["products", "cart", "checkout", "paid", "tracking"])
def test_other_languages_fit_a_phone_too(town: Town, visit: Open, name: str, language: str) -> None:
    window = visit(town.server, viewport=PHONE, is_mobile=True)
    where = opened(town, window, name)
    window.context.add_cookies([{"name": "kassa_language", "value": language, "url": town.server.url}])
    page = window.go(where)
    assert page.locator("html").get_attribute("lang") == language
    assert not window.is_wider_than_its_window()
    assert window.barriers() == []


@pytest.mark.parametrize("name", [*ANYONE, *WITH_SOMETHING])
def test_a_page_is_light(town: Town, visit: Open, name: str) -> None:
    where = opened(town, visit(town.server), name) if name in WITH_SOMETHING else ANYONE[name]
    window = visit(town.server)
    if name in {"cart", "checkout"}:
        opened(town, window, name)
        window.context.storage_state()
        fresh = visit(town.server, storage_state=window.context.storage_state())
    else:
        fresh = window
    assert 0 < fresh.weight(where) <= HEAVIEST
