"""Bodies that cannot be: which check fails first, and that it is never more than an error (sections 2.6 to 2.8)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .booking import Booking
from .paycom import METHODS, UNKNOWN_ORDER, Cashbox, Purchase, a_tx, basic, check_perform, create, fiscal, refused, result
from .texts import AMOUNT, BAD_PARAMS, MALFORMED, NO_METHOD, NO_ORDER, NO_TRANSACTION, NOT_JSON

LIMIT = 65_536
GOOD = b'{"id": 1, "method": "CheckTransaction", "params": {"id": "0123456789"}}'


def deep(inside: bytes, depth: int) -> bytes:
    return b'{"id": 1, "method": "CheckTransaction", "params": ' + b"[" * depth + inside + b"]" * depth + b"}"


NOT_JSON_AT_ALL = {
    "empty": b"",
    "spaces": b" \n\t ",
    "text": b"hello",
    "a form": b"id=1&method=CheckTransaction",
    "cut short": GOOD[:-1],
    "twice": GOOD + GOOD,
    "rubbish behind": GOOD + b"x",
    "single quotes": GOOD.replace(b'"', b"'"),
    "a comma too many": b'{"id": 1,}',
    "a comment": b'{"id": 1 /* one */}',
    "NaN": b"NaN",
    "NaN inside": b'{"id": 1, "method": "CheckTransaction", "params": {"id": "x", "y": NaN}}',
    "Infinity": b'{"id": 1, "method": "CheckTransaction", "params": {"id": "x", "y": Infinity}}',
    "-Infinity": b'{"id": 1, "method": "CheckTransaction", "params": {"id": "x", "y": -Infinity}}',
    "NaN as id": b'{"id": NaN, "method": "CheckTransaction", "params": {"id": "x"}}',
    "hexadecimal": b'{"id": 0x1F}',
    "a leading zero": b'{"id": 01}',
    "a plus": b'{"id": +1}',
    "None": b'{"id": None}',
    "a bare control character": b'{"id": "a\x01b"}',
    "NUL": b"\0",
    "NUL behind": GOOD + b"\0",
    "not UTF-8": b'{"id": "\xff", "method": "CheckTransaction", "params": {"id": "x"}}',
    "half a letter": b'{"id": "\xd0", "method": "CheckTransaction", "params": {"id": "x"}}',
    "surrogates in UTF-8": b'{"id": "\xed\xa0\x80", "method": "CheckTransaction", "params": {"id": "x"}}',
    "an overlong letter": b'{"id": "\xc0\xaf", "method": "CheckTransaction", "params": {"id": "x"}}',
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without a mark": GOOD.decode().encode("utf-16-le"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "5000 digits": b"1" * 5000,
    "5000 digits inside": GOOD.replace(b'"0123456789"', b"1" * 5000),
    "5000 digits below zero": GOOD.replace(b'"0123456789"', b"-" + b"1" * 5000),
    "5000 digits as id": b'{"id": ' + b"1" * 5000 + b', "method": "CheckTransaction", "params": {"id": "x"}}',
    "4301 digits": b'{"id": 1, "x": ' + b"9" * 4301 + b"}",
    "30000 brackets": b"[" * 30000,
    "30000 brackets, closed": b"[" * 30000 + b"]" * 30000,
    "10000 objects": b'{"a":' * 10000 + b"1" + b"}" * 10000,
    "deep inside": deep(b"1", 30000),
}


@pytest.mark.parametrize("name", NOT_JSON_AT_ALL)
def test_what_is_not_json_is_said_to_be_not_json(payme: Cashbox, name: str) -> None:
    refused(payme.post(NOT_JSON_AT_ALL[name]), NOT_JSON, id=None)


@pytest.mark.parametrize("raw", [b"[]", b"[1]", b"[" + GOOD + b"]", b"null", b"true", b"1", b"1.5", b'"x"', b'""', b" [ ] "])
def test_the_top_is_an_object_and_there_are_no_batches(payme: Cashbox, raw: bytes) -> None:
    refused(payme.post(raw), MALFORMED, id=None)


@pytest.mark.parametrize("number", [True, False, 1.5, 1.0, [], [1], {}, {"a": 1}])
def test_an_id_of_another_type_is_malformed(payme: Cashbox, number: Any) -> None:
    refused(payme.send({"id": number, "method": "CheckTransaction", "params": {"id": "x"}}), MALFORMED, id=None)
    refused(payme.send({"id": number}), MALFORMED, id=None)
    refused(payme.send({"id": number, "method": "NoSuchMethod"}), MALFORMED, id=None)


def test_an_id_with_an_exponent_is_malformed(payme: Cashbox) -> None:
    refused(payme.post(GOOD.replace(b'"id": 1,', b'"id": 1e3,')), MALFORMED, id=None)


@pytest.mark.parametrize("method", [None, "", 5, 5.5, True, [], ["CheckTransaction"], {}, {"name": "CheckTransaction"}])
def test_a_method_of_another_type_is_malformed(payme: Cashbox, method: Any) -> None:
    refused(payme.send({"id": 8, "method": method, "params": {"id": "x"}}), MALFORMED)


def test_a_method_must_be_there(payme: Cashbox) -> None:
    refused(payme.send({"id": 8, "params": {"id": "x"}}), MALFORMED)
    refused(payme.send({}), MALFORMED, id=None)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("params", [None, [], [1], ["0" * 24], "x", "", 5, 1.5, True, "absent"])
def test_params_are_an_object(payme: Cashbox, method: str, params: Any) -> None:
    body = {"id": 8, "method": method} if params == "absent" else {"id": 8, "method": method, "params": params}
    refused(payme.send(body), MALFORMED, "params")


@pytest.mark.parametrize("params", [None, [], "x", 5])
def test_an_unknown_method_is_said_before_its_params_are_looked_at(payme: Cashbox, params: Any) -> None:
    refused(payme.send({"id": 8, "method": "NoSuchMethod", "params": params}), NO_METHOD, "NoSuchMethod")
    refused(payme.send({"id": 8, "method": "NoSuchMethod"}), NO_METHOD, "NoSuchMethod")


# The size


def padded(size: int) -> bytes:
    return GOOD[:-1] + b" " * (size - len(GOOD)) + b"}"


def test_64_kib_are_enough_and_one_byte_more_is_not(payme: Cashbox) -> None:
    refused(payme.post(padded(LIMIT)), NO_TRANSACTION)
    refused(payme.post(padded(LIMIT + 1)), MALFORMED, id=None)


@pytest.mark.parametrize(
    "raw", [padded(1_000_000), b"x" * 1_000_000, b"[" * 70_000, b"\xff" * 70_000], ids=["good", "text", "deep", "not UTF-8"]
)
def test_the_size_is_looked_at_before_the_json(payme: Cashbox, raw: bytes) -> None:
    refused(payme.post(raw), MALFORMED, id=None)


def test_a_long_body_in_pieces_is_the_same(payme: Cashbox) -> None:
    def pieces(raw: bytes) -> Iterator[bytes]:
        for start in range(0, len(raw), 8192):
            yield raw[start : start + 8192]

    headers = {"Authorization": basic(payme.login, payme.key)}
    good = payme.client.post(payme.path, content=pieces(padded(LIMIT)), headers=headers)
    refused(good, NO_TRANSACTION, id=1)
    refused(payme.client.post(payme.path, content=pieces(padded(1_000_000)), headers=headers), MALFORMED, id=None)


def test_after_all_this_the_connection_and_the_server_are_well(booking: Booking, payme: Cashbox) -> None:
    payme.post(padded(1_000_000))
    payme.post(b"[" * 30000)
    payme.allowed(booking.buy())


# Parameters (2.8)

NO_INTEGER: list[Any] = [None, "", "1", "7500000", 1.0, 1.5, True, False, [], [1], {}, {"a": 1}, "absent"]
NO_TEXT: list[Any] = [None, 5, 0, 1.5, True, False, [], ["x"], {}, "", "x" * 65, "absent"]
NO_TX: list[Any] = [*NO_TEXT, "a\0b", "a\nb", "\x7f", "\x1f", "é", "ж" * 24, "\ud800", "a\u00a0b", "\u0661" * 24]
NO_OBJECT: list[Any] = [None, 5, "x", "", 1.5, True, [], [1], "absent"]


@pytest.fixture(scope="module")
def waiting(_town: Booking) -> Purchase:
    """A purchase that stays payable: no test here gets so far as to change it."""
    return _town.buy()


def without(params: dict[str, Any], member: str, value: Any) -> dict[str, Any]:
    changed = {**params, member: value}
    if value == "absent":
        del changed[member]
    return changed


def test_a_wrong_amount_type_is_malformed(payme: Cashbox, waiting: Purchase) -> None:
    for value in NO_INTEGER:
        refused(payme.ask("CheckPerformTransaction", without(check_perform(waiting)[1], "amount", value)), MALFORMED, "amount")
        params = {**create(waiting, a_tx())[1], "time": payme.now()}
        refused(payme.ask("CreateTransaction", without(params, "amount", value)), MALFORMED, "amount")
    for text in (b"7500000.0", b"75e5", b"7.5E6", b"2500000.0", b"25e5", b"1e400", b"-0.0"):
        raw = json.dumps({"id": 1, "method": "CheckPerformTransaction", "params": check_perform(waiting, amount=12345)[1]}).encode()
        refused(payme.post(raw.replace(b"12345", text)), MALFORMED, "amount")
    payme.allowed(waiting)


@pytest.mark.parametrize("amount", [0, -1, 1, 2_499_999, 2_500_001, -2_500_000, 25_000, 2**63, 2**64, 10**30, -(10**30), 10**4299])
def test_an_amount_of_any_size_is_only_a_wrong_amount(payme: Cashbox, waiting: Purchase, amount: int) -> None:
    tx = a_tx()
    assert waiting.amount == 2_500_000
    refused(payme.check_perform(waiting, amount=amount), AMOUNT)
    refused(payme.create(waiting, tx, amount=amount), AMOUNT)
    refused(payme.check(tx), NO_TRANSACTION)


def test_the_amount_and_the_account_are_looked_at_before_the_order(payme: Cashbox) -> None:
    unknown = {"order_id": UNKNOWN_ORDER}
    refused(payme.ask("CheckPerformTransaction", {"amount": "1", "account": unknown}), MALFORMED, "amount")
    refused(payme.ask("CreateTransaction", {"id": a_tx(), "time": "x", "amount": 1, "account": unknown}), MALFORMED, "time")
    refused(payme.ask("CreateTransaction", {"id": 5, "time": payme.now(), "amount": 1, "account": unknown}), MALFORMED, "id")
    refused(payme.ask("CheckPerformTransaction", {"amount": -1, "account": unknown}), NO_ORDER)


def test_an_account_of_another_type_is_malformed(payme: Cashbox, waiting: Purchase) -> None:
    for value in NO_OBJECT:
        refused(payme.ask("CheckPerformTransaction", without(check_perform(waiting)[1], "account", value)), MALFORMED, "account")
        params = {**create(waiting, a_tx())[1], "time": payme.now()}
        refused(payme.ask("CreateTransaction", without(params, "account", value)), MALFORMED, "account")


def not_our_order(order_id: str) -> dict[str, Any]:
    """Values of `order_id` that name no order, although some look like this one."""
    wide = "".join(chr(ord(letter) + 0xFEE0) if letter.isdigit() else letter for letter in order_id)
    return {
        "null": None,
        "empty": "",
        "spaces": "   ",
        "true": True,
        "a float": 1.5,
        "a list": [order_id],
        "an object": {"id": order_id},
        "zero": 0,
        "a number": 12345,
        "a number below zero": -1,
        "a huge number": 10**40,
        "a number of 65 digits": 10**64,
        "without dashes": order_id.replace("-", ""),
        "in braces": "{" + order_id + "}",
        "as a URN": f"urn:uuid:{order_id}",
        "dashes elsewhere": order_id[:7] + "-" + order_id[7] + order_id[9:],
        "a letter less": order_id[:-1],
        "a letter more": order_id + "0",
        "twice": f"{order_id} {order_id}",
        "an underscore": order_id[:1] + "_" + order_id[2:],
        "wide digits": wide,
        "NUL behind": order_id + "\0",
        "NUL inside": order_id[:5] + "\0" + order_id[6:],
        "a tab inside": order_id[:5] + "\t" + order_id[6:],
        "a zero-width space": "\u200b" + order_id,
        "half a letter": "\ud800",
        "65 letters": "x" * 65,
        "64 letters": "x" * 64,
        "60000 letters": "x" * 60000,
        "SQL": "' OR '1'='1",
        "a wildcard": "%",
        "the zero UUID": "00000000-0000-0000-0000-000000000000",
        "an unknown one": UNKNOWN_ORDER,
    }


@pytest.mark.parametrize("name", not_our_order(UNKNOWN_ORDER))
def test_whatever_names_no_order_is_an_unknown_order(payme: Cashbox, waiting: Purchase, name: str) -> None:
    account = {"order_id": not_our_order(waiting.purchase_id)[name]}
    tx = a_tx()
    refused(payme.check_perform(waiting, account=account), NO_ORDER, "order_id")
    refused(payme.create(waiting, tx, account=account), NO_ORDER, "order_id")
    refused(payme.check(tx), NO_TRANSACTION)


def test_other_names_of_the_field_are_no_order(payme: Cashbox, waiting: Purchase) -> None:
    for account in (
        {},
        {"purchase_id": waiting.purchase_id},
        {"ORDER_ID": waiting.purchase_id},
        {"order_id ": waiting.purchase_id},
    ):
        refused(payme.check_perform(waiting, account=account), NO_ORDER, "order_id")


def test_neither_the_payment_nor_the_cart_is_an_order(payme: Cashbox, waiting: Purchase) -> None:
    refused(payme.check_perform(waiting, account={"order_id": waiting.payment_id}), NO_ORDER)


@pytest.mark.parametrize("form", [" {}", "{} ", "\t{}\n", "  {}  "])
def test_spaces_around_the_order_are_trimmed(payme: Cashbox, waiting: Purchase, form: str) -> None:
    assert result(payme.check_perform(waiting, account={"order_id": form.format(waiting.purchase_id)})) == {"allow": True}


def test_the_letter_case_of_the_order_does_not_matter(payme: Cashbox, waiting: Purchase) -> None:
    assert result(payme.check_perform(waiting, account={"order_id": waiting.purchase_id.upper()})) == {"allow": True}


@pytest.mark.parametrize("method", ["CreateTransaction", "PerformTransaction", "CancelTransaction", "CheckTransaction"])
def test_a_transaction_id_is_1_to_64_printable_characters(payme: Cashbox, waiting: Purchase, method: str) -> None:
    params = {**create(waiting, "x")[1], "time": payme.now(), "reason": 1}
    for value in NO_TX:
        refused(payme.ask(method, without(params, "id", value)), MALFORMED, "id")
    payme.allowed(waiting)


@pytest.mark.parametrize("tx", ["1", "x" * 64, "~!@#$%^&*()_+-=[]{};:'\",.<>/?\\|`", "a" * 25, "null"])
def test_an_id_of_another_form_than_payme_documents_is_good_too(booking: Booking, payme: Cashbox, tx: str) -> None:
    refused(payme.check(tx), NO_TRANSACTION)
    payme.paid(booking.buy(), tx=tx)
    assert payme.state(tx) == (2, None)


def test_an_id_is_compared_letter_by_letter(booking: Booking, payme: Cashbox) -> None:
    tx = payme.created(booking.buy(), "ab" + a_tx())
    refused(payme.check(tx.upper()), NO_TRANSACTION)
    refused(payme.check(tx + " "), NO_TRANSACTION)
    refused(payme.perform(" " + tx), NO_TRANSACTION)


def test_a_time_has_13_digits(payme: Cashbox, waiting: Purchase) -> None:
    params = {**create(waiting, a_tx())[1], "time": 0}
    wrong = [
        *NO_INTEGER,
        0,
        -1,
        1767225600,
        999_999_999_999,
        10_000_000_000_000,
        -1_767_225_600_123,
        10**30,
        "1767225600123",
        1767225600123.0,
    ]
    for value in wrong:
        refused(payme.ask("CreateTransaction", without(params, "time", value)), MALFORMED, "time")


def test_a_reason_is_an_integer(booking: Booking, payme: Cashbox) -> None:
    tx = payme.created(booking.buy())
    for value in NO_INTEGER:
        refused(payme.ask("CancelTransaction", without({"id": tx, "reason": 1}, "reason", value)), MALFORMED, "reason")
    assert payme.state(tx) == (1, None)


@pytest.mark.parametrize("name", ["from", "to"])
def test_a_period_is_two_integers_not_below_zero(payme: Cashbox, name: str) -> None:
    for value in [*NO_INTEGER, -1, -(10**30)]:
        refused(payme.ask("GetStatement", without({"from": 0, "to": 1}, name, value)), MALFORMED, name)


# SetFiscalData has codes of its own


@pytest.mark.parametrize("name", ["id", "type", "fiscal_data"])
def test_bad_fiscal_parameters_have_a_code_of_their_own(booking: Booking, payme: Cashbox, name: str) -> None:
    tx = payme.paid(booking.buy())
    wrong = {
        "id": [value for value in NO_TEXT if not isinstance(value, str) or value == "absent"],
        "type": [*NO_TEXT, "perform", "REFUND", " PERFORM", "PERFORM "],
        "fiscal_data": NO_OBJECT,
    }
    for value in wrong[name]:
        refused(payme.ask("SetFiscalData", without(fiscal(tx)[1], name, value)), BAD_PARAMS, name)
