"""An idempotency key is 8 to 255 visible ASCII characters, bare or quoted; anything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kassa.kit.once import InvalidKey, read_header

visible = st.characters(min_codepoint=0x21, max_codepoint=0x7E)


def test_no_header_is_no_key() -> None:
    assert read_header(None) is None


@pytest.mark.parametrize("key", ["12345678", "x" * 255, "order-form-7731", "a,b;c=d/e?f", "~!@#$%^&*()"])
def test_a_bare_key_is_taken_as_it_is(key: str) -> None:
    assert read_header(key) == key


def test_the_same_key_quoted_and_bare_is_the_same_key() -> None:
    assert read_header('"order-form-7731"') == read_header("order-form-7731") == "order-form-7731"


@pytest.mark.parametrize(
    "key",
    ["", "1234567", "x" * 256, '"1234567"', '"' + "x" * 256 + '"', "with space", "tab\tinside", "line\nbreak", "ümlaut-key", "\x7f" * 9,
     '"inner"quote"', '"back\\slash"', '""', '"', "12345678 ", " 12345678", "12345678\n"],
)  # fmt: skip
def test_every_other_text_is_refused(key: str) -> None:
    with pytest.raises(InvalidKey):
        read_header(key)


@given(st.text(visible, min_size=8, max_size=255).filter(lambda text: not (text[0] == '"' and text[-1] == '"')))
def test_any_visible_text_of_the_right_length_is_a_key(key: str) -> None:
    assert read_header(key) == key


@given(st.text(max_size=300))
def test_whatever_comes_is_a_key_of_the_right_length_or_refused(text: str) -> None:
    try:
        key = read_header(text)
    except InvalidKey:
        return
    assert key is not None
    assert 8 <= len(key) <= 255
    assert key.isascii()
    assert key.isprintable()
    assert " " not in key
