"""JSON is read strictly: one object, numbers exactly, no member twice, no endless nesting."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kassa.kit.errors import Invalid
from kassa.kit.jsontext import MAX_DEPTH, BadJson, parse


def nested(depth: int, *, of: str = "{}") -> bytes:
    """An object with `depth` containers inside each other, the object included."""
    inner = {"{}": ('{"a":', "}"), "[]": ("[", "]")}[of]
    return b'{"a":' + (inner[0] * (depth - 1)).encode() + b"1" + (inner[1] * (depth - 1)).encode() + b"}"


@pytest.mark.parametrize(
    "raw",
    [
        b"", b" ", b"null", b"1", b'"text"', b"[]", b'[{"a": 1}]', b"{", b'{"a": 1', b'{"a": 1}}', b'{"a": 1} x', b"{'a': 1}",
        b'{"a": 01}', b'{"a": +1}', b'{"a": .5}', b'{"a": 1.}', b'{"a": tru}', b'{"a": "\n"}', b"{a: 1}", b'{"a": 1,}',
    ],
)  # fmt: skip
def test_what_is_not_one_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BadJson):
        parse(raw)


@pytest.mark.parametrize("raw", [b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}'])
def test_a_number_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(BadJson):
        parse(raw)


@pytest.mark.parametrize("raw", [b'{"a": 1, "a": 1}', b'{"x": {"a": 1, "b": 2, "a": 3}}', b'{"a": 1, "\\u0061": 2}'])
def test_a_member_named_twice_is_refused_wherever_it_stands(raw: bytes) -> None:
    with pytest.raises(BadJson):
        parse(raw)


@pytest.mark.parametrize("of", ["{}", "[]"])
def test_twenty_levels_are_read_and_the_twenty_first_is_refused(of: str) -> None:
    assert parse(nested(MAX_DEPTH, of=of))
    with pytest.raises(BadJson):
        parse(nested(MAX_DEPTH + 1, of=of))


@pytest.mark.parametrize("of", ["{}", "[]"])
def test_nesting_without_end_is_refused_and_does_not_break_the_reader(of: str) -> None:
    with pytest.raises(BadJson):
        parse(nested(30_000, of=of))


@pytest.mark.parametrize("raw", [b'{"a": "\xff"}', b'{"a": "\xc3"}', b'\xef\xbb\xbf{"a": 1}', '{"a": 1}'.encode("utf-16")])
def test_what_is_not_utf_8_is_refused(raw: bytes) -> None:
    with pytest.raises(BadJson):
        parse(raw)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": 99.90}', Decimal("99.90")),
        (b'{"a": 1e400}', Decimal("1e400")),
        (b'{"a": 1E-3}', Decimal("0.001")),
        (b'{"a": 0.1}', Decimal("0.1")),
        (b'{"a": -0.0}', Decimal("0.0")),
        (b'{"a": 1e0}', Decimal(1)),
    ],
)
def test_a_number_with_a_point_or_an_exponent_is_a_decimal_with_every_digit(raw: bytes, value: Decimal) -> None:
    found = parse(raw)["a"]
    assert isinstance(found, Decimal)
    assert found == value


def test_a_whole_number_is_an_int_and_no_float() -> None:
    found = parse(b'{"a": 2, "b": -9223372036854775809}')
    assert found == {"a": 2, "b": -9223372036854775809}
    assert all(type(value) is int for value in found.values())


def test_a_number_of_thousands_of_digits_is_read_so_that_its_range_can_be_refused() -> None:
    digits = "9" * 10_000
    assert parse(f'{{"a": {digits}}}'.encode())["a"] == Decimal(digits)
    assert parse(f'{{"a": -{digits}}}'.encode())["a"] < 0


def test_an_exponent_beyond_everything_does_not_break_the_reader() -> None:
    for raw in (b'{"a": 1e99999999999999999999}', b'{"a": 1e-99999999999999999999}'):
        try:
            found = parse(raw)["a"]
        except BadJson:
            continue
        assert not found.is_nan()


def test_a_refusal_repeats_nothing_of_what_was_sent() -> None:
    with pytest.raises(Invalid) as refused:
        parse(b'{"card": 4111111111111111, "card": 1}')
    assert "4111" not in f"{refused.value} {refused.value.details} {refused.value.__cause__}"


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), trees, max_size=5))
def test_what_was_written_is_read_back(value: dict[str, Any]) -> None:
    assert parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=60))
def test_no_bytes_at_all_do_anything_but_read_or_refuse(raw: bytes) -> None:
    with contextlib.suppress(BadJson):
        assert isinstance(parse(raw), dict)
