"""The page on which a buyer pays at Payme's stand-in: the sum, what can be done next, and every call that was made for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from kassa.sandbox import pages
from kassa.sandbox.model import Reply
from kassa.sandbox.payme.book import Attempt, Said
from kassa.sandbox.payme.link import Bill, address_back

_TITLES = {
    "performed": ("Paid", "The merchant has confirmed the payment."),
    "returned": ("Refunded", "The money is on its way back to the card."),
    "cancelled": ("Declined", "Nothing was charged. You may try again."),
    "refused": ("Not paid", "The merchant refused this payment. Nothing was charged."),
    "created": ("Not finished", "The payment is held at the merchant and not confirmed yet. You may go on."),
    "begun": ("Not finished", "The merchant has not answered yet. You may go on."),
}
_OFFERED = {"performed": ("refund",), "returned": ()}
_BUTTONS = {"pay": ("Pay", ' class="go"'), "decline": ("Decline", ""), "refund": ("Refund", "")}
SILENT = "The merchant did not answer as it should. Nothing is decided: you may try again."


@dataclass(frozen=True, slots=True)
class Place:
    """What stands before and behind the name of an act in the address of a button. Relative, for gateways that add a path."""

    before: str
    behind: str


def show(bill: Bill, attempt: Attempt | None, calls: Sequence[Said], place: Place, *, code: int = 200, line: str = "") -> Reply:
    """The page of a bill. `line` says what came of the last click, where the state of the attempt does not."""
    state = attempt.state if attempt else ""
    title, said = _TITLES.get(state, ("Your payment", ""))
    said = line or said
    offered = _OFFERED.get(state, ("pay", "decline"))
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in bill.account.items())
    return pages.page(
        code,
        title,
        f'<p class="sum">{_major(bill.amount)} <small>UZS</small></p>'
        + (f'<p role="status">{escape(said)}</p>' if said else "")
        + f"<dl>{rows}</dl>"
        + "".join(_form(place.before + name + place.behind, *_BUTTONS[name]) for name in offered)
        + _back(address_back(bill, attempt.payme_id if attempt else None))
        + _calls(calls),
    )


def ask_amount(order_id: str) -> Reply:
    """The sandbox runs alone and cannot know the sum of this purchase; Payme has it from the link."""
    field = '<p><label>Amount in tiyin <input name="amount" inputmode="numeric" pattern="[1-9][0-9]{0,14}" required></label></p>'
    return pages.page(
        200,
        "How much?",
        f"<dl><div><dt>Order</dt><dd>{escape(order_id)}</dd></div></dl>"
        f'<form method="get">{field}<button class="go">Show the payment</button></form>',
    )


def _form(action: str, name: str, look: str) -> str:
    return f'<form method="post" action="{escape(action)}"><button{look}>{name}</button></form>'


def _back(address: str | None) -> str:
    return f'<p class="note"><a href="{escape(address)}" rel="noreferrer">Back to the shop</a></p>' if address else ""


def _calls(calls: Sequence[Said]) -> str:
    if not calls:
        return ""
    lines = "".join(
        f"<li><b>{escape(one.method)}</b> <small>{one.took_ms} ms{escape(', ' + one.note if one.note else '')}</small>"
        f"<code>{escape(one.answer)}</code></li>"
        for one in calls
    )
    return f"<h2>What Payme asked, and the answers</h2><ol>{lines}</ol>"


def _major(tiyin: int) -> str:
    """7500000 as `75 000.00`."""
    return f"{tiyin // 100:,}.{tiyin % 100:02d}".replace(",", "\N{NO-BREAK SPACE}")
