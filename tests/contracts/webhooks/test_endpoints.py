"""Endpoints: made, listed, changed and deleted, and what may not be asked (sections 2 and 8)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from tests.contracts.payments.till import BASE, NOWHERE, Json, a_key, refusal, until
from tests.contracts.webhooks.desk import (
    ENDPOINTS,
    EVENTS,
    STATUS_CHANGES,
    Office,
    bad,
    created,
    disabled,
    is_endpoint,
    is_secret,
    no_delivery,
    no_endpoint,
    subject_of,
    url_refused,
)

URL = "http://127.0.0.1:9/nobody"
DEFAULT_SCOPES = ["payments:read", "payments:write", "refunds:write", "merchant:read", "events:read", "webhooks:manage"]


@pytest.fixture
def who(office: Office) -> Iterator[httpx2.Client]:
    """A merchant without endpoints, before and after."""
    who = office.merchant(6)
    yield who
    for each in listed(who):
        who.delete(f"{ENDPOINTS}/{each['endpoint_id']}")


def listed(who: httpx2.Client) -> list[Json]:
    answer = who.get(ENDPOINTS)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"items"}
    found: list[Json] = answer.json()["items"]
    for each in found:
        is_endpoint(each)
    return found


def make(who: httpx2.Client, **wishes: Any) -> Json:
    return created(who.post(ENDPOINTS, json={"url": URL, **wishes}))


def read(who: httpx2.Client, made: Json) -> Json:
    answer = who.get(f"{ENDPOINTS}/{made['endpoint_id']}")
    assert answer.status_code == 200, answer.text
    is_endpoint(answer.json())
    found: Json = answer.json()
    return found


def plain(made: Json) -> Json:
    """What was made, without its secret."""
    return {name: each for name, each in made.items() if name != "secret"}


def key_with(office: Office, *scopes: str, number: int = 1) -> httpx2.Client:
    answer = office.merchant(number).post("/api/v1/api-keys", json={"name": "test", "scopes": list(scopes)})
    assert answer.status_code == 201, answer.text
    return office.mall.with_key(answer.json()["key"])


# Making


def test_an_endpoint_needs_only_an_address(who: httpx2.Client) -> None:
    made = make(who)
    assert (made["url"], made["format"], made["ordered"], made["status"], made["disabled_reason"]) == (
        URL,
        "payment",
        True,
        "enabled",
        None,
    )
    assert sorted(made["events"]) == sorted(STATUS_CHANGES)
    assert made["description"] in {None, ""}
    assert made["created_at"] == made["updated_at"]


def test_what_is_asked_for_is_what_is_made(who: httpx2.Client) -> None:
    wishes = {"events": ["payment.paid", "refund.*"], "format": "event", "ordered": False, "description": "the books, né 7"}
    made = make(who, **wishes)
    assert {name: made[name] for name in wishes} == wishes
    assert read(who, made) == plain(made)


def test_a_type_and_a_family_and_everything_are_patterns(who: httpx2.Client) -> None:
    for events in (
        ["payment.paid"],
        ["payment.*"],
        ["*"],
        ["test.ping"],
        ["order.updated", "subscription.*", "checkout.*", "endpoint.*"],
    ):
        made = make(who, events=events)
        assert made["events"] == events
        who.delete(f"{ENDPOINTS}/{made['endpoint_id']}")


def test_twenty_patterns_are_allowed(who: httpx2.Client) -> None:
    twenty = [
        *(
            f"payment.{name}"
            for name in ("created", "waiting", "unknown", "paid", "declined", "expired", "cancelled", "refunded", "reversed")
        ),
        *(f"refund.{name}" for name in ("created", "succeeded", "failed")),
        *(f"order.{name}" for name in ("created", "paid", "processing", "shipped", "delivered", "cancelled")),
        *("checkout.started", "checkout.completed"),
    ]
    assert len(twenty) == 20
    assert make(who, events=twenty)["events"] == twenty


def test_the_list_is_oldest_first_and_the_merchants_own(office: Office, who: httpx2.Client) -> None:
    made = [make(who, description=f"number {place}") for place in range(3)]
    theirs = office.hook(2)
    assert listed(who) == [plain(each) for each in made]
    assert theirs.id not in {each["endpoint_id"] for each in listed(who)}


def test_a_secret_is_thirty_two_random_bytes_and_no_two_are_the_same(who: httpx2.Client) -> None:
    secrets = [make(who)["secret"] for _ in range(4)]
    for secret in secrets:
        is_secret(secret)
    assert len(set(secrets)) == 4


def test_a_secret_is_answered_once_and_stands_in_no_other_answer(office: Office, who: httpx2.Client) -> None:
    made = make(who)
    place = f"{ENDPOINTS}/{made['endpoint_id']}"
    answers = [
        who.get(ENDPOINTS),
        who.get(place),
        who.patch(place, json={"description": "new"}),
        who.post(f"{place}/disable"),
        who.post(f"{place}/enable"),
        who.get(f"{place}/deliveries"),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert "whsec_" not in answer.text
        assert "secret" not in answer.text
    assert made["secret"] not in office.server.log_text()
    assert made["secret"].removeprefix("whsec_") not in office.server.log_text()


def test_a_secret_is_not_readable_in_the_database(office: Office, who: httpx2.Client) -> None:
    from tests.contracts.payments.test_keys import tables_with

    made = make(who, description="a canary that is found")
    assert tables_with(office.mall, "a canary that is found") != []
    assert tables_with(office.mall, made["secret"]) == []
    assert tables_with(office.mall, made["secret"].removeprefix("whsec_")) == []


def test_a_secret_and_a_status_in_the_body_are_ignored(who: httpx2.Client) -> None:
    given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = make(who, secret=given, status="disabled", disabled_reason="gone", endpoint_id=NOWHERE, merchant_id=2, nonsense=[1])
    assert made["secret"] != given
    assert (made["status"], made["disabled_reason"]) == ("enabled", None)
    assert made["endpoint_id"] != NOWHERE


def test_with_private_callbacks_on_http_and_every_address_are_allowed(who: httpx2.Client) -> None:
    for url in (
        "http://localhost:9/x",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest",
        "http://[::1]:9/",
        "http://printer/",
        "https://nobody.invalid/a?b=c",
    ):
        assert make(who, url=url)["url"] == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/x", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://example.com/", "scheme"),
        ("http://user:pass@example.com/", "credentials"),
        ("https://user@example.com/", "credentials"),
        ("https://example.com/x#there", "fragment"),
    ],
)
def test_some_addresses_are_refused_always(who: httpx2.Client, url: str, reason: str) -> None:
    url_refused(who.post(ENDPOINTS, json={"url": url}), reason)
    made = make(who)
    url_refused(who.patch(f"{ENDPOINTS}/{made['endpoint_id']}", json={"url": url}), reason)
    assert read(who, made)["url"] == URL


def test_ten_endpoints_are_enough(who: httpx2.Client) -> None:
    made = [make(who) for _ in range(10)]
    refusal(who.post(ENDPOINTS, json={"url": URL}), 400, "endpoint_limit")
    assert who.delete(f"{ENDPOINTS}/{made[3]['endpoint_id']}").status_code == 204
    make(who)
    refusal(who.post(ENDPOINTS, json={"url": URL}), 400, "endpoint_limit")


def test_of_twenty_at_once_ten_are_made(office: Office, who: httpx2.Client) -> None:
    from tests.contracts.payments.till import rush

    answers = rush(office.server, [(ENDPOINTS, {"url": URL}, {"X-Api-Key": "sk_demo_6"})] * 20)
    assert sorted(answer.status_code for answer in answers) == [201] * 10 + [400] * 10
    assert len(listed(who)) == 10


# Bad input


BAD_BODIES: list[Any] = [
    {},
    {"url": None},
    {"url": 7},
    {"url": ["http://example.com"]},
    {"url": ""},
    {"url": "canary"},
    {"url": "//example.com/canary"},
    {"url": "/hook"},
    {"url": "http://"},
    {"url": "http://exa mple.com/"},
    {"url": " http://example.com/"},
    {"url": "http://example.com/a b"},
    {"url": "http://example.com/\n"},
    {"url": "http://example.com/\x00"},
    {"url": "http://example.com/\x7f"},
    {"url": "http://example.com/" + "a" * 2030},
    {"url": "http://example.com:99999/"},
    {"url": URL, "events": []},
    {"url": URL, "events": "payment.paid"},
    {"url": URL, "events": {"payment.paid": True}},
    {"url": URL, "events": ["nonsense.*"]},
    {"url": URL, "events": ["payment.canary"]},
    {"url": URL, "events": ["payment.paid", "PAYMENT.PAID"]},
    {"url": URL, "events": ["payment"]},
    {"url": URL, "events": ["*.paid"]},
    {"url": URL, "events": ["pay*"]},
    {"url": URL, "events": ["**"]},
    {"url": URL, "events": [""]},
    {"url": URL, "events": [7]},
    {"url": URL, "events": ["payment.paid"] * 21},
    {"url": URL, "format": "xml"},
    {"url": URL, "format": "PAYMENT"},
    {"url": URL, "format": 1},
    {"url": URL, "ordered": "canary"},
    {"url": URL, "description": 7},
    [],
    "canary",
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body)[:60])
def test_an_endpoint_that_is_not_described_is_not_made(who: httpx2.Client, body: Any) -> None:
    bad(who.post(ENDPOINTS, json=body), "canary")
    assert listed(who) == []


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b'{"url": NaN}'])
def test_what_is_not_json_is_malformed(who: httpx2.Client, raw: bytes) -> None:
    bad(who.post(ENDPOINTS, content=raw))


@pytest.mark.parametrize(
    "change",
    [
        {"url": 7},
        {"url": "canary"},
        {"url": "http://a b/"},
        {"events": []},
        {"events": ["nonsense.*"]},
        {"events": ["*"] * 21},
        {"ordered": "canary"},
    ],
    ids=repr,
)
def test_a_bad_change_changes_nothing(who: httpx2.Client, change: Json) -> None:
    made = make(who)
    bad(who.patch(f"{ENDPOINTS}/{made['endpoint_id']}", json=change), "canary")
    assert read(who, made) == plain(made)


def test_an_address_of_2048_characters_is_allowed(who: httpx2.Client) -> None:
    url = "http://127.0.0.1:9/" + "a" * (2048 - 19)
    assert len(url) == 2048
    assert make(who, url=url)["url"] == url


@pytest.mark.parametrize("overlap", [-1, 604_801, "x", 1.5, [], True])
def test_an_overlap_that_is_none_is_malformed(who: httpx2.Client, overlap: Any) -> None:
    made = make(who)
    bad(who.post(f"{ENDPOINTS}/{made['endpoint_id']}/rotate-secret", json={"overlap_s": overlap}))


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "x"),
        ("limit", "-1"),
        ("cursor", "canary"),
        ("status", "canary"),
        ("cursor", "%00"),
    ],
)
def test_a_bad_question_about_deliveries_is_malformed(who: httpx2.Client, query: str, value: str) -> None:
    made = make(who)
    bad(who.get(f"{ENDPOINTS}/{made['endpoint_id']}/deliveries", params={query: value}), "canary")


@pytest.mark.parametrize(
    "body",
    [
        {"status": "pending"},
        {"status": "canary"},
        {"status": 3},
        {"since": "yesterday"},
        {"until": 7},
        {"since": "2026-13-01T00:00:00Z"},
    ],
    ids=repr,
)
def test_a_replay_of_what_is_not_said_is_malformed(who: httpx2.Client, body: Json) -> None:
    made = make(who)
    bad(who.post(f"{ENDPOINTS}/{made['endpoint_id']}/replay", json=body), "canary", "yesterday")


# Changing and deleting


def test_a_change_changes_what_it_names(who: httpx2.Client) -> None:
    made = make(who, description="old")
    place = f"{ENDPOINTS}/{made['endpoint_id']}"
    changes = {"url": URL + "/2", "events": ["order.*"], "ordered": False, "description": "new"}
    for name, value in changes.items():
        before = read(who, made)
        answer = who.patch(place, json={name: value})
        assert answer.status_code == 200, answer.text
        assert answer.json() == read(who, made) == {**before, name: value, "updated_at": answer.json()["updated_at"]}
        assert answer.json()["updated_at"] >= before["updated_at"]


def test_format_secret_and_status_cannot_be_changed(who: httpx2.Client) -> None:
    made = make(who)
    answer = who.patch(f"{ENDPOINTS}/{made['endpoint_id']}", json={"format": "event", "secret": "whsec_AAAA", "status": "disabled"})
    assert answer.status_code in {200, 422}, answer.text
    found = read(who, made)
    assert (found["format"], found["status"]) == ("payment", "enabled")


def test_a_deleted_endpoint_is_gone_and_stays_gone(who: httpx2.Client) -> None:
    made = make(who)
    place = f"{ENDPOINTS}/{made['endpoint_id']}"
    gone = who.delete(place)
    assert (gone.status_code, gone.content) == (204, b"")
    for answer in (
        who.delete(place),
        who.get(place),
        who.patch(place, json={"description": "x"}),
        who.post(f"{place}/test"),
        who.post(f"{place}/enable"),
        who.post(f"{place}/disable"),
        who.post(f"{place}/rotate-secret", json={}),
        who.post(f"{place}/replay", json={}),
        who.get(f"{place}/deliveries"),
    ):
        no_endpoint(answer)
    assert listed(who) == []


def test_disabling_and_enabling_are_shown(who: httpx2.Client) -> None:
    made = make(who)
    place = f"{ENDPOINTS}/{made['endpoint_id']}"
    for act, status, reason in (
        ("disable", "disabled", "manual"),
        ("disable", "disabled", "manual"),
        ("enable", "enabled", None),
        ("enable", "enabled", None),
    ):
        answer = who.post(f"{place}/{act}")
        assert answer.status_code == 200, answer.text
        is_endpoint(answer.json())
        assert (answer.json()["status"], answer.json()["disabled_reason"]) == (status, reason)
        assert read(who, made) == answer.json()


def test_a_disabled_endpoint_is_neither_tested_nor_replayed(office: Office, who: httpx2.Client) -> None:
    hook = office.hook(6)
    payment_id = office.paid(6)
    delivery = hook.ends(subject_of(payment_id), "payment.paid", "success")
    assert hook.post("disable").status_code == 200
    disabled(hook.post("test"))
    disabled(hook.post("replay", {"status": "success"}))
    disabled(hook.replay(delivery["delivery_id"]))


# Rotation


def test_a_rotated_secret_is_another_one(who: httpx2.Client) -> None:
    made = make(who)
    answer = who.post(f"{ENDPOINTS}/{made['endpoint_id']}/rotate-secret", json={"overlap_s": 60})
    assert answer.status_code == 200, answer.text
    is_secret(answer.json()["secret"])
    assert answer.json()["secret"] != made["secret"]
    assert "whsec_" not in who.get(f"{ENDPOINTS}/{made['endpoint_id']}").text


@pytest.mark.parametrize("overlap", [0, 604_800])
def test_an_overlap_may_be_nothing_or_a_week(who: httpx2.Client, overlap: int) -> None:
    made = make(who)
    assert who.post(f"{ENDPOINTS}/{made['endpoint_id']}/rotate-secret", json={"overlap_s": overlap}).status_code == 200


def test_a_rotation_needs_no_body(who: httpx2.Client) -> None:
    """As the contract's example has it."""
    made = make(who)
    answer = who.post(f"{ENDPOINTS}/{made['endpoint_id']}/rotate-secret")
    assert answer.status_code == 200, answer.text
    is_secret(answer.json()["secret"])


