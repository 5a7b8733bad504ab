"""What an answer means, and what becomes of none (section 3; F62, F65, F66)."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from email.utils import format_datetime
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests import rig
from tests.contracts.payments.till import Json
from tests.contracts.webhooks.desk import Hook, Office, is_attempt, is_delivery, quiet_for, subject_of
from tests.contracts.webhooks.merchants import BROKEN, CUT, FINE, FakeMerchant, Reply, says

T = TypeVar("T")
PAID = ["payment.paid"]
TIMEOUT_S = 2.0
SLACK_S = 1.0


def first_attempt(office: Office, hook: Hook) -> tuple[Json, Json]:
    """A payment is paid; the delivery and its first attempt once that is over."""
    subject = subject_of(office.paid(1))
    delivery_id = hook.delivery(subject, "payment.paid")["delivery_id"]
    found = hook.becomes(delivery_id, "success", "retrying", "failed", "blocked")
    is_delivery({name: value for name, value in found.items() if name != "attempts"})
    for each in found["attempts"]:
        is_attempt(each)
    assert found["attempts"][0]["number"] == 1
    return found, found["attempts"][0]


def seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def kassas_now(office: Office) -> float:
    """Seconds since 1970 by Kassa's clock."""
    found: float = office.server.sql("SELECT extract(epoch FROM kassa_now())::float8 AS now")[0]["now"]
    return found


def at_once(office: Office, replies: Mapping[T, list[Reply]]) -> dict[T, tuple[Hook, Json]]:
    """One payment, told to an endpoint for each of these replies (at most ten); the deliveries after the first attempt."""
    hooks = {name: office.hook(1, *row, events=PAID) for name, row in replies.items()}
    subject = subject_of(office.paid(1))
    found = {}
    for name, hook in hooks.items():
        delivery_id = hook.delivery(subject, "payment.paid")["delivery_id"]
        found[name] = (hook, hook.becomes(delivery_id, "success", "retrying", "failed", "blocked"))
        for each in found[name][1]["attempts"]:
            is_attempt(each)
    return found


def test_any_2xx_is_delivered(office: Office) -> None:
    told = at_once(office, {status: [says(status)] for status in (200, 201, 202, 203, 204, 206, 299)})
    for status, (_, delivery) in told.items():
        is_delivery({name: value for name, value in delivery.items() if name != "attempts"})
        [attempt] = delivery["attempts"]
        assert (attempt["status_code"], attempt["error"]) == (status, None)
        assert (delivery["status"], delivery["attempts_made"], delivery["last_status_code"]) == ("success", 1, status)
        assert (delivery["last_error"], delivery["next_attempt_at"]) == (None, None)
        assert delivery["delivered_at"] is not None


@pytest.mark.parametrize("body", [b'{"status":"failed"}', b"\xff\x00\xfe", b"error " * 500, b""])
def test_the_body_of_a_2xx_is_ignored(office: Office, body: bytes) -> None:
    hook = office.hook(1, says(200, body), events=PAID)
    delivery, _ = first_attempt(office, hook)
    assert delivery["status"] == "success"


@pytest.mark.parametrize("statuses", [(400, 401, 403, 404, 405, 409, 413, 422), (418, 429, 500, 501, 502, 503, 504, 599)])
def test_any_other_status_is_a_failed_attempt(office: Office, statuses: tuple[int, ...]) -> None:
    for status, (hook, first) in at_once(office, {status: [says(status, b"no"), FINE] for status in statuses}).items():
        attempt = first["attempts"][0]
        assert (attempt["status_code"], attempt["error"], attempt["response"]) == (status, "status", "no")
        delivery = hook.becomes(first["delivery_id"], "success")
        assert [(each["number"], each["status_code"]) for each in delivery["attempts"]] == [(1, status), (2, 200)]
        assert (delivery["attempts_made"], delivery["last_status_code"]) == (2, 200)
        assert hook.look()["status"] == "enabled"


def test_a_redirect_is_never_followed(office: Office) -> None:
    with contextlib.closing(FakeMerchant()) as inner:
        redirects = {
            status: [says(status, Location=inner.url("/secret"), Refresh="0"), FINE] for status in (301, 302, 303, 307, 308)
        }
        for status, (hook, first) in at_once(office, redirects).items():
            attempt = first["attempts"][0]
            assert (attempt["status_code"], attempt["error"]) == (status, "redirect")
            hook.becomes(first["delivery_id"], "success")
            assert [call.path for call in hook.calls()] == [hook.path] * 2
        assert inner.connections() == 0


def test_a_redirect_to_the_same_endpoint_is_not_followed(office: Office) -> None:
    hook = office.hook(1, events=PAID)
    hook.will(says(307, Location=hook.path), FINE)
    delivery, attempt = first_attempt(office, hook)
    assert attempt["error"] == "redirect"
    first, second = hook.waits_for(2)
    assert second.at - first.over_at > 0.7
    hook.becomes(delivery["delivery_id"], "success")


# Retry-After


