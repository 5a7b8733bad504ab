"""Signing in at the back office: who gets in, how often one may guess, when a session ends, and what a cookie is worth."""

from __future__ import annotations

import httpx2
import pytest
from tests.conftest import StartKassa
from tests.pages.office.hands import Clerk, clerk, lines_of, password_of
from tests.rig import Server

WRONG = "Name or password is wrong."


@pytest.fixture(scope="module")
def house(start_kassa: StartKassa) -> Server:
    return start_kassa()


@pytest.fixture(autouse=True)
def _nobody_has_tried(house: Server) -> None:
    """Each test begins with an address that has not been tried from; all of them are the same one."""
    house.sql("DELETE FROM staff_tries")


def token_of(browser: Clerk) -> str:
    return browser.client.cookies["kassa_office"]


def test_whoever_is_not_signed_in_is_led_to_the_form_and_back(house: Server) -> None:
    browser = Clerk(house)
    browser.open("/office/sessions?x=1")
    assert browser.address == "/office/sign-in?next=/office/sessions%3Fx%3D1"
    browser.press("/office/sign-in", {"name": "operator", "password": password_of(house)})
    assert browser.address == "/office/sessions?x=1"
    assert browser.page.headings[0] == (1, "My sessions")


@pytest.mark.parametrize(
    "after", ["//evil.example", "https://evil.example", "/office//evil", "/office/../shop", "/officer", "/office\\evil", "/shop"]
)
def test_nobody_is_led_elsewhere_after_signing_in(house: Server, after: str) -> None:
    answer = house.client().post("/office/sign-in", data={"name": "operator", "password": password_of(house), "next": after})
    assert (answer.status_code, answer.headers["location"]) == (303, "/office")


def test_the_cookie_is_for_the_back_office_alone_and_no_script_sees_it(house: Server) -> None:
    answer = house.client().post("/office/sign-in", data={"name": "admin@example.com", "password": password_of(house)})
    parts = set(answer.headers["set-cookie"].split("; ")[1:])
    assert {"Path=/office", "HttpOnly", "SameSite=Strict", "Max-Age=43200"} <= parts


def test_over_https_the_cookie_never_travels_without() -> None:
    from kassa.kit.secrets import Keys
    from kassa.pages.office.session import drop_token, leave_token
    from kassa.pages.options import PageOptions

    options = PageOptions(("office",), Keys(bytes(32)), secure=True)
    assert b"; Secure" in leave_token(options, "token")[1]
    assert b"; Secure" in drop_token(options)[1]


def test_a_wrong_password_and_an_unknown_name_look_the_same(house: Server) -> None:
    client = house.client()
    pages = [client.post("/office/sign-in", data={"name": name, "password": "not-the-password"}) for name in ("admin", "nobody")]
    assert [page.status_code for page in pages] == [422, 422]
    assert pages[0].text.replace('value="admin"', 'value="nobody"') == pages[1].text
    assert WRONG in pages[0].text
    assert "not-the-password" not in pages[0].text


def test_an_account_is_tried_ten_times_in_a_quarter_of_an_hour_and_a_restart_changes_nothing(house: Server) -> None:
    def attempt(password: str) -> httpx2.Response:
        return house.client().post("/office/sign-in", data={"name": "operator", "password": password})

    assert [attempt(f"guess {number}").status_code for number in range(10)] == [422] * 10
    house.restart()
    refused = attempt(password_of(house))
    assert refused.status_code == 429
    assert 800 <= int(refused.headers["retry-after"]) <= 900
    other = house.client().post("/office/sign-in", data={"name": "admin", "password": password_of(house)})
    assert other.status_code == 303, "another account is not held up"
    house.sql("UPDATE staff_tries SET since = since - interval '16 minutes'")
    assert attempt(password_of(house)).status_code == 303


def test_an_address_is_tried_thirty_times_whatever_names_it_tries(house: Server) -> None:
    client = house.client()
    house.sql("DELETE FROM staff_tries")
    answers = [
        client.post("/office/sign-in", data={"name": f"name{number}", "password": "x" * 12}).status_code for number in range(31)
    ]
    assert answers == [422] * 30 + [429]
    kept = house.sql("SELECT kind, key FROM staff_tries")
    assert not any(b"name1" in row["key"] for row in kept), "what was typed is kept as a keyed hash"


def test_knowing_the_password_forgets_the_guesses(house: Server) -> None:
    client = house.client()
    for password in ("wrong", "wrong", password_of(house)):
        client.post("/office/sign-in", data={"name": "operator", "password": password})
    assert house.sql("SELECT kind, tries FROM staff_tries") == [{"kind": "address", "tries": 2}]


def test_signing_in_is_no_guess_of_the_address(house: Server) -> None:
    """Many people may sit behind one."""
    for _ in range(3):
        clerk(house)
    assert house.sql("SELECT kind FROM staff_tries") == []


def test_a_session_that_was_there_before_is_not_the_one_of_whoever_signs_in(house: Server) -> None:
    """Session fixation: a cookie that somebody has put into the browser is worth nothing afterwards."""
    planted = clerk(house, "operator")
    before = token_of(planted)
    planted.sign_in("admin")
    assert token_of(planted) != before
    old = Clerk(house)
    old.client.cookies.set("kassa_office", before, path="/office")
    assert old.open("/office/sessions").title.startswith("Sign in")


