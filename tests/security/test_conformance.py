"""What the documents say is what is answered: requests that fit them, and requests that do not, at every operation, behind the door.

Schemathesis makes the requests from each document; here they get credentials, and ids of things that exist. No answer may be a 5xx,
and each must have a status, a content type and a body that the document names for that operation. The requests are the same ones on
every run. `KASSA_FUZZ=20` makes twenty times as many, and different ones each time: for the hour before a release.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests import rig
from tests.contracts.payments.till import signature

from .documents import Operation, documents, of_document
from .test_object_access import value_of
from .town import BUYERS, MERCHANTS, PAYME_DOOR, PROVIDERS, SETTINGS, Side, Town, a_sink, basic, bearer, build, surface_of

TIMES: Final = int(os.environ.get("KASSA_FUZZ", "1"))
EXAMPLES: Final = {schemathesis.GenerationMode.POSITIVE: 8, schemathesis.GenerationMode.NEGATIVE: 6}
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EVERY: Final = [
    (name, each)
    for name in documents()
    if name != "all"  # which says the same, as test_documents.py sees to
    for each in sorted(of_document(name), key=lambda operation: operation.method == "DELETE")  # what is used is deleted last
]


@pytest.fixture(scope="module")
def fuzzed(database_server: rig.DatabaseServer, _homes: Callable[[str], Path]) -> Iterator[Town]:
    """A Kassa of its own, from which no call gets out: its way to merchants is a proxy that is not there."""
    own = {**SETTINGS, "EGRESS_PROXY": f"http://127.0.0.1:{rig.free_port()}", "MAX_WAITING_ORDERS": "1000"}
    server = rig.make_server(_homes("fuzzed"), database_server.fresh(), own)
    with a_sink() as sink, rig.stopping([server]):
        server.start()
        yield build(server, sink, patient=False)


@functools.cache
def schema_of(name: str) -> Any:
    return schemathesis.openapi.from_dict(documents()[name])


def shown_at(town: Town, operation: Operation, side: Side, role: str | None) -> dict[str, str]:
    """Credentials that open the operation."""
    surface = surface_of(operation)
    if surface == BUYERS:
        seconds = 1 if operation.streams else 600
        return bearer(town.server.token(side.user, role, exp=int(time.time()) + seconds))
    if surface == MERCHANTS:
        return {"X-Api-Key": side.api_key}
    return basic(side.payme_key) if surface == PAYME_DOOR else {}


def ids_at(operation: Operation, side: Side) -> dict[str, str]:
    """What exists, for the places of the path."""
    return {name: value_of(operation, (where, name), side) or "prod_001" for where, name in operation.names() if where == "path"}


def ask(town: Town, operation: Operation, case: Any, choice: int) -> None:
    """Send one request, three times of four with ids that exist, and judge the answer by the document."""
    side = town.owner
    if choice % 4:
        case.path_parameters = {**(case.path_parameters or {}), **ids_at(operation, side)}
    headers = shown_at(town, operation, side, "admin" if choice % 2 else None)
    if surface_of(operation) == PROVIDERS and choice % 4:
        raw = case.as_transport_kwargs(base_url=town.server.url)
        body = raw.get("data", b"") or raw.get("json", b"")
        if isinstance(body, bytes):
            headers["X-Internal-Signature"] = signature(town.server.webhook_secret, body)
    answer = case.call(base_url=town.server.url, headers=headers, timeout=30)
    # A stream is text to this version of OpenAPI, which has no words for the events in it.
    excluded = [response_schema_conformance] if operation.streams else []
    case.validate_response(answer, checks=CHECKS, excluded_checks=excluded)


def takes_something(operation: Operation) -> bool:
    """Whether a request can be wrong at all: there is more in it than its own id."""
    return bool(operation.content or [each for each in operation.parameters if each["name"] != "X-Request-Id"])


CASES: Final = [
    pytest.param(name, each, mode, id=f"{name}-{each.method}-{each.path}-{mode.value}")
    for name, each in EVERY
    for mode in EXAMPLES
    if mode is schemathesis.GenerationMode.POSITIVE or takes_something(each)
]


@pytest.mark.timeout(300 * TIMES)
@pytest.mark.parametrize(("name", "operation", "mode"), CASES)
def test_answers_are_what_the_document_says(
    fuzzed: Town, name: str, operation: Operation, mode: schemathesis.GenerationMode
) -> None:
    strategy = schema_of(name)[operation.path][operation.method].as_strategy(generation_mode=mode)
    settings = hypothesis.settings(
        max_examples=(2 if operation.streams or not takes_something(operation) else EXAMPLES[mode]) * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @settings
    @hypothesis.given(case=strategy, choice=hypothesis.strategies.integers(0, 7))
    def play(case: Any, choice: int) -> None:
        ask(fuzzed, operation, case, choice)

    before = len(fuzzed.server.log_text())
    try:
        play()
    except hypothesis.errors.Unsatisfiable:
        assert mode is schemathesis.GenerationMode.NEGATIVE, "the document describes no request that can be made"
    log = fuzzed.server.log_text()[before:]
    assert "Traceback" not in log, log[log.index("Traceback") :][:4000]