# Idempotency (ruling 25)


def test_a_new_endpoints_secret_is_never_answered_twice(who: httpx2.Client) -> None:
    headers = {"Idempotency-Key": a_key()}
    first = who.post(ENDPOINTS, json={"url": URL}, headers=headers)
    secret = created(first)["secret"]
    again = who.post(ENDPOINTS, json={"url": URL}, headers=headers)
    refusal(again, 409, "already_answered")
    assert secret not in again.text
    assert len(listed(who)) == 1


def test_a_rotation_is_done_once_under_one_key(who: httpx2.Client) -> None:
    made = make(who)
    place, headers = f"{ENDPOINTS}/{made['endpoint_id']}/rotate-secret", {"Idempotency-Key": a_key()}
    assert who.post(place, json={}, headers=headers).status_code == 200
    refusal(who.post(place, json={}, headers=headers), 409, "already_answered")


def test_the_same_key_with_another_wish_is_a_mistake(who: httpx2.Client) -> None:
    headers = {"Idempotency-Key": a_key()}
    created(who.post(ENDPOINTS, json={"url": URL}, headers=headers))
    refusal(who.post(ENDPOINTS, json={"url": URL + "/2"}, headers=headers), 422, "idempotency_mismatch")
    assert len(listed(who)) == 1


