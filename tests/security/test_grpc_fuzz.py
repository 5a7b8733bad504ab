"""gRPC as somebody who means harm: bytes that are no message, messages that are none of ours, times that are too short (F77).

Every method of every proto, of the health service and of reflection gets them. A caller may be told no in a documented way only; the
server goes on, nothing stays open in the database, and nothing is written to the log that an attacker could fill it with. The bytes
are the same on every run; `KASSA_FUZZ=20` sends twenty times as many, and different ones.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.contracts.grpc.callers import OPTIONS, Caller, a_word, an_order, request_of

from .documents import methods
from .town import Town


def _many(streams: bool) -> str:
    return "stream" if streams else "unary"


TIMES: Final = int(os.environ.get("KASSA_FUZZ", "1"))
SEED: Final = 20261121 if TIMES == 1 else time.time_ns()
OTHERS: Final = {
    f"/{service.full_name}/{method.name}": f"{_many(method.client_streaming)}_{_many(method.server_streaming)}"
    for file in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
}
"""What the library's services define, and whether either side streams."""
NOT_SERVED: Final = "/grpc.health.v1.Health/List"
EVERY: Final = [*map(str, methods()), *OTHERS]
FIRM: Final = {
    StatusCode.OK,
    StatusCode.INVALID_ARGUMENT,
    StatusCode.NOT_FOUND,
    StatusCode.ALREADY_EXISTS,
    StatusCode.ABORTED,
    StatusCode.UNAUTHENTICATED,
    StatusCode.PERMISSION_DENIED,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.UNIMPLEMENTED,  # by what nobody serves
}
"""What the contract lets a server say that is up and has time."""
LATE: Final = FIRM | {StatusCode.DEADLINE_EXCEEDED}
LIMIT: Final = 64 * 1024


@pytest.fixture
def caller(town: Town) -> Iterator[Caller]:
    """Somebody with a good key, so that what is sent gets behind the door."""
    calling = Caller(town.server.grpc, [("x-api-key", town.stranger.api_key)])
    yield calling
    calling.close()


def outcome(caller: Caller, method: str, data: bytes, timeout: float = 20, more: Any = ()) -> tuple[StatusCode, str]:
    """Code and details of one call with exactly these bytes; of a stream the first answer counts."""
    kind = OTHERS.get(method, "unary_unary")
    stub = getattr(caller.channel, kind)(method)
    sent = iter([data]) if kind.startswith("stream") else data
    try:
        if kind == "unary_unary":
            stub(sent, timeout=timeout, metadata=(*caller.said, *more))
        else:
            stream = stub(sent, timeout=timeout, metadata=(*caller.said, *more))
            next(stream, None)
            stream.cancel()
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    return StatusCode.OK, ""


# Bytes


def tag(number: int, wire: int) -> bytes:
    return varint(number << 3 | wire)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def text(number: int, value: bytes) -> bytes:
    return tag(number, 2) + varint(len(value)) + value


def wrong_types() -> Iterator[bytes]:
    """Each of the first fields in each of the wire's six forms, and two that do not exist."""
    bodies = {0: varint(7), 1: b"\x01" * 8, 2: varint(3) + b"abc", 3: b"", 4: b"", 5: b"\x01" * 4, 6: b"\x01", 7: b"\x01"}
    for number in (*range(9), 536870911):
        for wire, body in bodies.items():
            yield tag(number, wire) + body


