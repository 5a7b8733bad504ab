"""Every request is answered in the words of its address, with an id and safe headers, whatever goes wrong."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from kassa.kit.context import request_id
from kassa.kit.database import CommitUnknown, DatabaseAway
from kassa.kit.window import Window

from .asking import NoDatabase, an_app, ask, bearer

SOME = "019b76da-9c40-7a11-8d02-5b1f0c6e7a33"
SECRET_TEXT = "card 4111111111111111 of asha@example.com"


def code_of(body: Any) -> str:
    """The stable word, wherever its shape puts it."""
    found = (
        body["error"]["code"] if "success" in body else body["detail"]["code"] if isinstance(body["detail"], dict) else body["code"]
    )
    assert isinstance(found, str)
    return found


ENVELOPE, DETAIL, PROBLEM = {"success", "message", "error"}, {"detail"}, {"type", "title", "status", "detail", "code"}
PLAIN = {"detail", "code"}


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("/api/cart/nowhere", ENVELOPE),
        ("/api/nowhere", ENVELOPE),
        ("/api", ENVELOPE),
        ("/api/orders/", ENVELOPE),
        ("/api/orders/a/b/c", ENVELOPE),
        ("/api/products/", ENVELOPE),
        ("/checkout/a/b", DETAIL),
        ("/checkout/process/", DETAIL),
        ("/checkout/", DETAIL),
        ("/checkout", PLAIN),
        ("/cart", PLAIN),
        ("/cart/nowhere", PLAIN),
        ("/purchases/", PLAIN),
        ("/carts", PROBLEM),
        ("/api/v1/payments", PLAIN),
        ("/api/v1/nowhere", PLAIN),
        ("/apiary", PROBLEM),
        ("/", PROBLEM),
        ("/nowhere", PROBLEM),
        ("/docs", PROBLEM),
        ("/sandbox/book", PROBLEM),
    ],
)
async def test_an_unknown_address_answers_in_the_words_of_its_neighbourhood(path: str, members: set[str]) -> None:
    heard = await ask(an_app(), "GET", path)
    assert heard.status == 404
    assert set(heard.json) == members
    assert code_of(heard.json) == "not_found"
    assert heard.header("content-type") == ("application/problem+json" if members is PROBLEM else "application/json")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/api/cart", "DELETE, GET"),
        ("HEAD", "/api/cart", "DELETE, GET"),
        ("OPTIONS", "/api/cart", "DELETE, GET"),
        ("GET", "/api/cart/items", "POST"),
        ("GET", f"/api/cart/items/{SOME}", "DELETE, PUT"),
        ("DELETE", "/api/orders", "GET, POST"),
        ("POST", "/api/orders/x/events", "GET"),
        ("GET", "/checkout/process", "POST"),
        ("DELETE", f"/checkout/{SOME}", "GET"),
        ("POST", "/health", "GET, HEAD"),
        ("BREW", "/ready", "GET, HEAD"),
    ],
)
async def test_another_verb_is_told_which_there_are(method: str, path: str, allow: str) -> None:
    heard = await ask(an_app(), method, path)
    assert (heard.status, heard.header("allow")) == (405, allow)
    assert code_of(heard.json) == "method_not_allowed"


async def test_a_surface_that_is_not_served_is_not_there() -> None:
    app = an_app(surfaces=frozenset({"checkout"}))
    assert (await ask(app, "GET", "/api/cart")).status == 404
    assert (await ask(app, "GET", "/checkout/process")).status == 405


@pytest.mark.parametrize("path", ["/api/cart", "/api/products", "/api/orders", f"/checkout/{SOME}"])
async def test_a_database_that_is_away_is_told_with_a_time_to_come_back(path: str) -> None:
    heard = await ask(an_app(), "GET", path, bearer())
    assert (heard.status, code_of(heard.json), heard.header("retry-after")) == (503, "unavailable", str(DatabaseAway.retry_after))


@pytest.mark.parametrize("path", ["/api/cart", "/api/products", f"/checkout/{SOME}"])
async def test_what_nobody_foresaw_is_said_without_details(path: str, caplog: pytest.LogCaptureFixture) -> None:
    heard = await ask(an_app(NoDatabase(ZeroDivisionError(SECRET_TEXT))), "GET", path, bearer())
    assert (heard.status, code_of(heard.json)) == (500, "internal_error")
    assert b"4111" not in heard.body
    assert b"Traceback" not in heard.body
    assert [record.levelno for record in caplog.records if record.name == "kassa.api"] == [logging.ERROR]


async def test_a_commit_that_nobody_can_vouch_for_does_not_say_that_nothing_was_written() -> None:
    heard = await ask(an_app(NoDatabase(CommitUnknown())), "DELETE", "/api/cart", bearer())
    assert (heard.status, code_of(heard.json)) == (500, "internal_error")
    assert "retry-after" not in dict(heard.headers)


# The request's id, and what every answer has


@pytest.mark.parametrize("path", ["/health", "/api/cart", "/nowhere", "/checkout/process", "/api/products"])
async def test_every_answer_names_its_request_and_is_safe(path: str) -> None:
    heard = await ask(an_app(), "GET", path, {"X-Request-Id": "order-form/7731"})
    assert heard.header("x-request-id") == "order-form/7731"
    assert heard.header("x-content-type-options") == "nosniff"
    assert heard.header("cache-control") == "no-store"
    assert request_id.get() == ""


@pytest.mark.parametrize("sent", ["", "x" * 129, "two words", "café", "tab\there", "del\x7f"])
async def test_an_id_that_cannot_be_used_is_replaced(sent: str) -> None:
    made = (await ask(an_app(), "GET", "/health", {"X-Request-Id": sent})).header("x-request-id")
    assert made
    assert made != sent


async def test_the_log_has_the_route_and_nothing_personal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kassa.access")
    await ask(an_app(), "GET", "/api/orders/asha@example.com?email=asha@example.com", bearer(email="asha@example.com"))
    (line,) = [record for record in caplog.records if record.name == "kassa.access"]
    assert (line.__dict__["route"], line.__dict__["status"], line.__dict__["method"]) == ("/api/orders/{order_id}", 404, "GET")
    assert "asha" not in repr(line.__dict__)


# How much may be sent


@pytest.mark.parametrize(("path", "members"), [("/api/cart/items", ENVELOPE), ("/checkout/process", DETAIL)])
@pytest.mark.parametrize(
    ("declared", "body"),
    [
        ("70000", [b"x" * 70_000]),
        ("70000", [b"{}"]),
        ("99999999999999999999999999", [b"{}"]),
        ("2", [b"x" * 40_000, b"x" * 40_000]),
        (None, [b"x" * 1000] * 70),
    ],
    ids=["large", "declared large", "declared huge", "lied about", "not declared"],
)
async def test_a_body_is_counted_whatever_is_said_of_it(
    path: str, members: set[str], declared: str | None, body: list[bytes]
) -> None:
    headers = {**bearer(), **({"Content-Length": declared} if declared else {})}
    heard = await ask(an_app(), "POST", path, headers, body)
    assert (heard.status, set(heard.json), code_of(heard.json)) == (413, members, "too_large")


@pytest.mark.parametrize("path", ["/api/cart/items", "/api/orders"])
async def test_who_calls_is_asked_before_what_was_sent(path: str) -> None:
    heard = await ask(an_app(), "POST", path, {"Content-Length": "70000"}, b"x" * 70_000)
    assert (heard.status, heard.header("www-authenticate")) == (401, "Bearer")


async def test_a_wrong_token_is_never_a_guest() -> None:
    heard = await ask(an_app(), "POST", "/checkout/process", {"Authorization": ""}, b"{}")
    assert (heard.status, heard.json["detail"]["error"]) == (401, "Unauthorized")


async def test_a_caller_who_leaves_in_the_middle_gets_no_answer() -> None:
    class Left:
        status = 0

        async def send(self, message: Any) -> None:
            self.status = message.get("status", self.status)

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    left = Left()
    from .asking import scope_of

    await an_app()(scope_of("POST", "/api/cart/items", bearer()), receive, left.send)
    assert left.status == 0


# How often


async def test_one_caller_too_many_requests_others_go_on() -> None:
    app = an_app(rate_limit="3/minute")
    answers = [await ask(app, "GET", "/api/products", bearer()) for _ in range(4)]
    assert [each.status for each in answers] == [503, 503, 503, 429]
    assert code_of(answers[-1].json) == "rate_limited"
    assert 1 <= int(answers[-1].header("retry-after") or 0) <= 60
    assert answers[-1].header("x-request-id")
    assert (await ask(app, "GET", "/api/products", bearer(id=2))).status == 503
    assert (await ask(app, "GET", "/api/products")).status == 503


async def test_guests_are_counted_by_address_and_doctors_not_at_all() -> None:
    app = an_app(rate_limit="1/hour", trusted_proxies=("10.0.0.0/8",))
    assert [(await ask(app, "GET", "/checkout/x", client="192.0.2.1")).status for _ in range(2)] == [404, 429]
    assert (await ask(app, "GET", "/checkout/x", {"X-Forwarded-For": "192.0.2.9"}, client="192.0.2.1")).status == 429
    assert (await ask(app, "GET", "/checkout/x", client="192.0.2.2")).status == 404
    behind = {"X-Forwarded-For": "198.51.100.1, 192.0.2.3, 10.0.0.2"}
    assert [(await ask(app, "GET", "/checkout/x", behind, client="10.0.0.1")).status for _ in range(2)] == [404, 429]
    assert [(await ask(app, "GET", "/health", client="192.0.2.1")).status for _ in range(5)] == [200] * 5


def test_a_window_moves_and_forgets() -> None:
    window = Window("2/second")
    assert [window.hit("a", at) for at in (0.0, 0.5, 0.9)] == [0, 0, pytest.approx(0.1)]
    assert window.hit("a", 1.0) == 0
    assert window.hit("a", 1.2) == pytest.approx(0.3)
    for n in range(5000):
        window.hit(f"b{n}", 2.0)
    for n in range(6000):
        window.hit("c", 9.0 + n)
    assert len(window._hits) < 10


# Browsers, the sandbox, figures


async def test_browsers_of_other_origins_may_call_only_where_it_is_allowed() -> None:
    asked = {
        "Origin": "https://shop.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "Idempotency-Key",
    }
    assert (await ask(an_app(), "OPTIONS", "/api/cart/items", asked)).status == 405
    app = an_app(cors_origins=("https://shop.example.com",))
    allowed = await ask(app, "OPTIONS", "/api/cart/items", asked)
    assert (allowed.status, allowed.header("access-control-allow-origin")) == (200, "https://shop.example.com")
    assert (await ask(app, "OPTIONS", "/api/cart/items", {**asked, "Origin": "https://other.example.com"})).status == 400
    real = await ask(app, "GET", "/health", {"Origin": "https://shop.example.com"})
    assert "ETag" in (real.header("access-control-expose-headers") or "")


async def test_the_sandbox_gets_what_is_below_its_address_as_it_came() -> None:
    seen: list[str] = []

    async def sandbox(scope: Any, _receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-security-policy", b"own")]})
        await send({"type": "http.response.body", "body": b"played"})

    app = an_app(sandbox=sandbox, rate_limit="1/day")
    heard = [await ask(app, "POST", path, {"Content-Length": "100000"}) for path in ("/sandbox/link/payments", "/sandbox")]
    assert [each.body for each in heard] == [b"played", b"played"]
    assert (heard[0].header("content-security-policy"), bool(heard[0].header("x-request-id"))) == ("own", True)
    assert seen == ["/sandbox/link/payments", "/sandbox"]
    assert (await ask(app, "GET", "/sandboxes")).status == 404


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 401),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.1"}, 401),
        ("192.0.2.1", {}, 401),
        ("192.0.2.1", {"Authorization": "Bearer wrong"}, 401),
        ("192.0.2.1", {"Authorization": "Bearer the-token"}, 200),
        ("unix", {}, 401),
    ],
)
async def test_figures_are_for_this_machine_or_for_whoever_has_the_token(client: str, headers: dict[str, str], status: int) -> None:
    heard = await ask(an_app(metrics_token="the-token"), "GET", "/metrics", headers, client=client)
    assert heard.status == status
    assert (b"kassa_http_request_seconds" in heard.body) is (status == 200)


async def test_without_a_token_figures_are_for_this_machine_alone() -> None:
    assert (await ask(an_app(), "GET", "/metrics", {"Authorization": "Bearer None"})).status == 403
    assert (await ask(an_app(), "GET", "/metrics", client="127.0.0.1")).status == 200
    behind = an_app(trusted_proxies=("127.0.0.1",))
    assert (await ask(behind, "GET", "/metrics", {"X-Forwarded-For": "192.0.2.1"}, client="127.0.0.1")).status == 403


async def test_an_application_lives_and_ends_by_the_servers_word() -> None:
    told = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    heard: list[str] = []

    async def receive() -> dict[str, Any]:
        return told.pop(0)

    async def send(message: Any) -> None:
        heard.append(message["type"])

    await an_app()({"type": "lifespan"}, receive, send)
    assert heard == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
