"""F75: nothing that can be counted, guessed or altered opens a door."""

from __future__ import annotations

import ast
import base64
import itertools
import re
import time
import uuid
from typing import Final

import pytest
from tests import rig

from kassa.kit import ids

from .town import Town, bearer, good

MANY: Final = 4000
RANDOM_BITS: Final = 74
"""What a UUIDv7 has beside its time, its version and its variant."""
OPENED_BY_THEIR_ID: Final = {"checkout_id", "order_id", "payment_id"}
"""A guest's checkout, a link of Payme's, and what a gateway shows to everybody: whoever knows the id is let in."""


def behind_the_time(made: uuid.UUID) -> int:
    """The 74 bits that are left when time, version and variant are taken out."""
    return (made.int >> 64 & 0xFFF) << 62 | made.int & (1 << 62) - 1


def test_every_bit_behind_the_time_is_random() -> None:
    """Also beside another id of the same millisecond, which an attacker can have made."""
    made = [ids.unguessable() for _ in range(MANY)]
    assert {each.version for each in made} == {7}
    assert {each.variant for each in made} == {uuid.RFC_4122}
    assert abs((made[-1].int >> 80) - time.time_ns() // 1_000_000) < 10_000
    bits = [behind_the_time(each) for each in made]
    assert len(set(bits)) == MANY
    for place in range(RANDOM_BITS):
        assert 0.45 < sum(each >> place & 1 for each in bits) / MANY < 0.55, f"bit {place}"
        changed = sum((one ^ other) >> place & 1 for one, other in itertools.pairwise(bits)) / MANY
        assert 0.45 < changed < 0.55, f"bit {place} of an id tells that of the next one"


def test_what_is_opened_by_its_id_has_such_an_id() -> None:
    wrong = []
    for path in sorted((rig.ROOT / "src" / "kassa").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name, value = None, None
            if isinstance(node, ast.keyword):
                name, value = node.arg, node.value
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name, value = node.targets[0].id, node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name, value = node.target.id, node.value
            if name in OPENED_BY_THEIR_ID and value is not None and "new_id" in ast.unparse(value):
                wrong.append(f"{path.name}:{value.lineno}")
    assert wrong == []


def neighbours_of(text: str) -> list[str]:
    """Ids that somebody tries who has this one."""
    number = uuid.UUID(text).int
    steps = [*range(1, 40), 1 << 32, 1 << 62, 1 << 64, 1 << 80, 2 << 80]
    return [str(uuid.UUID(int=(number + sign * step) % (1 << 128))) for step in steps for sign in (1, -1)]


def test_the_neighbours_of_an_id_lead_nowhere(town: Town) -> None:
    owner = town.owner
    for template, name in (
        ("/checkout/{}", "checkout_id"),
        ("/api/orders/{}", "order_id"),
        ("/api/v1/payments/{}", "payment_id"),
        ("/api/v1/webhook-endpoints/{}", "endpoint_id"),
    ):
        shown = {**bearer(town.token(town.stranger)), "X-Api-Key": town.stranger.api_key}
        for guess in neighbours_of(owner.ids["path", name]):
            assert town.ask("GET", template.format(guess), shown).status_code == 404


def test_an_id_is_read_in_its_one_form_only(town: Town) -> None:
    """No two addresses lead to one thing, so nothing that looks at addresses can be walked around."""
    me = bearer(town.token(town.owner))
    plain = town.owner.ids["path", "order_id"]
    assert town.ask("GET", f"/api/orders/{plain}", me).status_code == 200
    for other in (
        plain.upper(),
        plain.replace("-", ""),
        "{" + plain + "}",
        f"urn:uuid:{plain}",
        f"{plain}%20",
        f"%09{plain}",
        f"{plain}%00",
    ):
        assert town.ask("GET", f"/api/orders/{other}", me).status_code == 404, other


def test_an_order_number_opens_nothing_and_cannot_be_counted(town: Town) -> None:
    numbers = []
    for side in (town.owner, town.stranger):
        number = side.more["order number"]
        assert re.fullmatch(r"ORD-\d{8}-[0-9A-Z]{8}", number)
        numbers.append(number[-8:])
        for path in (
            f"/api/orders/{number}",
            f"/api/orders/{number}/tracking",
            f"/checkout/{number}",
            f"/api/v1/payments/{number}",
        ):
            shown = {**bearer(town.token(side)), "X-Api-Key": side.api_key}
            assert town.ask("GET", path, shown).status_code == 404
    words = {ids.random_word(8) for _ in range(MANY)}
    assert len(words) == MANY
    for place in range(8):
        assert len({word[place] for word in words}) == 36
    assert numbers[0] != numbers[1]


CURSORS: Final = [
    ("payments cursor", "/api/v1/payments"),
    ("deliveries cursor", "/api/v1/webhook-endpoints/{endpoint_id}/deliveries"),
]


@pytest.mark.parametrize(("name", "path"), CURSORS)
def test_a_cursor_cannot_be_altered(town: Town, name: str, path: str) -> None:
    owner = town.owner
    cursor, mine = owner.ids["query", name], {"X-Api-Key": owner.api_key}
    path = path.format(endpoint_id=owner.ids["path", "endpoint_id"])
    assert town.ask("GET", path, mine, params={"cursor": cursor}).status_code == 200
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    for place in range(len(raw)):
        spoilt = bytes([*raw[:place], raw[place] ^ 1, *raw[place + 1 :]])
        altered = base64.urlsafe_b64encode(spoilt).decode().rstrip("=")
        assert town.ask("GET", path, mine, params={"cursor": altered}).status_code == 422
    for other in (cursor[:-1], cursor + "A", raw.hex(), cursor[::-1], "0", "1", "2"):
        assert town.ask("GET", path, mine, params={"cursor": other}).status_code == 422


def test_an_event_of_another_feed_is_no_place_in_ours(town: Town) -> None:
    shown = {"X-Api-Key": town.stranger.api_key}
    theirs, nobodys = (
        town.ask("GET", "/api/v1/events", shown, params={"after": each})
        for each in (town.owner.ids["query", "events after"], "019b76da-a801-7d90-a2b6-4c7f1e3d5b62")
    )
    assert (theirs.status_code, theirs.text) == (nobodys.status_code, nobodys.text) == (422, theirs.text)


def test_keys_and_secrets_have_nothing_in_common(town: Town) -> None:
    made = [
        good(
            town.ask(
                "POST", "/api/v1/api-keys", {"X-Api-Key": town.stranger.api_key}, json={"name": "k", "scopes": ["payments:read"]}
            )
        )
        for _ in range(12)
    ]
    keys = [each["key"].removeprefix("sk_") for each in made]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", key) for key in keys)
    for one in range(len(keys)):
        for other in range(one):
            same = sum(a == b for a, b in zip(keys[one], keys[other], strict=True))
            assert same < 10, "two keys of 32 random bytes agree in one character of 64"
    assert not any(key in each["prefix"] for key, each in zip(keys, made, strict=True))
