"""What merchants must have heard once everything has come to rest, and which letters must have come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from tests import rig

from .hooks import Heard, Hooks

Row = Mapping[str, Any]

ENDPOINTS = "SELECT merchant_id, endpoint_id, url, events, hidden, deleted_at, created_at, status FROM endpoints"
EVENTS = "SELECT merchant_id, event_id, type, subject, sequence, occurred_at FROM events ORDER BY subject, sequence"
DELIVERIES = "SELECT merchant_id, endpoint_id, event_id, status, attempts FROM deliveries"
NOTICES = "SELECT order_id, event_id, status, last_answer FROM notices"


def judge(server: rig.Server, hooks: Hooks) -> list[str]:
    """Every event that an endpoint wanted came, in order, under one id with one body; nothing is open."""
    wrong = []
    events = defaultdict(list)
    for row in server.sql(EVENTS):
        events[row["merchant_id"]].append(row)
    deliveries = {(row["endpoint_id"], row["event_id"]): row for row in server.sql(DELIVERIES)}
    open_ones = [row for row in deliveries.values() if row["status"] not in {"success", "failed"}]
    if open_ones:
        wrong.append(f"{len(open_ones)} deliveries are open, the first: {open_ones[0]}")
    by_path = defaultdict(list)
    for each in hooks.heard:
        by_path[each.path].append(each)
    endpoints = server.sql(ENDPOINTS)
    owners = {row["merchant_id"] for row in endpoints if not row["hidden"]}
    for endpoint in endpoints:
        if endpoint["deleted_at"] is None and not (endpoint["hidden"] and endpoint["merchant_id"] in owners):
            path = urlsplit(endpoint["url"]).path
            theirs = events[endpoint["merchant_id"]]
            ids = {str(row["event_id"]) for row in theirs}
            came = [each for each in by_path[path] if each.webhook_id in ids]
            wanted = [row for row in theirs if _wants(endpoint, row)]
            wrong += [f"{path}: {each}" for each in _judge_endpoint(endpoint, wanted, came, deliveries)]
    known = {str(row["event_id"]) for rows in events.values() for row in rows}
    wrong += [f"{each.path}: nobody recorded {each}" for each in hooks.heard if each.webhook_id not in known]
    return wrong


def _wants(endpoint: Row, event: Row) -> bool:
    if event["occurred_at"] <= endpoint["created_at"]:
        return False
    if event["type"] == "test.ping":
        return bool(event["subject"] == f"endpoint:{endpoint['endpoint_id']}")
    return bool({event["type"], event["type"].partition(".")[0] + ".*", "*"} & set(endpoint["events"]))


def _judge_endpoint(
    endpoint: Row, wanted: Iterable[Row], came: list[Heard], deliveries: Mapping[tuple[Any, Any], Row]
) -> Iterable[str]:
    heard = defaultdict(list)
    for each in came:
        heard[each.webhook_id].append(each)
    for event in wanted:
        what = f"{event['type']} {event['subject']} #{event['sequence']}"
        mine = heard.pop(str(event["event_id"]), [])
        delivery = deliveries.get((endpoint["endpoint_id"], event["event_id"]))
        if delivery is None or delivery["status"] != "success" or not any(each.status == 200 for each in mine):
            yield f"{what} did not arrive: {delivery}, {mine}"
            continue
        if {(each.subject, each.sequence) for each in mine} != {(event["subject"], event["sequence"])}:
            yield f"{what} came as another: {mine}"
        if len({each.body for each in mine}) > 1:
            yield f"{what} came with different bodies: {mine}"
        attempts = [each.attempt for each in mine]
        if attempts != sorted(set(attempts)) or attempts[-1] > delivery["attempts"]:
            yield f"{what}: attempts {attempts} of {delivery['attempts']}"
    if heard:
        yield f"heard and not wanted: {heard}"
    firsts: dict[str, list[int]] = defaultdict(list)
    for each in came:
        if each.sequence not in firsts[each.subject]:
            firsts[each.subject].append(each.sequence)
    for subject, sequences in firsts.items():
        if sequences != sorted(sequences):
            yield f"{subject} came in the order {sequences}"


def letters(server: rig.Server, hooks: Hooks) -> list[str]:
    """Every notice that was sent is a letter; a letter that came twice is the same letter."""
    wrong, came = [], defaultdict(list)
    for letter in hooks.letters:
        came[letter["h:Message-Id"]].append(letter)
    for row in server.sql(NOTICES):
        mine = next((came.pop(name) for name in list(came) if name.startswith(f"<{row['order_id']}.{row['event_id']}@")), [])
        if row["status"] == "pending":
            wrong.append(f"still to be sent: {row}")
        elif bool(mine) is not (row["status"] == "sent" and row["last_answer"] is None):
            wrong.append(f"{row}, and {len(mine)} letters")
        elif any(each != mine[0] for each in mine):
            wrong.append(f"not the same letter each time: {mine}")
    return wrong + [f"a letter about nothing: {each}" for each in came.values()]