def test_retry_after_in_seconds_is_obeyed_on_any_failed_attempt(office: Office) -> None:
    told = at_once(office, {status: [says(status, Retry_After="3"), FINE] for status in (429, 503, 500, 404, 302)})
    for hook, _ in told.values():
        first, second = hook.waits_for(2)
        assert 2.9 <= second.at - first.over_at <= 3 + SLACK_S + 1


def test_retry_after_as_a_date_is_obeyed(office: Office) -> None:
    hook = office.hook(1, events=PAID)
    then = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=5)
    hook.will(says(503, Retry_After=format_datetime(then, usegmt=True)), FINE)
    first_attempt(office, hook)
    _, second = hook.waits_for(2)
    assert then.timestamp() - 0.2 <= second.wall <= then.timestamp() + SLACK_S + 1


def test_a_retry_after_that_is_earlier_or_none_leaves_the_plan(office: Office) -> None:
    texts = ("0", "soon", "-5", "1.5e3x", "", "Mon, 99 Foo 2026 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT")
    told = at_once(office, {text: [says(503, Retry_After=text), FINE] for text in texts})
    for hook, _ in told.values():
        first, second = hook.waits_for(2)
        assert 0.75 <= second.at - first.over_at <= 1.2 + SLACK_S


def test_retry_after_is_at_most_a_day(office: Office) -> None:
    texts = ("86401", "99999999", "99999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT")
    for _, delivery in at_once(office, {text: [says(503, Retry_After=text)] for text in texts}).values():
        assert delivery["status"] == "retrying"
        away = seconds(delivery["next_attempt_at"]) - kassas_now(office)
        assert 86_400 - 30 < away <= 86_400


# No answer


def test_an_answer_that_never_comes_is_a_time_out(office: Office) -> None:
    hook = office.hook(1, Reply(after=6), FINE, events=PAID)
    delivery, attempt = first_attempt(office, hook)
    assert (attempt["status_code"], attempt["error"]) == (None, "timeout")
    assert TIMEOUT_S * 900 <= attempt["duration_ms"] <= (TIMEOUT_S + SLACK_S) * 1000
    hook.becomes(delivery["delivery_id"], "success")


def test_a_merchant_that_answers_after_our_time_out_gets_the_same_id_again(office: Office) -> None:
    """F65: it can drop what it has seen."""
    hook = office.hook(1, Reply(200, after=3), FINE, events=PAID)
    delivery, _ = first_attempt(office, hook)
    first, second = hook.waits_for(2)
    assert first.event_id == second.event_id == delivery["event_id"]
    assert first.raw == second.raw


def test_a_head_that_drips_is_a_time_out(office: Office) -> None:
    hook = office.hook(1, Reply(slow_head=True), FINE, events=PAID)
    _, attempt = first_attempt(office, hook)
    assert (attempt["status_code"], attempt["error"]) == (None, "timeout")
    assert attempt["duration_ms"] <= (TIMEOUT_S + SLACK_S) * 1000


@pytest.mark.parametrize("status", [200, 500])
def test_a_body_that_drips_ends_with_the_time_out(office: Office, status: int) -> None:
    hook = office.hook(1, Reply(status, drip=True), FINE, events=PAID)
    _, attempt = first_attempt(office, hook)
    assert attempt["duration_ms"] <= (TIMEOUT_S + SLACK_S) * 1000
    [call] = hook.calls()[:1]
    assert _until_over(call) <= TIMEOUT_S + SLACK_S + 1


@pytest.mark.parametrize("status", [200, 500])
def test_of_a_body_that_never_ends_little_is_read(office: Office, status: int) -> None:
    """F66: at most 4 KiB are read; the rest of what was sent here is what networks hold on their way."""
    hook = office.hook(1, Reply(status, endless=True), FINE, events=PAID)
    delivery, attempt = first_attempt(office, hook)
    assert delivery["status"] == ("success" if status == 200 else "retrying")
    assert attempt["status_code"] == status
    [call] = hook.calls()[:1]
    assert _until_over(call) < 1
    assert call.sent <= 64 * 1024


def _until_over(call: object) -> float:
    end = time.monotonic() + 10
    while not call.over_at:  # type: ignore[attr-defined]
        assert time.monotonic() < end, "nobody hung up"
        time.sleep(0.02)
    took: float = call.took  # type: ignore[attr-defined]
    return took


def test_of_a_large_answer_one_kibibyte_is_kept(office: Office) -> None:
    hook = office.hook(1, says(500, b"0123456789abcdef" * 65_536), FINE, events=PAID)
    _, attempt = first_attempt(office, hook)
    assert attempt["status_code"] == 500
    kept = attempt["response"]
    assert ("0123456789abcdef" * 64).startswith(kept)
    assert len(kept) == 1024


def test_an_answer_that_is_no_text_is_kept_somehow(office: Office) -> None:
    hook = office.hook(1, says(500, b"a\x00b\xff\xfe" + "é€😀".encode() * 300), FINE, events=PAID)
    delivery, attempt = first_attempt(office, hook)
    assert attempt["status_code"] == 500
    hook.becomes(delivery["delivery_id"], "success")


