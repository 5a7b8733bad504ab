"""F67: what belongs to another is not there, for nobody, at any operation of any document (API1 and API5 of OWASP's list).

Every operation whose request names something is asked for things that exist and are somebody else's, by every kind of caller; the
same question about things that nobody has must get the same answer. Then every answer is searched for what only the owner was told,
and what the owner sees is compared with what it was before. An operation that cannot be filled fails by its name.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx2
import pytest
from tests.rig import Server

from .documents import Json, Operation, Place, documents, of_document, operations
from .town import BUYERS, MERCHANTS, NOWHERE, PAYME_DOOR, PROVIDERS, Side, Town, basic, bearer, good, key_of, surface_of

PUBLIC: Final[dict[str, str]] = {
    "product_id": "prod_001",
    "productId": "prod_001",
    "items[].product_id": "prod_001",
    "ambassador_id": "5",
}
"""Things that everybody may name."""
OF_THE_CALLER: Final = {"event_id", "subscription_id", "idempotency_key", "lines[].line_id", "id"}
"""Members that are words of the caller's own, or say something only beside an id in the path."""
PER_LIST: Final = {"/api/v1/payments": "payments", "/api/v1/events": "events"}
NUMBERS: Final = {("query", "after"): "/timeline", ("header", "Last-Event-ID"): "/events"}
"""Names that are a number in a list which the path names: they lead nowhere by themselves."""

NAMED: Final = [each for each in operations() if each.names()]
LISTS: Final = [each for each in operations() if each.method == "GET" and not each.names()]


def value_of(operation: Operation, place: Place, side: Side) -> str | None:
    """What this side has of that name; None for what needs no side. Fails where nobody knows."""
    where, name = place
    if name in PUBLIC or (where == "body" and name in OF_THE_CALLER) or operation.path.endswith(NUMBERS.get(place, "\0")):
        return None
    if place in {("query", "cursor"), ("query", "after")}:
        kind = PER_LIST.get(operation.path, "deliveries" if operation.path.endswith("/deliveries") else "")
        place = ("query", f"{kind} {name}")
    if place not in side.ids:
        pytest.fail(f"{operation}: nothing to fill {place} with; town.py must make one, or this file must say why it needs none")
    return side.ids[place]


def absent(place: Place) -> str:
    """What nobody has, in the form of what is there."""
    name = place[1]
    if name == "subject":
        return f"payment:{NOWHERE}"
    return "nobody-has-this" if place in {("query", "order_id"), ("body", "order_id")} else NOWHERE


def filled(operation: Operation, values: dict[Place, str]) -> tuple[str, dict[str, str], dict[str, str], Any]:
    """Path, query, headers and body of a request that names these things."""
    chosen = {("path", name): value for name, value in PUBLIC.items()} | values
    query = {name: PUBLIC[name] for where, name in operation.names() if where == "query" and name in PUBLIC}
    query |= {name: value for (where, name), value in values.items() if where == "query"}
    headers = {name: value for (where, name), value in values.items() if where == "header"}
    if operation.takes_key:
        headers["Idempotency-Key"] = key_of(operation)
    body = operation.example
    if isinstance(body, dict):
        for (where, name), value in values.items():
            if where == "body" and (name in body or not query):
                body[name] = int(value) if value.isdigit() else value
    if query and not operation.spec.get("requestBody", {}).get("required"):
        body = None
    return operation.address(chosen), query, headers, body


def send(town: Town, operation: Operation, values: dict[Place, str], shown: dict[str, str]) -> httpx2.Response:
    path, query, headers, body = filled(operation, values)
    options: Json = {} if body is None else {"json": body}
    return town.ask(operation.method, path, {**headers, **shown}, params=query, **options)


def questions(operation: Operation, town: Town) -> Iterator[tuple[str, dict[Place, str], dict[Place, str]]]:
    """For each choice of names to be the owner's, the others the stranger's: its word, the request, and the same with nothing there."""
    places = [place for place in operation.names() if value_of(operation, place, town.owner) is not None]
    if not places:
        yield "plain", {}, {}
    for many in range(1, len(places) + 1):
        for theirs in itertools.combinations(places, many):
            mine = {place: value_of(operation, place, town.stranger) or "" for place in places}
            foreign = mine | {place: value_of(operation, place, town.owner) or "" for place in theirs}
            yield "+".join(name for _, name in theirs), foreign, mine | {place: absent(place) for place in theirs}


