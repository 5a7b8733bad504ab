"""Reading a payment link as Payme's checkout does (section 10.1). It is not signed: whoever holds it may have changed it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_AMOUNT = re.compile(r"[1-9][0-9]{0,14}")


@dataclass(frozen=True, slots=True)
class Bill:
    """What is to be paid: the amount in tiyin, the account as it stands in the link, and where the buyer goes afterwards."""

    order_id: str
    amount: int
    account: Mapping[str, str]
    back: str | None = None


def read_link(payload: str, account_field: str) -> Bill | None:
    """The bill behind the last part of a link; None when it cannot be read, or lacks the amount or the account's field."""
    try:
        text = base64.b64decode(payload + "=" * (-len(payload) % 4), validate=True).decode()
    except ValueError:
        return None
    members = dict(part.partition("=")[::2] for part in text.split(";"))
    account = {name.removeprefix("ac."): value for name, value in members.items() if name.startswith("ac.")}
    if account_field not in account or not _AMOUNT.fullmatch(members.get("a", "")):
        return None
    return Bill(account[account_field], int(members["a"]), account, _web_address(members.get("c")))


def address_back(bill: Bill, payme_id: str | None) -> str | None:
    """Where the buyer goes afterwards, with `:transaction` and `:account.<field>` filled in."""
    if bill.back is None:
        return None
    found = bill.back.replace(":transaction", payme_id or "null")
    # The longest name first, so that `:account.order` does not eat the beginning of `:account.order_id`.
    for name in sorted(bill.account, key=len, reverse=True):
        found = found.replace(f":account.{name}", bill.account[name])
    return found


def _web_address(value: str | None) -> str | None:
    """Only what a browser may be sent to: an address of another kind could be a script."""
    try:
        return value if value and urlsplit(value).scheme in {"http", "https"} else None
    except ValueError:
        return None
