"""One secret in, many keys out. What was sealed opens with the same secret, or with the old one while it is being rotated."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kassa.kit.secrets import Keys

OLD, NEW, OTHER = b"o" * 32, b"n" * 32, b"x" * 32


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_what_was_sealed_is_unsealed(data: bytes, about: bytes) -> None:
    assert Keys(NEW).unseal(Keys(NEW).seal(data, about), about) == data


def test_nothing_of_what_was_sealed_can_be_read() -> None:
    secret = b"a very telling answer"
    assert secret not in Keys(NEW).seal(secret, b"key")


def test_the_same_data_is_sealed_differently_every_time() -> None:
    assert len({Keys(NEW).seal(b"data", b"key") for _ in range(50)}) == 50


def test_it_opens_only_for_what_it_was_about() -> None:
    assert Keys(NEW).unseal(Keys(NEW).seal(b"data", b"key-1"), b"key-2") is None


def test_one_changed_bit_anywhere_is_noticed() -> None:
    sealed = Keys(NEW).seal(b"data", b"key")
    for place in range(len(sealed)):
        torn = bytearray(sealed)
        torn[place] ^= 1
        assert Keys(NEW).unseal(bytes(torn), b"key") is None


def test_another_secret_opens_nothing() -> None:
    assert Keys(OTHER).unseal(Keys(NEW).seal(b"data", b"key"), b"key") is None


def test_while_a_secret_is_rotated_the_old_one_still_opens_what_it_closed() -> None:
    sealed = Keys(OLD).seal(b"data", b"key")
    assert Keys(NEW, OLD).unseal(sealed, b"key") == b"data"
    assert Keys(NEW).unseal(sealed, b"key") is None


def test_while_a_secret_is_rotated_the_new_one_closes() -> None:
    sealed = Keys(NEW, OLD).seal(b"data", b"key")
    assert Keys(NEW).unseal(sealed, b"key") == b"data"
    assert Keys(OLD).unseal(sealed, b"key") is None


def test_a_fingerprint_is_the_same_for_the_same_data_and_key_only() -> None:
    one = Keys(NEW).fingerprint(b"4111111111111111")
    assert one == Keys(NEW).fingerprint(b"4111111111111111")
    assert one != Keys(NEW).fingerprint(b"4111111111111112")
    assert one != Keys(OTHER).fingerprint(b"4111111111111111")
    assert len(one) == 32


def test_a_fingerprint_is_no_plain_hash() -> None:
    import hashlib

    assert Keys(NEW).fingerprint(b"4111111111111111") != hashlib.sha256(b"4111111111111111").digest()


def test_while_a_secret_is_rotated_the_old_fingerprint_can_still_be_made() -> None:
    before = Keys(NEW, OLD).before
    assert before is not None
    assert before.fingerprint(b"data") == Keys(OLD).fingerprint(b"data")
    assert Keys(NEW).before is None


def test_each_use_has_a_key_of_its_own() -> None:
    keys = Keys(NEW)
    assert keys.fingerprint(b"") not in keys.seal(b"", b"")
