"""How requests about webhooks are read: cursors of deliveries, times, and members that are absent."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kassa.api.body import fit
from kassa.api.errors import InvalidInput
from kassa.api.webhooks.models import ChangeEndpoint, CreateEndpoint, ReplayRange, RotateSecret
from kassa.api.webhooks.reading import cursor_of, place_of
from kassa.events.catalogue import STATUS_CHANGES
from kassa.kit.ids import new_id
from kassa.kit.secrets import Keys

KEYS, OTHER = Keys(b"a" * 32), Keys(b"b" * 32)
URL = "https://hooks.example.com/x"


def test_a_cursor_leads_where_it_was_made_and_nobody_elsewhere() -> None:
    endpoint_id, sibling, last = new_id(), new_id(), new_id()
    cursor = cursor_of(KEYS, "1", endpoint_id, last)
    assert place_of(KEYS, "1", endpoint_id, cursor) == last
    assert place_of(Keys(b"b" * 32, old=b"a" * 32), "1", endpoint_id, cursor) == last, "while the secret is being replaced"
    assert place_of(KEYS, "1", endpoint_id, "") is None
    assert place_of(KEYS, "1", endpoint_id, None) is None
    for keys, merchant_id, which in ((OTHER, "1", endpoint_id), (KEYS, "2", endpoint_id), (KEYS, "1", sibling)):
        with pytest.raises(InvalidInput):
            place_of(keys, merchant_id, which, cursor)


@given(st.text(max_size=80).filter(bool))
def test_whatever_is_made_up_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidInput):
        place_of(KEYS, "1", uuid.UUID(int=1), text)


@pytest.mark.parametrize("place", range(37))
def test_a_cursor_with_one_other_letter_is_none(place: int) -> None:
    cursor = cursor_of(KEYS, "1", uuid.UUID(int=1), uuid.UUID(int=2))
    other = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
    with pytest.raises(InvalidInput):
        place_of(KEYS, "1", uuid.UUID(int=1), other)


def test_only_an_address_is_needed() -> None:
    made = fit(CreateEndpoint, {"url": URL})
    assert (made.events, made.format, made.ordered, made.description) == (STATUS_CHANGES, "payment", True, None)


def test_what_is_said_twice_counts_once_and_is_counted_before() -> None:
    assert fit(CreateEndpoint, {"url": URL, "events": ["payment.paid", "*", "payment.paid"]}).events == ("payment.paid", "*")
    with pytest.raises(InvalidInput):
        fit(CreateEndpoint, {"url": URL, "events": ["*"] * 21})


@pytest.mark.parametrize("name", ["url", "events", "ordered"])
def test_a_change_to_nothing_is_none(name: str) -> None:
    assert fit(ChangeEndpoint, {}).model_fields_set == set()
    with pytest.raises(InvalidInput):
        fit(ChangeEndpoint, {name: None})


def test_a_description_may_be_taken_away_and_is_at_most_500_characters() -> None:
    assert fit(ChangeEndpoint, {"description": None}).model_fields_set == {"description"}
    assert fit(ChangeEndpoint, {"description": "x" * 500}).description == "x" * 500
    for wrong in ("x" * 501, "a\x00b"):
        with pytest.raises(InvalidInput):
            fit(CreateEndpoint, {"url": URL, "description": wrong})


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00Z", "2026-01-01T05:30:00+05:30"])
def test_times_are_read_with_their_zone(text: str) -> None:
    assert fit(ReplayRange, {"since": text, "until": None}).since == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "body", [{"since": "2026-01-01T00:00:00"}, {"until": 5}, {"since": "x"}, {"status": "pending"}, {"status": None}]
)
def test_what_is_no_range_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        fit(ReplayRange, body)


@pytest.mark.parametrize("overlap", [-1, 604_801, "x", 1.5, True, None, []])
def test_an_overlap_is_whole_seconds_of_at_most_a_week(overlap: Any) -> None:
    assert fit(RotateSecret, {}).overlap_s == 86_400
    with pytest.raises(InvalidInput):
        fit(RotateSecret, {"overlap_s": overlap})