@pytest.mark.parametrize("key", ["short", "x" * 256])
def test_a_malformed_key_is_refused(who: httpx2.Client, key: str) -> None:
    refusal(who.post(ENDPOINTS, json={"url": URL}, headers={"Idempotency-Key": key}), 400, "idempotency_key_invalid")
    assert listed(who) == []


def test_a_refusal_is_not_stored_under_the_key(who: httpx2.Client) -> None:
    headers = {"Idempotency-Key": a_key()}
    url_refused(who.post(ENDPOINTS, json={"url": "ftp://example.com"}, headers=headers), "scheme")
    url_refused(who.post(ENDPOINTS, json={"url": "ftp://example.com"}, headers=headers), "scheme")


# Who may


def routes(endpoint_id: str, delivery_id: str = NOWHERE) -> list[tuple[str, str, Any]]:
    here = f"{ENDPOINTS}/{endpoint_id}"
    return [
        ("GET", ENDPOINTS, None),
        ("POST", ENDPOINTS, {"url": URL}),
        ("GET", here, None),
        ("PATCH", here, {"description": "x"}),
        ("POST", f"{here}/rotate-secret", {}),
        ("POST", f"{here}/disable", None),
        ("POST", f"{here}/enable", None),
        ("POST", f"{here}/test", None),
        ("GET", f"{here}/deliveries", None),
        ("GET", f"{here}/deliveries/{delivery_id}", None),
        ("POST", f"{here}/deliveries/{delivery_id}/replay", None),
        ("POST", f"{here}/replay", {"status": "failed"}),
        ("DELETE", here, None),
    ]