def test_signing_out_ends_the_session_at_the_server(house: Server) -> None:
    browser = clerk(house)
    kept = token_of(browser)
    browser.open("/office/sessions")
    browser.press("/office/sign-out")
    assert browser.address == "/office/sign-in"
    copy = Clerk(house)
    copy.client.cookies.set("kassa_office", kept, path="/office")
    assert copy.open("/office/sessions").title.startswith("Sign in")


def test_signing_out_everywhere_ends_the_others_too(house: Server) -> None:
    one, two, stranger = clerk(house), clerk(house), clerk(house, "admin")
    one.open("/office/sessions")
    assert "this one" in one.page.text
    one.send(next(form for form in one.page.forms if form.action == "/office/sessions" and form is not one.page.forms[0]))
    for browser in (one, two):
        assert browser.open("/office/sessions").title.startswith("Sign in")
    assert stranger.open("/office/sessions").title.startswith("My sessions")


def test_a_changed_password_ends_every_other_session(house: Server) -> None:
    house.sql("DELETE FROM staff_accounts WHERE name = 'olga'")
    admin = clerk(house, "admin")
    admin.open("/office/people")
    new = {"name": "olga", "email": "olga@example.com", "role": "staff", "why": "a new colleague"}
    admin.press("/office/people", new | {"password": "short"})
    assert admin.status == 422
    assert "12 to 200 characters" in admin.page.text
    admin.press("/office/people", new | {"password": "a first password"})
    assert admin.status == 200
    here, there = clerk(house, "olga", "a first password"), clerk(house, "olga", "a first password")
    here.open("/office/password")
    here.press("/office/password", {"present": "not it", "password": "another password", "again": "another password"})
    assert here.status == 422
    assert "another password" not in here.html
    here.press("/office/password", {"present": "a first password", "password": "another password", "again": "another password"})
    assert here.address == "/office/sessions"
    assert here.open("/office/sessions").title.startswith("My sessions")
    assert there.open("/office/sessions").title.startswith("Sign in")
    [row] = house.sql("SELECT account_id::text AS id FROM staff_accounts WHERE name = 'olga'")
    acts = [act for _, act, _ in lines_of(house, f"staff:{row['id']}")]
    assert acts[0] == "staff.add"
    assert acts[-1] == "staff.password"


def test_a_closed_account_is_out_at_once_and_looks_like_a_wrong_password(house: Server) -> None:
    admin = clerk(house, "admin")
    admin.open("/office/people")
    fields = {"name": "pavel", "email": "pavel@example.com", "role": "staff", "why": "for a week", "password": "for one week only"}
    admin.press("/office/people", fields)
    pavel = clerk(house, "pavel", "for one week only")
    assert pavel.open("/office/sessions").title.startswith("My sessions")
    admin.follow("pavel")
    admin.send(
        admin.page.forms[-2] if admin.page.forms[-1].action == "/office/sign-out" else admin.page.forms[-1],
        why="the week is over",
        word="disable",
    )
    assert "closed" in admin.page.text
    assert pavel.open("/office/sessions").title.startswith("Sign in")
    pavel.sign_in("pavel", "for one week only")
    assert WRONG in pavel.page.text


def test_the_last_admin_cannot_be_closed(house: Server) -> None:
    admin = clerk(house, "admin")
    admin.open("/office/people")
    admin.follow("admin")
    form = next(each for each in admin.page.forms if each.action.startswith("/office/people/"))
    admin.send(form, why="by mistake", word="disable")
    assert admin.status == 422
    assert "only admin" in admin.page.text
    assert house.sql("SELECT disabled_at FROM staff_accounts WHERE name = 'admin'") == [{"disabled_at": None}]


def test_a_session_ends_after_half_an_hour_without_a_page_and_after_twelve_hours(house: Server) -> None:
    idle, busy = clerk(house), clerk(house, "admin")
    for _ in range(25):
        house.sql("SELECT kassa_move_clock(interval '29 minutes')")
        if not busy.open("/office/sessions").title.startswith("My sessions"):
            break
    [row] = house.sql(
        "SELECT extract(epoch FROM max(seen_at) - min(created_at))::int AS s FROM staff_sessions s WHERE created_at = (SELECT max(created_at) FROM staff_sessions)"
    )
    assert 11.5 * 3600 <= row["s"] <= 12 * 3600, "seen again and again, it lives for twelve hours"
    assert busy.page.title.startswith("Sign in")
    assert idle.open("/office/sessions").title.startswith("Sign in")
    fresh = clerk(house)
    house.sql("SELECT kassa_move_clock(interval '31 minutes')")
    assert fresh.open("/office/sessions").title.startswith("Sign in")


def test_no_password_is_in_the_log_or_in_a_table(house: Server) -> None:
    clerk(house, "admin")
    assert password_of(house) not in house.log_text().replace(f"password {password_of(house)}", "")
    rows = house.sql("SELECT password_hash FROM staff_accounts WHERE name IN ('admin', 'operator')")
    assert all(row["password_hash"].startswith("scrypt$32768$8$1$") for row in rows)
    assert "a first password" not in house.log_text()