def hostile_bytes(chance: random.Random) -> Iterator[bytes]:
    good = request_of(an_order(metadata={"a": "b"})).SerializeToString()
    yield from wrong_types()
    yield from (good[:cut] for cut in range(0, len(good), 7))
    for _ in range(40 * TIMES):
        yield chance.randbytes(chance.choice((1, 2, 5, 20, 200, 2000)))
        spoilt = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        yield bytes(spoilt)
    for bad in (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\x00b"):
        yield from (text(number, bad) for number in range(1, 6))
        yield text(5, text(1, bad) + text(2, bad))
    for size in (255, 256, 60_000):
        yield from (good + text(number, b"x" * size) for number in (1, 2, 3, 4))
    yield good + b"".join(text(5, text(1, b"%d" % one) + text(2, b"v")) for one in range(4000))
    yield good + b"".join(text(9, b"unknown") for _ in range(6000))
    yield tag(100, 3) * 10_000
    yield tag(1, 0) + b"\xff" * 9 + b"\x7f"
    yield tag(1, 0) + b"\xff" * 30
    yield tag(4, 2) + varint(2**63) + b"x"
    yield good * 40


def too_large() -> list[bytes]:
    return [text(15, b"x" * size) for size in (LIMIT, LIMIT * 4, LIMIT * 32)]


def untouched(town: Town, before: int, *, within: float = 5) -> None:
    """The server serves, nobody left a transaction open, and the log holds no surprise."""
    calling = Caller(town.server.grpc)
    try:
        assert calling.health() == "ok"
    finally:
        calling.close()
    until = time.monotonic() + within
    while left := town.server.sql(
        "SELECT state, query FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        " AND state_change < clock_timestamp() - interval '0.2 s'"
    ):
        assert time.monotonic() < until, left
        time.sleep(0.1)
    log = town.server.log_text()[before:]
    assert "Traceback" not in log, log[log.index("Traceback") :][:3000]
    assert "ended unexpectedly" not in log


@pytest.mark.parametrize("method", EVERY)
def test_bytes_that_are_no_request_are_refused(town: Town, caller: Caller, method: str) -> None:
    chance, before = random.Random(SEED + EVERY.index(method)), len(town.server.log_text())
    found: Counter[StatusCode] = Counter()
    for data in hostile_bytes(chance):
        code, details = outcome(caller, method, data)
        assert code in FIRM, (method, data[:200], code, details)
        assert (code is StatusCode.UNIMPLEMENTED) is (method == NOT_SERVED), (method, code)
        assert not any(word in details for word in ("Traceback", "kassa.", "site-packages", "xception", ".py")), details
        found[code] += 1
    assert len(town.server.log_text()) - before < 400 * sum(found.values()), "a line or so for each call, not a page"
    untouched(town, before)


@pytest.mark.parametrize("method", EVERY)
def test_a_message_that_is_too_large_is_refused_by_its_size(town: Town, caller: Caller, method: str) -> None:
    before = len(town.server.log_text())
    for data in too_large() if method != NOT_SERVED else []:
        assert outcome(caller, method, data)[0] is StatusCode.RESOURCE_EXHAUSTED
    untouched(town, before)


def test_what_nobody_serves_is_not_there(town: Town, caller: Caller) -> None:
    before = len(town.server.log_text())
    names = [
        "/",
        "//",
        "/payments.v1.PaymentService/",
        "/payments.v1.PaymentService/requestpayment",
        "/payments.v2.PaymentService/Health",
    ]
    names += [
        "/payments.v1.PaymentService/Refund",
        "/" + "x" * 2000,
        "/../../etc/passwd",
        "/payments.v1.PaymentService/Health/../GetPayment",
    ]
    for name in names:
        assert outcome(caller, name, b"")[0] is StatusCode.UNIMPLEMENTED, name
    untouched(town, before)


METADATA: Final[list[list[tuple[str, str | bytes]]]] = [
    [("x-noise", "x" * 9000)],
    [(f"x-noise-{number}", "y" * 60) for number in range(300)],
    [("x-noise-bin", bytes(range(256)) * 20)],
    [("x-request-id", "z" * 4000)],
    [("x-request-id", "")],
    [("x-api-key", "")],
    [("x-api-key", "sk_" + "A" * 5000)],
    [("x-api-key", "' OR 1=1 --")],
    [("x-api-key-bin", b"sk_demo_1")],
    [("x-merchant-id", "1"), ("x-merchant-id", "2")],
    [("x-merchant-id", "9" * 3000)],
    [("authorization", "Bearer a.b.c")],
    [("grpc-internal-encoding-request", "gzip")],
    [("content-length", "5")],
    [("te", "trailers, deflate")],
]


@pytest.mark.parametrize("more", METADATA, ids=lambda more: more[0][0])
def test_words_beside_a_call_cannot_hurt(town: Town, more: list[tuple[str, str | bytes]]) -> None:
    before = len(town.server.log_text())
    for said in ([], [("x-api-key", town.stranger.api_key)]):
        calling = Caller(town.server.grpc, said)
        try:
            for method in EVERY:
                data = request_of(an_order()).SerializeToString() if method.endswith("RequestPayment") else b""
                with contextlib.suppress(ValueError):  # the client's own library refuses a few of them
                    code, details = outcome(calling, method, data, more=more)
                    assert code in LATE, (method, code, details)
        finally:
            calling.close()
    untouched(town, before)


def test_a_connection_that_is_no_http_2_is_dropped(town: Town) -> None:
    chance, before = random.Random(SEED), len(town.server.log_text())
    host, port = town.server.grpc.split(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    frames = [
        struct.pack(">I", size)[1:] + bytes([kind, 255]) + struct.pack(">I", 1) for kind in range(12) for size in (0, 9, 2**24 - 1)
    ]
    for data in [b"GET / HTTP/1.1\r\n\r\n", chance.randbytes(500), b"\x16\x03\x01" + chance.randbytes(200), preface[:10]] + [
        preface + frame + chance.randbytes(40) for frame in frames
    ]:
        with socket.create_connection((host, int(port)), timeout=5) as line, contextlib.suppress(OSError):
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
            line.settimeout(2)
            while line.recv(4096):
                pass
    untouched(town, before)


def test_a_deadline_that_is_too_short_leaves_nothing_half_done(town: Town) -> None:
    """F77: each key is answered in the end, with one payment, however often its callers ran out of time."""
    chance, before = random.Random(SEED), len(town.server.log_text())
    calling = Caller(town.server.grpc, [("x-api-key", town.stranger.api_key)])
    orders = [an_order(order_id=a_word("late")) for _ in range(40 * TIMES)]

    def hurried(order: dict[str, Any]) -> list[StatusCode]:
        data = request_of(order).SerializeToString()
        return [
            outcome(
                calling, "/payments.v1.PaymentService/RequestPayment", data, timeout=chance.choice((0.0, 0.001, 0.004, 0.01, 0.02))
            )[0]
            for _ in range(4)
        ]

    try:
        with ThreadPoolExecutor(8) as hands:
            codes = Counter(code for found in hands.map(hurried, orders) for code in found)
            assert set(codes) <= LATE, codes
            assert codes[StatusCode.DEADLINE_EXCEEDED], "some were too late, so this test has seen what it is about"
            ids = list(hands.map(lambda order: calling.pay(**order).payment_id, orders))
        assert len(set(ids)) == len(orders)
        for method in EVERY:
            assert outcome(calling, method, b"", timeout=0.0)[0] in LATE
    finally:
        calling.close()
    made = town.server.sql(
        "SELECT ref, count(*) AS n FROM payments WHERE ref = ANY($1) GROUP BY 1", [each["order_id"] for each in orders]
    )
    assert {row["n"] for row in made} == {1}
    assert len(made) == len(orders)
    untouched(town, before)


def test_callers_who_leave_in_the_middle_leave_nothing(town: Town) -> None:
    before = len(town.server.log_text())
    for _ in range(20 * TIMES):
        channel = grpc.insecure_channel(town.server.grpc, OPTIONS)
        stub = channel.unary_unary("/payments.v1.PaymentService/RequestPayment")
        metadata = [("x-api-key", town.stranger.api_key)]
        calls = [stub.future(request_of(an_order()).SerializeToString(), timeout=5, metadata=metadata) for _ in range(5)]
        time.sleep(0.003)
        for call in calls:
            call.cancel()
        channel.close()
    untouched(town, before)