def test_nobody_gets_in_without_credentials(office: Office) -> None:
    for method, path, body in [*routes(NOWHERE), ("GET", EVENTS, None)]:
        refusal(office.mall.nobody().request(method, path, json=body), 401, "unauthorized", "Unauthorized")
        refusal(office.mall.with_key("sk_nobody").request(method, path, json=body), 401, "invalid_api_key", "Invalid API key")


def test_credentials_are_judged_before_the_body(office: Office) -> None:
    refusal(office.mall.nobody().post(ENDPOINTS, content=b"{"), 401, "unauthorized", "Unauthorized")
    refusal(
        office.mall.with_key("sk_demo_1_read").post(ENDPOINTS, content=b"{"),
        403,
        "insufficient_scope",
        "Insufficient scope",
        required="webhooks:manage",
    )


def test_the_scope_webhooks_manage_is_needed_for_all_of_it(office: Office) -> None:
    hook = office.hook()
    other = key_with(office, *(scope for scope in DEFAULT_SCOPES if scope != "webhooks:manage"))
    for method, path, body in routes(hook.id):
        refusal(other.request(method, path, json=body), 403, "insufficient_scope", "Insufficient scope", required="webhooks:manage")
    assert hook.look()["status"] == "enabled"


def test_the_scope_webhooks_manage_is_enough(office: Office) -> None:
    hook = office.hook()
    manager = key_with(office, "webhooks:manage")
    for method, path, body in routes(hook.id):
        assert manager.request(method, path, json=body).status_code in {200, 201, 202, 204, 404}
    refusal(manager.get(EVENTS), 403, "insufficient_scope", "Insufficient scope", required="events:read")
    for each in office.merchant().get(ENDPOINTS).json()["items"]:
        office.merchant().delete(f"{ENDPOINTS}/{each['endpoint_id']}")


