"""Which language somebody is spoken to in, by what a browser says."""

from __future__ import annotations

import pytest

from kassa.kit.languages import LANGUAGES, is_language, preferred, usable_language


@pytest.mark.parametrize(
    ("accepted", "code"),
    [
        (None, "en"),
        ("", "en"),
        ("*", "en"),
        ("ru", "ru"),
        ("RU", "ru"),
        ("ru-RU,ru;q=0.9,en-US;q=0.8,en;q=0.7", "ru"),
        ("uz-Latn-UZ, ru;q=0.9", "uz"),
        ("uz_UZ", "uz"),
        ("de-DE,de;q=0.9,uz;q=0.4,en;q=0.2", "uz"),
        ("en;q=0.3, ru;q=0.8", "ru"),
        ("ru;q=0, uz;q=0.5", "uz"),
        ("de, fr", "en"),
        ("ru;q=nan", "en"),
        ("ru;q=2", "en"),
        ("ruby", "en"),
        ("../../etc/passwd", "en"),
        ("ru\x00", "en"),
        ("x" * 10_000 + ",ru", "en"),
    ],
)
def test_the_best_liked_of_our_languages_is_spoken(accepted: str | None, code: str) -> None:
    assert preferred(accepted) == code


def test_what_is_no_language_of_ours_is_english() -> None:
    assert [usable_language(each) for each in ("uz", "de", "", None, "RU")] == ["uz", "en", "en", "en", "en"]
    assert all(is_language(each) for each in LANGUAGES)
