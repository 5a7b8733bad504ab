"""Read a call of Payme's strictly: its JSON, its envelope, the types of its parameters (Payme specification, 2.7 and 2.8).

`bool` is no integer here, and neither is a number with a fraction or an exponent. Numbers are exact, however long: `int`, and
`Decimal` for those with a fraction or an exponent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from kassa.api.payme.words import BAD_FISCAL, MALFORMED, NOT_JSON, UNKNOWN_METHOD, Id
from kassa.kit.errors import Invalid
from kassa.kit.jsontext import MAX_DEPTH

_TRANSACTION_ID = re.compile(r"[\x20-\x7e]{1,64}")
_FIRST_TIME, _PAST_TIME = 10**12, 10**13
"""What has 13 digits, in milliseconds."""
_KINDS: Final = ("PERFORM", "CANCEL")


class Malformed(Invalid):
    """The call cannot be read."""

    code = "malformed_call"

    def __init__(self, number: int, data: str | None = None, call_id: Id = None) -> None:
        super().__init__()
        self.number = number
        """Payme's code of what is wrong."""
        self.data = data
        self.call_id = call_id


@dataclass(frozen=True, slots=True)
class Asked:
    """One call, its parameters still as they came."""

    call_id: Id
    method: str
    params: dict[str, Any] = field(repr=False)


def id_in(raw: bytes | None) -> Id:
    """The id of a call that is refused whatever it says; None where none can be read."""
    try:
        call = _object(raw or b"")
        return _id(call)
    except Malformed:
        return None


def read_call(raw: bytes, methods: Mapping[str, object]) -> Asked:
    """The call in a body; `methods` are the known ones. Raises `Malformed`: the first thing that is wrong."""
    call = _object(raw)
    call_id, method, params = _id(call), call.get("method"), call.get("params")
    if not isinstance(method, str) or not method:
        raise Malformed(MALFORMED, "method", call_id)
    if method not in methods:
        raise Malformed(UNKNOWN_METHOD, method, call_id)
    if not isinstance(params, dict):
        raise Malformed(MALFORMED, "params", call_id)
    return Asked(call_id, method, params)


class Params:
    """The parameters of a call. Each member is asked for by its type and raises `Malformed` where it has another one."""

    def __init__(self, asked: Asked, number: int = MALFORMED) -> None:
        self._asked = asked
        self._number = number

    def amount(self) -> int:
        """A whole number of tiyin. Its size and sign are a matter of business."""
        return self._whole("amount")

    def account(self) -> dict[str, Any]:
        """What is to be paid, as it was sent: its members are judged by whoever looks the account up."""
        return self._object("account")

    def payme_id(self) -> str:
        """Payme's id of its transaction: 1 to 64 printable ASCII characters."""
        found = self._asked.params.get("id")
        if not isinstance(found, str) or not _TRANSACTION_ID.fullmatch(found):
            raise self._wrong("id")
        return found

    def time_ms(self) -> int:
        """Payme's time in milliseconds: exactly 13 digits."""
        found = self._whole("time")
        if not _FIRST_TIME <= found < _PAST_TIME:
            raise self._wrong("time")
        return found

    def reason(self) -> int:
        """Why something is cancelled: any whole number."""
        return self._whole("reason")

    def bound_ms(self, name: str) -> int:
        """An end of a period in milliseconds, from 0. What lies after every time there is, is the moment after them all."""
        found = self._whole(name)
        if found < 0:
            raise self._wrong(name)
        return min(found, _PAST_TIME)

    def fiscal_kind(self) -> str:
        """`PERFORM` or `CANCEL`."""
        found = self._asked.params.get("type")
        if found not in _KINDS:
            raise self._wrong("type")
        return str(found)

    def fiscal_data(self) -> dict[str, Any]:
        """What the tax authority said, as it was sent. Its `receipt_id` is text in the table and a number in the examples."""
        found = self._object("fiscal_data")
        receipt_id = found.get("receipt_id")
        if isinstance(receipt_id, bool | list | dict):
            raise self._wrong("receipt_id")
        return found

    def _whole(self, name: str) -> int:
        found = self._asked.params.get(name)
        if not isinstance(found, int) or isinstance(found, bool):
            raise self._wrong(name)
        return found

    def _object(self, name: str) -> dict[str, Any]:
        found = self._asked.params.get(name)
        if not isinstance(found, dict):
            raise self._wrong(name)
        return found

    def _wrong(self, name: str) -> Malformed:
        return Malformed(self._number, name, self._asked.call_id)


def fiscal(asked: Asked) -> Params:
    """The parameters of SetFiscalData, whose faults have a number of their own."""
    return Params(asked, BAD_FISCAL)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError, InvalidOperation):
        raise Malformed(NOT_JSON) from None
    # Only what has so many brackets can be nested so deep.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and not _is_shallow(value, MAX_DEPTH):
        raise Malformed(NOT_JSON)
    if not isinstance(value, dict):
        raise Malformed(MALFORMED)
    return value


def _id(call: Mapping[str, Any]) -> Id:
    found = call.get("id")
    if isinstance(found, bool) or not isinstance(found, int | str | None):
        raise Malformed(MALFORMED, "id")
    return found


def _fraction(text: str) -> Decimal:
    return Decimal(text)


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


_DECODER = json.JSONDecoder(parse_float=_fraction, parse_constant=_no_constant, object_pairs_hook=_once_each)


def _is_shallow(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in inner)