def test_the_scope_events_read_reads_events_alone(office: Office) -> None:
    reader = key_with(office, "events:read")
    assert reader.get(EVENTS).status_code == 200
    refusal(reader.get(ENDPOINTS), 403, "insufficient_scope", "Insufficient scope", required="webhooks:manage")


def test_a_merchant_behind_the_gateway_may(office: Office) -> None:
    """Ruling 37: the header alone, when it is trusted, has all scopes except `keys:manage`."""
    trusted = office.mall.with_headers(X_Merchant_Id="6")
    made = make(trusted)
    assert trusted.get(EVENTS).status_code == 200
    assert trusted.delete(f"{ENDPOINTS}/{made['endpoint_id']}").status_code == 204


@pytest.mark.parametrize("endpoint_id", [NOWHERE, "7", "not-an-id", NOWHERE.upper()])
def test_an_unknown_endpoint_is_not_found(office: Office, endpoint_id: str) -> None:
    for method, path, body in routes(endpoint_id)[2:]:
        no_endpoint(office.merchant().request(method, path, json=body))


def test_a_strangers_endpoint_is_not_found(office: Office) -> None:
    hook = office.hook(1)
    delivery_id = hook.ping()["delivery_id"]
    before = hook.look()
    for method, path, body in routes(hook.id, delivery_id)[2:]:
        no_endpoint(office.merchant(2).request(method, path, json=body))
    assert hook.look() == before


