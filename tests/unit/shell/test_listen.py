"""`kassa listen`: a merchant's events reach a program on this machine, signed, in order; what cannot be begun says why."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from tests import rig
from tests.contracts.checkout.journeys import a_key, until
from tests.pages.hook import Hook, hook, is_signed
from tests.unit.shell.processes import refused, run

__all__ = ["hook"]


class Listening:
    """The command while it runs; `said` are its lines."""

    def __init__(self, server: rig.Server, forward: str, *words: str) -> None:
        command = [sys.executable, "-m", "kassa", "listen", "--forward", forward, "--url", server.url, "--json", *words]
        environment = {**server.environment, "KASSA_API_KEY": "sk_demo_1"}
        self.process = subprocess.Popen(
            command, env=environment, cwd=server.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said: list[dict[str, object]] = []
        self.told = ""
        self.readers = [threading.Thread(target=each, daemon=True) for each in (self._read, self._hear)]
        for reader in self.readers:
            reader.start()
        until(lambda: "whsec_" in self.told, 20, "it says with which secret it signs")

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.said.extend(json.loads(line) for line in self.process.stdout)

    def _hear(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.told += line

    @property
    def secret(self) -> str:
        return next(word.rstrip(";") for word in self.told.split() if word.startswith("whsec_"))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for reader, pipe in zip(self.readers, (self.process.stdout, self.process.stderr), strict=True):
            reader.join(5)
            assert pipe is not None
            pipe.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@pytest.fixture
def listen(server: rig.Server) -> Iterator[list[Listening]]:
    started: list[Listening] = []
    yield started
    for each in started:
        each.close()


def pay(server: rig.Server) -> str:
    asked = {"order_id": a_key(), "amount": 1, "price": "3.50", "alias": "stripe", "subscription_id": 1}
    answer = server.client(headers={"X-Api-Key": "sk_demo_1"}).post("/api/v1/payments", json=asked)
    assert answer.is_success, answer.text
    found: str = answer.json()["payment_id"]
    return found


def test_what_happens_is_posted_and_signed(server: rig.Server, hook: Hook, listen: list[Listening]) -> None:
    before = pay(server)
    listening = Listening(server, hook.url, "--type", "payment.*", "--format", "event")
    listen.append(listening)
    seen = lambda payment: [body for _, body in hook.heard if payment in body.decode()]  # noqa: E731
    payments = []

    def reaches() -> bool:
        payments.append(pay(server))
        return bool(seen(payments[-1]) or any(map(seen, payments)))

    until(reaches, 30, "an event arrives")  # what was paid before it had found the end of the feed is not told
    headers, body = hook.heard[0]
    assert is_signed(listening.secret, headers, body)
    envelope = orjson.loads(body)
    assert headers["webhook-id"] == envelope["id"]
    assert headers["kassa-event-type"] == envelope["type"]
    assert envelope["type"].startswith("payment.")
    assert not seen(before)
    until(lambda: len(listening.said) >= len(hook.heard), 10, "each is told")
    assert listening.said[0]["event_id"] == envelope["id"]
    assert listening.said[0]["status_code"] == 204
    assert listening.stop() in {0, 130}


def test_the_older_body_and_a_refusal(server: rig.Server, hook: Hook, listen: list[Listening]) -> None:
    hook.status = 500
    listening = Listening(server, hook.url, "--type", "payment.created")
    listen.append(listening)
    until(lambda: bool(pay(server) and listening.said), 30, "a refusal is told")
    assert listening.said[0]["status_code"] == 500
    assert listening.said[0]["error"] == "status"
    assert set(orjson.loads(hook.heard[0][1])) == {"payment_id", "order_id", "merchant_id", "status", "amount", "price"}


def test_a_wrong_key_is_one_line(server: rig.Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kassa", "listen", "--forward", "http://127.0.0.1:9/", "--url", server.url],
        env={**server.environment, "KASSA_API_KEY": "sk_nobody"}, cwd=server.home, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "KASSA_API_KEY" in done.stderr
    assert "sk_nobody" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--forward", "localhost:3000"], "--forward must begin with http"),
        (["--forward", "http://localhost:3000", "--type", "nonsense"], "--type nonsense is no type"),
        (["--forward", "http://localhost:3000", "--url", "nowhere"], "--url must begin with http"),
    ],
)
def test_what_cannot_be_begun_says_why(short_home: Path, words: list[str], why: str) -> None:
    assert why in refused(run(short_home, "listen", *words))


def test_a_secret_that_is_none_is_named(short_home: Path) -> None:
    done = run(short_home, "listen", "--forward", "http://localhost:3000", KASSA_LISTEN_SECRET="oops")
    assert "KASSA_LISTEN_SECRET" in refused(done)
