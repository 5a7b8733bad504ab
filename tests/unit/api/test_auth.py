"""Only a token of ours names a caller."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from kassa.api import auth
from kassa.api.auth import Tokens
from kassa.api.errors import Unauthorized
from kassa.api.options import TokenRules

from .asking import SECRET

TOKENS = Tokens(TokenRules(SECRET))
LATER = int(time.time()) + 600


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(claims: Any, header: Any = None, secret: bytes = SECRET) -> str:
    said = f"{part({'alg': 'HS256', 'typ': 'JWT'} if header is None else header)}.{part(claims)}"
    return f"{said}.{part(hmac.new(secret, said.encode(), hashlib.sha256).digest())}"


def claims(**changes: Any) -> dict[str, Any]:
    return {"id": 7, "exp": LATER, **changes}


def caller(token: str) -> Any:
    return TOKENS.caller([f"Bearer {token}"])


def raw_claims(text: str) -> bytes:
    return text.replace("LATER", str(LATER)).encode()


GOOD = forged(claims())
HOSTILE = {
    "no dots": "abc",
    "only dots": "..",
    "not base64": "!.!.!",
    "four parts": GOOD + ".AAAA",
    "a dot behind": GOOD + ".",
    "no signature": GOOD.rpartition(".")[0] + ".",
    "cut signature": GOOD[:-5],
    "other secret": forged(claims(), secret=b"x" * 40),
    "alg none": forged(claims(), {"alg": "none"}),
    "alg NONE": forged(claims(), {"alg": "NONE"}),
    "alg HS512": forged(claims(), {"alg": "HS512"}),
    "alg RS256": forged(claims(), {"alg": "RS256"}),
    "alg a list": forged(claims(), {"alg": ["HS256"]}),
    "alg null": forged(claims(), {"alg": None}),
    "no alg": forged(claims(), {"typ": "JWT"}),
    "header a list": forged(claims(), ["HS256"]),
    "header not JSON": forged(claims(), b"alg=HS256"),
    "crit exp": forged(claims(), {"alg": "HS256", "crit": ["exp"], "exp": LATER}),
    "crit empty": forged(claims(), {"alg": "HS256", "crit": []}),
    "crit b64": forged(claims(), {"alg": "HS256", "crit": ["b64"], "b64": False}),
    "claims a list": forged([1]),
    "claims a number": forged(1),
    "claims not UTF-8": forged(b'{"id": 1, "exp": 9999999999, "x": "\xff"}'),
    "no exp": forged({"id": 7}),
    "exp null": forged({"id": 7, "exp": None}),
    "exp text": forged(claims(exp=str(LATER))),
    "exp true": forged(claims(exp=True)),
    "exp a list": forged(claims(exp=[LATER])),
    "exp over": forged(claims(exp=int(time.time()) - 1)),
    "exp now": forged(claims(exp=int(time.time()))),
    "exp NaN": forged(b'{"id": 7, "exp": NaN}'),
    "exp endless": forged(b'{"id": 7, "exp": Infinity}'),
    "exp overflowing": forged(b'{"id": 7, "exp": 1e999}'),
    "nbf later": forged(claims(nbf=LATER)),
    "nbf text": forged(claims(nbf="now")),
    "nbf true": forged(claims(nbf=True)),
    "nobody": forged({"exp": LATER}),
    "id true": forged(claims(id=True)),
    "id 1.0": forged(claims(id=1.0)),
    "id empty": forged(claims(id="")),
    "id empty, sub good": forged(claims(id="", sub="x")),
    "id too long": forged(claims(id="u" * 256)),
    "id of 300 digits": forged(raw_claims('{"id": ' + "9" * 300 + ', "exp": LATER}')),
    "id of 5000 digits": forged(raw_claims('{"id": ' + "9" * 5000 + ', "exp": LATER}')),
    "id with NUL": forged(claims(id="a\x00b")),
    "id of half a character": forged(raw_claims('{"id": "\\ud800", "exp": LATER}')),
    "id a list": forged(claims(id=[1])),
    "over 8 kB": forged(claims(pad="x" * 9000)),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_token_names_nobody(hostile: str) -> None:
    with pytest.raises(Unauthorized):
        caller(hostile)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        [GOOD],
        [f"Basic {GOOD}"],
        [f"Bearer {GOOD} {GOOD}"],
        [f'Bearer "{GOOD}"'],
        [f"Bearer {GOOD}"] * 2,
    ],
)
def test_a_token_is_shown_once_and_as_a_bearer(values: list[str]) -> None:
    with pytest.raises(Unauthorized):
        TOKENS.caller(values)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_has_no_case(scheme: str) -> None:
    assert TOKENS.caller([f"{scheme} {GOOD}"]).user == "7"


@pytest.mark.parametrize(
    ("said", "user"),
    [
        (claims(), "7"),
        (claims(id="7"), "7"),
        (claims(id=None, sub="7"), "7"),
        (claims(id=4711, sub="other"), "4711"),
        (claims(id=-5), "-5"),
        (claims(id="यूज़र"), "यूज़र"),
        (claims(id="u" * 255), "u" * 255),
        (claims(nbf=1), "7"),
        (claims(exp=LATER + 0.5), "7"),
        (claims(exp=10**400), "7"),
    ],
)
def test_an_honest_token_names_its_user(said: dict[str, Any], user: str) -> None:
    assert caller(forged(said)).user == user


@pytest.mark.parametrize(
    "extra", [{"kid": "/dev/null"}, {"jku": "http://127.0.0.1:9/"}, {"x5u": "http://127.0.0.1:9/"}, {"whatever": 1}]
)
def test_what_a_header_asks_for_is_not_looked_at(extra: dict[str, Any]) -> None:
    assert caller(forged(claims(), {"alg": "HS256", **extra})).user == "7"


@pytest.mark.parametrize(
    ("said", "role"), [("staff", "staff"), ("admin", "admin"), ("Staff", "user"), (["staff"], "user"), (None, "user"), (1, "user")]
)
def test_a_role_is_staff_admin_or_nothing(said: Any, role: str) -> None:
    found = caller(forged(claims(role=said)))
    assert (found.role, found.is_staff) == (role, role != "user")


def test_issuer_and_audience_are_checked_where_they_are_set() -> None:
    strict = Tokens(TokenRules(SECRET, issuer="https://id.example.com", audience="kassa"))
    known = {"iss": "https://id.example.com", "aud": "kassa"}
    assert strict.caller([f"Bearer {forged(claims(**known))}"]).user == "7"
    assert strict.caller([f"Bearer {forged(claims(**{**known, 'aud': ['x', 'kassa']}))}"]).user == "7"
    for wrong in (
        {},
        {"iss": known["iss"]},
        {"aud": "kassa"},
        {**known, "iss": "x"},
        {**known, "aud": "x"},
        {**known, "aud": ["x"]},
    ):
        with pytest.raises(Unauthorized):
            strict.caller([f"Bearer {forged(claims(**wrong))}"])


def test_who_is_who_stays_out_of_what_is_printed() -> None:
    found = caller(forged(claims(email="asha@example.com", first_name="Asha", last_name="Rao")))
    assert (found.email, found.name) == ("asha@example.com", "Asha Rao")
    assert "asha" not in repr(found).lower()
    assert "secret" not in repr(TokenRules(SECRET))


@pytest.mark.parametrize("email", ["nobody", "a b@example.com", "@", 7, None, "x" * 300 + "@example.com", "a\x00@example.com"])
def test_a_claim_that_is_no_address_is_left_out(email: Any) -> None:
    assert caller(forged(claims(email=email))).email is None


def test_looking_at_a_token_is_quick() -> None:
    rounds = 300
    began = time.perf_counter()
    for _ in range(rounds):
        caller(GOOD)
    assert (time.perf_counter() - began) / rounds < 0.001


def test_a_good_signature_is_looked_for_once_and_the_claims_are_judged_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    decode = auth.jwt.decode
    monkeypatch.setattr(auth.jwt, "decode", lambda token, *rest, **named: (asked.append(token), decode(token, *rest, **named))[1])
    tokens, token = Tokens(TokenRules(SECRET)), forged(claims(nbf=LATER - 300))
    monkeypatch.setattr(auth.time, "time", lambda: LATER - 200.0)
    for _ in range(3):
        assert tokens.caller([f"Bearer {token}"]).user == "7"
    assert asked == [token]
    for moment, reason in ((LATER + 1.0, "expired"), (LATER - 301.0, "not valid yet")):
        monkeypatch.setattr(auth.time, "time", lambda moment=moment: moment)
        with pytest.raises(Unauthorized) as refused:
            tokens.caller([f"Bearer {token}"])
        assert reason in refused.value.why


def test_a_bad_signature_is_never_remembered_and_the_good_ones_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_REMEMBERED", 3)
    tokens = Tokens(TokenRules(SECRET))
    bad = HOSTILE["other secret"]
    for _ in range(2):
        with pytest.raises(Unauthorized):
            tokens.caller([f"Bearer {bad}"])
    assert tokens._claims_of.cache_info().currsize == 0
    for user in range(10):
        tokens.caller([f"Bearer {forged(claims(id=user))}"])
    assert tokens._claims_of.cache_info().currsize == 3