@pytest.mark.parametrize("delivery_id", [NOWHERE, "7", "not-an-id"])
def test_an_unknown_delivery_is_not_found(office: Office, delivery_id: str) -> None:
    hook = office.hook()
    no_delivery(hook.who.get(f"{hook.place}/deliveries/{delivery_id}"))
    no_delivery(hook.replay(delivery_id))


def test_a_delivery_of_another_endpoint_is_not_found(office: Office) -> None:
    first, second = office.hook(), office.hook()
    delivery_id = first.ping()["delivery_id"]
    first.becomes(delivery_id, "success")
    no_delivery(second.who.get(f"{second.place}/deliveries/{delivery_id}"))
    no_delivery(second.replay(delivery_id))


def test_a_wrong_verb_is_told_so(office: Office) -> None:
    answer = office.merchant().put(ENDPOINTS, json={})
    assert answer.status_code == 405
    assert answer.headers["Allow"]
    assert office.merchant().get(f"{ENDPOINTS}/{NOWHERE}/nothing").status_code == 404


def test_a_body_that_is_too_large_is_refused(office: Office) -> None:
    refusal(office.merchant().post(ENDPOINTS, json={"url": URL, "description": "x" * 70_000}), 413, "too_large")


# What endpoints get


def test_an_endpoint_gets_what_was_recorded_after_it_was_made(office: Office) -> None:
    payment_id = office.pay(2)
    hook = office.hook(2)
    office.settle(payment_id)
    subject = subject_of(payment_id)
    hook.waits_for(1, subject, "payment.paid")
    assert {call.type for call in hook.calls(subject)} == {"payment.paid"}
    assert {each["event_type"] for each in hook.of(subject)} == {"payment.paid"}


