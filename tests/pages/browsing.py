"""A buyer at a browser without a script: opens pages, keeps cookies, fills in forms and presses their buttons."""

from __future__ import annotations

from typing import Any

import httpx2
from tests.pages.reading import Form, Page
from tests.rig import Server

HOME = {
    "name": "Asha Rao",
    "email": "asha@example.com",
    "street": "123 Main St",
    "city": "Mumbai",
    "state": "Maharashtra",
    "postalCode": "400001",
    "country": "India",
}
GOOD_CARD = {"method": "credit_card", "card": "4242 4242 4242 4242", "expiry": "12/49"}
BAD_CARD = {"method": "credit_card", "card": "4000 0000 0000 0002", "expiry": "12/49"}


class Browser:
    """One browser; `page`, `status` and `address` are of what is on the screen."""

    def __init__(self, server: Server, language: str = "en") -> None:
        self.server = server
        self.client: httpx2.Client = server.client(follow_redirects=True, headers={"Accept-Language": language})
        self.page = Page("")
        self.status = 0
        self.address = ""
        self.html = ""

    def open(self, address: str, **headers: str) -> Page:
        """Type an address, or follow a link."""
        return self._shown(self.client.get(address, headers={"Sec-Fetch-Site": "none"} | headers))

    def follow(self, words: str) -> Page:
        """Follow the link with these words."""
        return self.open(self.page.links[words])

    def form(self, action: str, **fields: str) -> Form:
        """The first form on the screen that is sent to an address that begins so, and has these fields."""
        found = [each for each in self.page.forms if each.action.startswith(action) and fields.items() <= each.fields.items()]
        assert found, f"no form for {action} {fields} among {[(each.action, each.fields) for each in self.page.forms]}"
        return found[0]

    def send(self, form: Form, **typed: str) -> Page:
        """Fill in a form and press its button."""
        return self._shown(self.client.post(form.action, data={**form.fields, **typed}, headers=self._own()))

    def press(self, action: str, typed: dict[str, str] | None = None, **fields: str) -> Page:
        """Find a form and send it."""
        return self.send(self.form(action, **fields), **(typed or {}))

    def send_raw(self, address: str, data: dict[str, str], **headers: str) -> httpx2.Response:
        """A form as another site, or nobody's browser, might send it."""
        return self.client.post(address, data=data, headers=headers)

    def put_into_cart(self, product: str = "prod_001", quantity: int = 1) -> Page:
        """From the shop's front into the cart."""
        self.open("/shop")
        return self.press("/shop/cart/add", {"quantity": str(quantity)}, product=product)

    def buy(self, product: str = "prod_001", **how: str) -> Page:
        """All the way to the pay page."""
        self.put_into_cart(product)
        self.open("/shop/checkout")
        return self.press("/shop/checkout", HOME | GOOD_CARD | how)

    def look_again(self) -> Page:
        """Reload what is on the screen."""
        return self.open(self.address)

    def until(self, words: str) -> Page:
        """Reload until the page says so."""
        from tests.contracts.orders.journeys import eventually

        eventually(lambda: words in self.look_again().text, within=10)
        assert words in self.page.text, self.page.text
        return self.page

    def _own(self) -> dict[str, str]:
        return {"Origin": self.server.url, "Sec-Fetch-Site": "same-origin"}

    def _shown(self, answer: httpx2.Response) -> Page:
        self.status, self.html = answer.status_code, answer.text
        self.address = str(answer.url).removeprefix(self.server.url)
        self.page = Page(answer.text)
        return self.page


def orders_to(server: Server, street: str) -> list[dict[str, Any]]:
    """Orders with this street, newest last: the tests write something of their own there."""
    return server.sql(
        "SELECT order_id::text, status, payment_status, payment_id::text, buyer_id FROM orders WHERE shipping_address ->> 'street' = $1 ORDER BY created_at",
        street,
    )
