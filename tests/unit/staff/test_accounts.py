"""What a name and a password of the back office may be, and how a password is kept."""

from __future__ import annotations

import asyncio
import time

import pytest

from kassa.staff.model import BadAccount, WeakPassword, good_name, good_password
from kassa.staff.passwords import hashed, is_password


@pytest.mark.parametrize("name", ["a", "-ana", "Ana Rao", "ana@home", "a" * 65, "", "аня", "ana\n"])
def test_a_name_that_two_people_could_read_differently_is_refused(name: str) -> None:
    if name.strip() == "ana":
        assert good_name(name, "ana@example.com", "staff") == ("ana", "ana@example.com")
        return
    with pytest.raises(BadAccount):
        good_name(name, "ana@example.com", "staff")


@pytest.mark.parametrize(
    ("email", "role"), [("nowhere", "staff"), ("a b@example.com", "staff"), ("ana@example.com", "owner"), ("@", "admin")]
)
def test_an_account_needs_an_address_and_one_of_two_roles(email: str, role: str) -> None:
    with pytest.raises(BadAccount):
        good_name("ana", email, role)


def test_a_name_is_kept_in_small_letters() -> None:
    assert good_name(" Ana.R ", "Ana@Example.com", "admin") == ("ana.r", "Ana@Example.com")


@pytest.mark.parametrize(
    "password", ["", "short", "aaaaaaaaaaaaaaaa", "x" * 201, "my name is Ana.R", "ana.r@example.com!", "   elevenchars   "]
)
def test_a_password_that_is_easy_to_guess_is_refused(password: str) -> None:
    with pytest.raises(WeakPassword):
        good_password(password, "ana.r", "ana.r@example.com")


def test_the_same_letters_from_another_keyboard_are_the_same_password() -> None:
    composed, decomposed = "café crème brûlée", "cafe\u0301 cre\u0300me bru\u0302le\u0301e"
    assert good_password(composed) == good_password(decomposed)


async def test_a_password_is_kept_as_a_hash_with_a_salt_of_its_own() -> None:
    one, two = await hashed("correct horse battery"), await hashed("correct horse battery")
    assert one != two
    assert "horse" not in one
    assert one.startswith("scrypt$32768$8$1$")
    assert await is_password(one, "correct horse battery")
    assert not await is_password(one, "correct horse batterz")
    assert not await is_password(None, "correct horse battery")


async def test_nobody_takes_as_long_as_somebody() -> None:
    kept = await hashed("correct horse battery")

    async def took(found: str | None) -> float:
        best = 9.0
        for _ in range(5):
            began = time.process_time()
            await is_password(found, "a wrong one")
            best = min(best, time.process_time() - began)
        return best

    nobody, somebody = await took(None), await took(kept)
    assert nobody > somebody / 2, "an unknown name must cost a hash, too"


async def test_many_tries_at_once_take_turns() -> None:
    kept = await hashed("correct horse battery")
    found = await asyncio.gather(*(is_password(kept, f"guess {number}") for number in range(6)))
    assert found == [False] * 6