def test_a_merchant_gets_its_own_events_alone(office: Office) -> None:
    mine, theirs = office.hook(1), office.hook(2)
    payment_id, other_id = office.paid(1), office.paid(2)
    mine.waits_for(1, subject_of(payment_id), "payment.paid")
    theirs.waits_for(1, subject_of(other_id), "payment.paid")
    assert mine.calls(subject_of(other_id)) == []
    assert theirs.calls(subject_of(payment_id)) == []
    assert {str(call.body["merchant_id"]) for call in mine.calls() if call.type.startswith("payment.")} == {"1"}


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        (["payment.paid"], {"payment.paid"}),
        (["payment.*"], {"payment.created", "payment.waiting", "payment.paid", "payment.refunded"}),
        (["refund.succeeded", "payment.created"], {"payment.created", "refund.succeeded"}),
        (STATUS_CHANGES, {"payment.paid", "payment.refunded"}),
        (["order.*"], set()),
    ],
)
def test_patterns_choose(office: Office, events: list[str], wanted: set[str]) -> None:
    hook, all_of_it = office.hook(1, events=events), office.hook(1)
    payment_id = office.paid(1)
    subject = subject_of(payment_id)
    given = office.merchant().post(f"{BASE}/{payment_id}/refunds", json={}, headers={"Idempotency-Key": a_key()})
    assert given.status_code == 201, given.text
    all_of_it.waits_for(1, subject, "payment.refunded")
    until(lambda: {call.type for call in hook.calls(subject)} == wanted, 5, f"{wanted} arrive")
    assert {each["event_type"] for each in hook.of(subject)} == wanted


def test_a_new_address_is_used_by_the_next_attempt(office: Office) -> None:
    hook, other = office.hook(1), office.fake.url("/moved")
    assert hook.who.patch(hook.place, json={"url": other}).status_code == 200
    payment_id = office.paid(1)
    until(
        lambda: [call for call in office.fake.calls("/moved") if call.subject == subject_of(payment_id)],
        5,
        "it went to the new address",
    )
    assert hook.calls() == []


def test_new_patterns_count_for_what_happens_afterwards(office: Office) -> None:
    hook = office.hook(1, events=["order.*"])
    before = office.paid(1)
    assert hook.who.patch(hook.place, json={"events": ["payment.*"]}).status_code == 200
    after = office.paid(1)
    hook.waits_for(1, subject_of(after), "payment.paid")
    assert hook.calls(subject_of(before)) == []


def test_the_query_of_an_address_is_called_but_stands_in_no_timeline(office: Office) -> None:
    """`payments.md` section 5: never an endpoint's query string."""
    hook = office.hook(1)
    path = f"{hook.path}?token=canary-in-query"
    assert hook.who.patch(hook.place, json={"url": office.fake.url(path)}).status_code == 200
    payment_id = office.paid(1)
    until(lambda: office.fake.calls(path), 5, "the query is sent")
    found = office.merchant().get(f"{BASE}/{payment_id}/tracking")
    assert "canary-in-query" not in found.text
    assert "canary-in-query" not in office.server.log_text()


def test_the_timeline_has_one_line_for_each_event_and_endpoint(office: Office) -> None:
    """`payments.md` section 5: event type 4, with the state of its delivery."""
    from tests.contracts.webhooks.merchants import BROKEN

    good, broken = office.hook(2, events=STATUS_CHANGES), office.hook(2, BROKEN, events=STATUS_CHANGES)
    payment_id = office.paid(2)
    good.ends(subject_of(payment_id), "payment.paid", "success")
    broken.ends(subject_of(payment_id), "payment.paid", "failed", within=15)

    def lines() -> list[int]:
        events = office.merchant(2).get(f"{BASE}/{payment_id}/tracking").json()["events"]
        told = [each for each in events if each["event_type"] == 4]
        names = {2: "LOG_SUCCESS", 3: "LOG_FAILED"}
        for each in told:
            assert each["event_name"] == "EVENT_MERCHANT_NOTIFICATION_SENT"
            assert each["status"] not in names or each["status_name"] == names[each["status"]]
            assert each["payload"] is None or isinstance(each["payload"], dict)
        return sorted(each["status"] for each in told)

    until(lambda: lines() == [2, 3], 5, "one delivered, one failed")


def test_three_endpoints_each_get_the_event(office: Office) -> None:
    hooks = [office.hook(1) for _ in range(3)]
    payment_id = office.paid(1)
    ids = {hook.waits_for(1, subject_of(payment_id), "payment.paid")[0].event_id for hook in hooks}
    assert len(ids) == 1
    time.sleep(0.2)
    assert [len(hook.calls(subject_of(payment_id), "payment.paid")) for hook in hooks] == [1, 1, 1]