def test_a_cut_connection_is_a_failed_attempt(office: Office) -> None:
    hook = office.hook(1, CUT, FINE, events=PAID)
    delivery, attempt = first_attempt(office, hook)
    assert (attempt["status_code"], attempt["error"]) == (None, "cut")
    delivery = hook.becomes(delivery["delivery_id"], "success")
    assert [call.attempt for call in hook.calls()] == [1, 2]


def test_half_an_answer_that_is_no_2xx_is_a_failed_attempt(office: Office) -> None:
    hook = office.hook(1, Reply(500, b"x" * 2000, half=True), FINE, events=PAID)
    _, attempt = first_attempt(office, hook)
    assert attempt["error"] in {"status", "cut"}


@contextlib.contextmanager
def mumbling(answer: bytes) -> Iterator[int]:
    """A listener that says this to everybody, and hangs up."""

    def talk() -> None:
        while True:
            try:
                guest, _ = listener.accept()
            except OSError:
                return
            with guest, contextlib.suppress(OSError):
                guest.settimeout(2)
                guest.recv(65_536)
                guest.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=talk, daemon=True).start()
        yield listener.getsockname()[1]
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"\x00" * 100,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"z" * 2_000_000,
    ],
    ids=["another protocol", "no status", "zeros", "many headers", "a long header"],
)
def test_an_answer_that_is_not_http_is_a_failed_attempt(office: Office, answer: bytes) -> None:
    with mumbling(answer) as port:
        hook = office.hook(1, events=PAID, url=f"http://127.0.0.1:{port}/")
        delivery, attempt = first_attempt(office, hook)
        assert delivery["status"] in {"retrying", "failed"}
        assert attempt["error"] is not None


def test_a_port_where_nobody_listens_is_no_connection(office: Office) -> None:
    hook = office.hook(1, events=PAID, url=f"http://127.0.0.1:{rig.free_port()}/")
    _, attempt = first_attempt(office, hook)
    assert (attempt["status_code"], attempt["error"], attempt["response"]) == (None, "connect", None)


def test_a_listener_that_accepts_nobody_is_given_up(office: Office) -> None:
    with contextlib.ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            guest = open_sockets.enter_context(socket.socket())
            guest.setblocking(False)
            guest.connect_ex(listener.getsockname())
        hook = office.hook(1, events=PAID, url=f"http://127.0.0.1:{listener.getsockname()[1]}/")
        _, attempt = first_attempt(office, hook)
        assert attempt["error"] in {"timeout", "connect"}
        assert attempt["duration_ms"] <= (TIMEOUT_S + SLACK_S) * 1000
        hook.who.delete(hook.place)


def test_a_name_that_nobody_has_is_told_so(office: Office) -> None:
    hook = office.hook(1, events=PAID, url="http://nobody.invalid/")
    _, attempt = first_attempt(office, hook)
    assert (attempt["status_code"], attempt["error"]) == (None, "dns")


def test_a_server_that_speaks_no_tls_is_a_failed_attempt(office: Office) -> None:
    hook = office.hook(1, events=PAID, url=f"https://127.0.0.1:{office.fake.port}/tls")
    _, attempt = first_attempt(office, hook)
    assert (attempt["status_code"], attempt["error"]) == (None, "tls")
    assert office.fake.calls("/tls") == []


def test_a_certificate_that_nobody_vouches_for_is_refused(office: Office, tmp_path: Path) -> None:
    with contextlib.closing(FakeMerchant(_self_signed(tmp_path))) as stranger:
        hook = office.hook(1, events=PAID, url=stranger.url("/hook"))
        _, attempt = first_attempt(office, hook)
        assert (attempt["status_code"], attempt["error"]) == (None, "tls")
        assert stranger.everything() == []


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "merchant.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def test_a_merchant_that_comes_back_gets_its_events(office: Office) -> None:
    other = FakeMerchant()
    hook = office.hook(1, events=PAID, url=other.url("/away"))
    other.close()
    try:
        delivery, attempt = first_attempt(office, hook)
        assert attempt["error"] == "connect"
        other.open()
        hook.becomes(delivery["delivery_id"], "success")
        assert [call.event_id for call in other.calls("/away")] == [delivery["event_id"]]
    finally:
        other.stop()


def test_what_was_delivered_is_not_sent_again(office: Office) -> None:
    hook = office.hook(1, events=PAID)
    first_attempt(office, hook)
    quiet_for(2.5, lambda: len(hook.calls()))
    assert len(hook.calls()) == 1


def test_the_shared_office_fails_after_four_attempts(office: Office) -> None:
    hook = office.hook(1, BROKEN, events=PAID)
    delivery, _ = first_attempt(office, hook)
    delivery = hook.becomes(delivery["delivery_id"], "failed")
    assert (delivery["attempts_made"], delivery["last_status_code"], delivery["last_error"]) == (4, 500, "status")
    assert delivery["next_attempt_at"] is None
    assert delivery["delivered_at"] is None
    quiet_for(1.5, lambda: len(hook.calls()))
    assert [call.attempt for call in hook.calls()] == [1, 2, 3, 4]
