"""Somebody at the back office, with a browser without a script."""

from __future__ import annotations

from typing import Any

from tests.contracts.orders.journeys import anybody, buy_paid
from tests.pages.browsing import Browser
from tests.pages.reading import Page
from tests.rig import Server


def password_of(server: Server) -> str:
    """The password of the demo accounts."""
    return (server.home / "secrets" / "office_password").read_text().strip()


class Clerk(Browser):
    """A browser at which somebody is signed in."""

    def sign_in(self, name: str = "operator", password: str | None = None) -> Page:
        """Type name and password."""
        self.open("/office/sign-in")
        return self.press("/office/sign-in", {"name": name, "password": password or password_of(self.server)})

    def act(self, address: str, **typed: str) -> Page:
        """Open the page of an act, fill its form in, and press its button. Names with brackets are given as `quantity__x`."""
        self.open(address)
        fields = {_bracketed(name): value for name, value in typed.items()}
        return self.press(address, fields)

    @property
    def said(self) -> str:
        """What the page of a result says, or what is wrong."""
        found = [each.text for each in self.page.root.all(class_="said")]
        return " ".join(found)


def clerk(server: Server, name: str = "operator", password: str | None = None) -> Clerk:
    """Somebody who has just signed in."""
    made = Clerk(server)
    made.sign_in(name, password)
    return made


def another_admin(server: Server, name: str) -> None:
    """An admin more, with the same password; made as at the command line, without its seconds."""
    server.sql(
        """
        INSERT INTO staff_accounts (merchant_id, account_id, name, email, role, password_hash, password_at, created_at)
        SELECT merchant_id, gen_random_uuid(), $1, $1 || '@example.com', role, password_hash, password_at, created_at
          FROM staff_accounts WHERE name = 'admin'
        """,
        name,
    )


def _bracketed(name: str) -> str:
    first, brackets, inside = name.partition("__")
    return f"{first}[{inside}]" if brackets else name


def buy(server: Server, product: str = "prod_001", quantity: int = 2) -> dict[str, Any]:
    """A paid order of the shop, as the database has it."""
    made = buy_paid(server.client(anybody()), product, quantity)
    return order(server, made["id"])


def order(server: Server, order_id: str) -> dict[str, Any]:
    """An order with its payment."""
    [row] = server.sql(
        """
        SELECT o.order_id::text, o.status, o.tracking_number, o.carrier, o.payment_id::text, p.status AS payment,
               p.amount_minor, p.refunded_minor, p.refunding_minor
          FROM orders o JOIN payments p USING (merchant_id, payment_id) WHERE o.order_id = $1::text::uuid
        """,
        order_id,
    )
    return row


def lines_of(server: Server, subject: str) -> list[tuple[str, str, str | None]]:
    """What the audit log says of a subject, oldest first: who, what, why."""
    rows = server.sql(
        "SELECT who_kind || ':' || who_name AS who, act, why FROM audit_log WHERE merchant_id = '1' AND subject = $1 ORDER BY place",
        subject,
    )
    return [(row["who"], row["act"], row["why"]) for row in rows]
