"""What strangers said, as it may be shown."""

from __future__ import annotations

from kassa.desk.mask import is_card, masked, masked_text


def test_card_numbers_are_hidden_wherever_they_stand() -> None:
    said = {"message": "card 4111 1111 1111 1111 declined", "list": [4111111111111111, {"x": "5500000000000004"}], "n": 42}
    shown = masked(said)
    assert shown == {"message": "card •••• 1111 declined", "list": ["•••• 1111", {"x": "•••• 0004"}], "n": 42}
    assert masked(shown) == shown


def test_ids_and_times_are_not_taken_for_cards() -> None:
    for text in ("1795297569000", "019b76da-a801-7d90-a2b6-4c7f1e3d5b62", "4111111111111112"):
        assert masked_text(text) == text
    assert is_card("4242 4242 4242 4242")
    assert is_card("8600 1234 1234 1234")
    assert not is_card("4242")
    assert not is_card("1795297569000")


def test_addresses_are_shortened_and_secrets_are_not_shown() -> None:
    said = {"email": "guest@example.com", "token": "abc", "api_key": "k", "cvv": "123", "PHONE": "998901234567", "keyboard": "yes"}
    assert masked(said) == {
        "email": "g•••@example.com", "token": "•••", "api_key": "•••", "cvv": "•••", "PHONE": "•••", "keyboard": "yes",
    }  # fmt: skip


def test_what_is_deep_or_long_is_cut() -> None:
    deep: object = "x"
    for _ in range(20):
        deep = [deep]
    assert "…" in str(masked(deep))
    assert len(masked_text("y" * 5000)) == 2000
    assert len(masked(list(range(500)))) == 100