def said(answer: httpx2.Response) -> tuple[int, str, str]:
    """All of an answer that may differ between two things: not ids that are new, nor times."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>", answer.text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "<time>", re.sub(r"sk_[\w-]{43}", "<key>", text))
    return answer.status_code, answer.headers.get("content-type", ""), text


def no_leak(town: Town, answer: httpx2.Response) -> None:
    told = answer.text + repr(answer.headers)
    found = [word for word in town.owner.secret_words() if word in told]
    assert found == [], f"{answer.request.method} {answer.request.url} tells {found}: {answer.text}"


def callers(town: Town, surface: str) -> dict[str, tuple[dict[str, str], set[int]]]:
    """Who asks, with what in hand, and how they are told no when the path names something."""
    owner, stranger = town.owner, town.stranger
    past = town.token(owner, exp=int(time.time()) - 5)
    forged = Server(town.server.command, {}, town.server.home, "", secret="x" * 40).token(owner.user)
    wrong_door: dict[str, tuple[dict[str, str], set[int]]] = {
        "nobody": ({}, {401}),
        "an expired token": (bearer(past), {401}),
        "a forged token": (bearer(forged), {401}),
    }
    if surface == BUYERS:
        return {
            **wrong_door,
            "a merchant's key": ({"X-Api-Key": owner.api_key}, {401}),
            "a merchant's name": ({"X-Merchant-Id": "1"}, {401}),
            "another buyer": (bearer(town.token(stranger)), {404}),
        }
    return {
        **wrong_door,
        "the owner's buyer": (bearer(town.token(owner)), {401}),
        "a header that nobody trusts": ({"X-Merchant-Id": owner.merchant_id}, {401}),
        "a revoked key of the owner": ({"X-Api-Key": town.revoked}, {401}),
        "a key of the owner for another thing": ({"X-Api-Key": town.reading}, {403}),
        "another merchant": ({"X-Api-Key": stranger.api_key}, {404}),
        "another merchant who claims to be the owner": (
            {"X-Api-Key": stranger.api_key, "X-Merchant-Id": owner.merchant_id},
            {403},
        ),
    }


def test_the_documents_are_all_read() -> None:
    assert set(documents()) == {"all", "checkout", "orders", "payments", "purchases"}
    together = {str(each) for each in of_document("all")}
    assert together == {str(each) for each in operations()}
    assert len(NAMED) > 30


def path_names(operation: Operation) -> bool:
    return any(where == "path" and name not in PUBLIC for where, name in operation.names())


@pytest.mark.parametrize("operation", [each for each in NAMED if surface_of(each) in {BUYERS, MERCHANTS}], ids=str)
def test_what_is_anothers_is_not_there(town: Town, operation: Operation) -> None:
    for who, (shown, told) in callers(town, surface_of(operation)).items():
        refused = told
        if operation.is_open and who in {"nobody", "a merchant's key", "a merchant's name"}:
            refused = {401, 404} if path_names(operation) else set(range(200, 500))
        for word, foreign, nothing in questions(operation, town):
            theirs, nobodys = send(town, operation, foreign, shown), send(town, operation, nothing, shown)
            no_leak(town, theirs)
            where = f"{who}, {word}: {theirs.text}"
            assert theirs.status_code in statuses(town, foreign, refused), where
            assert foreign == nothing or said(theirs) == said(nobodys), (
                f"{where} but of what nobody has: {nobodys.status_code} {nobodys.text}"
            )
            if refused == {401}:
                assert theirs.headers.get("WWW-Authenticate", "Bearer") == "Bearer"


def statuses(town: Town, foreign: dict[Place, str], refused: set[int]) -> set[int]:
    """How a request may end that names these things: what stands in a path is not there, what narrows a list finds nothing."""
    if refused != {404}:
        return refused
    if not any(value == town.owner.ids.get(place) for place, value in foreign.items() if place[0] == "path"):
        return set(range(200, 500))
    # A query is judged before what the path names is looked for, whosever it is.
    return {404, 422} if any(where == "query" for where, _ in foreign) else {404}


@pytest.mark.parametrize("operation", LISTS, ids=str)
def test_a_list_holds_ones_own_things_only(town: Town, operation: Operation) -> None:
    shown = {**bearer(town.token(town.stranger)), "X-Api-Key": town.stranger.api_key}
    answer = town.ask("GET", operation.path, shown)
    assert answer.status_code == 200, answer.text
    no_leak(town, answer)
    if operation.schemes:
        assert any(word in answer.text for word in town.stranger.secret_words() | {town.stranger.merchant_id}), answer.text
        for who, (credentials, refused) in callers(town, surface_of(operation)).items():
            if refused == {401}:
                turned_away = town.ask("GET", operation.path, credentials)
                assert turned_away.status_code == 401, who
                no_leak(town, turned_away)


def owners_view(town: Town) -> dict[str, Any]:
    """What the owner reads at every operation that reads."""
    shown = {**bearer(town.token(town.owner)), "X-Api-Key": town.owner.api_key}
    found = {}
    for operation in operations():
        if operation.method == "GET" and operation.schemes and not operation.streams:
            places = [place for place in operation.names() if place[0] == "path" and place[1] not in PUBLIC]
            values = {place: value_of(operation, place, town.owner) or "" for place in places}
            found[str(operation)] = good(send(town, operation, values, shown))
    return found


def test_the_owner_sees_what_strangers_do_not(town: Town) -> None:
    """So that the search for canaries is known to find some: in the answer of every operation that reads, there is something."""
    words = town.owner.secret_words() | {town.owner.merchant_id}
    blind = [name for name, told in owners_view(town).items() if not any(word in json.dumps(told) for word in words)]
    assert blind == []


def test_nothing_that_a_stranger_tried_had_an_effect(town: Town) -> None:
    before = without_times(owners_view(town))
    for operation in NAMED:
        if operation.method == "GET" or surface_of(operation) not in {BUYERS, MERCHANTS}:
            continue
        if not path_names(operation):
            send(town, operation, {}, bearer(town.token(town.stranger)) | {"X-Api-Key": town.stranger.api_key})
            continue
        for shown, _ in callers(town, surface_of(operation)).values():
            for _, foreign, _ in questions(operation, town):
                if any(foreign[place] == town.owner.ids.get(place) for place in foreign if place[0] == "path"):
                    assert send(town, operation, foreign, shown).status_code in {401, 403, 404}
    assert without_times(owners_view(town)) == before


def without_times(view: dict[str, Any]) -> dict[str, Any]:
    return json.loads(re.sub(r'"last_used_at": ("[^"]*"|null)', '"last_used_at": null', json.dumps(view)))  # type: ignore[no-any-return]


def test_staff_of_the_shop_see_nothing_of_another_channel(town: Town) -> None:
    """An order of ambassadors is no order of the shop, and no checkout of it; a cart line is nobody's but its buyer's."""
    for role in ("staff", "admin"):
        staff = bearer(town.server.token(8_000_001, role))
        purchase, item = town.owner.more["purchase"], town.owner.ids["path", "item_id"]
        [checkout] = town.server.sql("SELECT checkout_id::text AS id FROM orders WHERE order_id = $1::text::uuid", purchase)
        for path in (f"/api/orders/{purchase}", f"/api/orders/{purchase}/tracking", f"/api/orders/{purchase}/events"):
            assert town.ask("GET", path, staff).status_code == 404
        assert town.ask("PUT", f"/api/orders/{purchase}/status", staff, json={"status": "cancelled"}).status_code == 404
        for answer in (
            town.ask("GET", f"/checkout/{checkout['id']}", staff),
            town.ask("PUT", f"/api/cart/items/{item}", staff, json={"quantity": 1}),
            town.ask("DELETE", f"/api/cart/items/{item}", staff),
        ):
            assert answer.status_code == 404
            no_leak(town, answer)


# Payme and providers: doors that open to a key alone


def rpc(town: Town, path: str, key: str | None, method: str, **params: Any) -> httpx2.Response:
    shown = basic(key) if key is not None else {}
    return town.ask("POST", path, shown, json={"method": method, "id": 1, "params": params})


def code_of(answer: httpx2.Response) -> int:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return 0 if "result" in body else int(body["error"]["code"])


def payme_calls(payment: str, transaction: str) -> list[tuple[str, Json, set[int]]]:
    """Every method that names something, and how it is told that there is no such thing."""
    account, order, missing = {"order_id": payment}, {-31050}, {-31003}
    now = int(time.time() * 1000)
    return [
        ("CheckPerformTransaction", {"amount": 100_000, "account": account}, order),
        ("CreateTransaction", {"id": "f" * 24, "time": now, "amount": 100_000, "account": account}, order),
        ("PerformTransaction", {"id": transaction}, missing),
        ("CancelTransaction", {"id": transaction, "reason": 3}, missing),
        ("CheckTransaction", {"id": transaction}, missing),
        ("SetFiscalData", {"id": transaction, "type": "PERFORM", "fiscal_data": {"receipt_id": 1}}, {-32001, -31003, -32602}),
    ]


@pytest.mark.parametrize("operation", [each for each in operations() if surface_of(each) == PAYME_DOOR], ids=str)
def test_a_key_of_payme_opens_one_cashbox(town: Town, operation: Operation) -> None:
    owner, stranger = town.owner, town.stranger
    path = operation.address({("path", "merchant_id"): owner.merchant_id})
    named = "{merchant_id}" in operation.path
    theirs = payme_calls(owner.more["payme payment"], owner.more["payme transaction"])
    for method, params, _ in theirs:
        for key in (None, "", stranger.payme_key, owner.api_key, owner.payme_key[:-1]):
            answer = rpc(town, path, key, method, **params)
            assert code_of(answer) == -32504, (method, key, answer.text)
            no_leak(town, answer)
    own_path = operation.address({("path", "merchant_id"): stranger.merchant_id}) if named else f"{path}/{stranger.merchant_id}"
    nobodys = payme_calls(NOWHERE, "0" * 24)
    for (method, params, codes), (_, other, _) in zip(theirs, nobodys, strict=True):
        foreign, nothing = (rpc(town, own_path, stranger.payme_key, method, **each) for each in (params, other))
        assert code_of(foreign) in codes, (method, foreign.text)
        assert said(foreign) == said(nothing)
        no_leak(town, foreign)
    statement = rpc(town, own_path, stranger.payme_key, "GetStatement", **{"from": 0, "to": 2**53})
    assert code_of(statement) == 0, statement.text
    no_leak(town, statement)


def test_a_cashbox_without_a_name_opens_nothing_of_a_merchant(town: Town) -> None:
    theirs = payme_calls(town.owner.more["payme payment"], town.owner.more["payme transaction"])
    for method, params, _ in theirs:
        for path in ("/payme/webhook", "/payme/webhook/", f"/payme/webhook//{town.owner.merchant_id}"):
            assert code_of(rpc(town, path, town.owner.payme_key, method, **params)) == -32504


@pytest.mark.parametrize("operation", [each for each in operations() if surface_of(each) == PROVIDERS], ids=str)
def test_a_report_needs_its_signature_whoever_brings_it(town: Town, operation: Operation) -> None:
    owner = town.owner
    shown = [
        {},
        {"X-Api-Key": owner.api_key},
        bearer(town.token(owner)),
        {"X-Internal-Signature": "0" * 64},
        {"X-Internal-Signature": ""},
    ]
    before = without_times(owners_view(town))
    for headers in shown:
        answers = [
            send(town, operation, {("body", "payment_id"): payment, ("body", "refund_id"): refund}, headers)
            for payment, refund in ((owner.ids["path", "payment_id"], owner.ids["body", "refund_id"]), (NOWHERE, NOWHERE))
        ]
        assert [answer.status_code for answer in answers] == [403, 403]
        assert said(answers[0]) == said(answers[1])
        no_leak(town, answers[0])
    assert without_times(owners_view(town)) == before


def test_every_kind_of_operation_is_tried_by_one_of_these_tests() -> None:
    left = [str(each) for each in operations() if not surface_of(each) and each.schemes]
    assert left == []
    unguarded = {str(each) for each in operations() if not each.schemes and surface_of(each) != PROVIDERS}
    assert unguarded == {
        "GET /api/products",
        "GET /api/products/{product_id}",
        "GET /api/v1/payments/ping",
        "GET /health",
        "GET /ready",
    }, "an operation that needs no credentials is to be named here, with care"


# How long it takes


def test_a_clock_does_not_tell_what_is_there(town: Town) -> None:
    """Somebody else's thing is refused in the time in which nothing is: the quickest of many, because others use this machine too."""
    slow: list[str] = []
    for operation in NAMED:
        if operation.method != "GET" or surface_of(operation) not in {BUYERS, MERCHANTS} or not path_names(operation):
            continue
        who = "another buyer" if surface_of(operation) == BUYERS else "another merchant"
        shown, _ = callers(town, surface_of(operation))[who]
        foreign = {("path", name): value for (where, name), value in town.owner.ids.items() if where == "path"}
        nothing = foreign | {place: NOWHERE for place in operation.names() if place[0] == "path"}
        for _attempt in range(4):
            took = quickest(town, operation, foreign, shown), quickest(town, operation, nothing, shown)
            if abs(took[0] - took[1]) < max(0.002, min(took)):
                break
        else:
            slow.append(f"{operation}: {took[0] * 1000:.2f} ms there, {took[1] * 1000:.2f} ms not there")
    assert slow == []


def quickest(town: Town, operation: Operation, values: dict[Place, str], shown: dict[str, str]) -> float:
    best = 9.0
    for _ in range(8):
        began = time.perf_counter()
        assert send(town, operation, values, shown).status_code == 404
        best = min(best, time.perf_counter() - began)
    return best
