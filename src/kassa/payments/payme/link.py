"""The link that opens Payme's checkout (Merchant API, 10.1). It is not signed: Payme's first call is where it is checked."""

from __future__ import annotations

import base64
import re

_HOST = {False: "https://checkout.paycom.uz", True: "https://test.paycom.uz"}
_PLAIN = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_LANGUAGES = frozenset({"ru", "uz", "en"})


def link(
    cashbox_id: str,
    field: str,
    value: str,
    amount: int,
    *,
    is_test: bool,
    language: str | None = None,
    return_url: str | None = None,
    return_after_ms: int | None = None,
) -> str:
    """The address for `amount` tiyin of the account `value`. The same for the same arguments.

    There is no escaping in Payme's format, so what could begin a member of its own raises `ValueError`: an account outside
    `[A-Za-z0-9_.:-]`, an amount that is not a whole number above zero, another language than ru, uz, en.
    """
    if type(amount) is not int or amount <= 0:
        raise ValueError("the amount is a whole number of tiyin above zero")
    if not all(_PLAIN.fullmatch(each) for each in (cashbox_id, field, value)):
        raise ValueError("cashbox, field and account hold letters, digits and _ . : - only")
    if language is not None and language not in _LANGUAGES:
        raise ValueError("the language is ru, uz or en")
    if return_after_ms is not None and (type(return_after_ms) is not int or return_after_ms < 0):
        raise ValueError("the delay is a whole number of milliseconds")
    first = f"m={cashbox_id};ac.{field}={value};a={amount}"
    options = {
        "l": language,
        "c": return_url.replace(";", "%3B") if return_url else None,
        "ct": str(return_after_ms) if return_after_ms is not None else None,
    }
    return f"{_HOST[is_test]}/{_safest(first, {name: value for name, value in options.items() if value is not None})}"


def _safest(first: str, options: dict[str, str]) -> str:
    """Base64 that is a path without escapes, if another order of the options makes it so: `/` and `+` need a third byte."""
    orders = [["l", "c", "ct"], ["ct", "l", "c"], ["l", "ct", "c"], ["ct", "c", "l"]]
    texts = [";".join([first, *(f"{name}={options[name]}" for name in order if name in options)]) for order in orders]
    encoded = [base64.b64encode(text.encode()).decode() for text in texts]
    return next((each for each in encoded if "/" not in each and "+" not in each), encoded[0])
