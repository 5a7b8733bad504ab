"""Tokens by hand: honest ones, and a corpus of hostile ones.

Written without a JWT library on purpose, so that every lie can be told exactly.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

Claims = dict[str, Any]
ATTACKERS_SECRET = "attackers-own-secret-0123456789abcdef"


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def part(value: object) -> str:
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def signature(signed: str, secret: str, digest: str = "sha256") -> str:
    return b64(hmac.new(secret.encode(), signed.encode(), getattr(hashlib, digest)).digest())


def in_an_hour() -> int:
    return int(time.time()) + 3600


def claims(**changes: object) -> Claims:
    """What an honest token says; a change to None takes the claim out."""
    said = {"id": 4711, "exp": in_an_hour(), **changes}
    return {name: value for name, value in said.items() if value is not None}


def jwt(said: object, secret: str, header: object = None, digest: str = "sha256") -> str:
    """A signed token with exactly this header and payload."""
    head = {"alg": "HS256", "typ": "JWT"} if header is None else header
    signed = f"{part(head)}.{part(said)}"
    return f"{signed}.{signature(signed, secret, digest)}"


def unsigned(header: Claims) -> str:
    return f"{part(header)}.{part(claims())}."


def with_header(**members: object) -> Claims:
    return {"alg": "HS256", "typ": "JWT", **members}


def own_key() -> Claims:
    return {"kty": "oct", "k": b64(ATTACKERS_SECRET.encode()), "alg": "HS256"}


def signed_with_an_rsa_key(_secret: str) -> str:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = key.public_key().public_numbers()
    jwk = {
        "kty": "RSA",
        "n": b64(numbers.n.to_bytes(256, "big")),
        "e": b64(numbers.e.to_bytes(3, "big")),
    }
    signed = f"{part({'alg': 'RS256', 'typ': 'JWT', 'jwk': jwk})}.{part(claims())}"
    return f"{signed}.{b64(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def encrypted(_secret: str) -> str:
    """Five parts, and a key derivation that would take minutes."""
    header = {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2s": "c2FsdA", "p2c": 2**31 - 1}
    return ".".join([part(header), b64(b"k" * 24), b64(b"i" * 12), b64(b"c" * 16), b64(b"t" * 16)])


def other_last_letter(token: str) -> str:
    """The same token with a signature that differs in its first letter."""
    head, payload, signed = token.split(".")
    return f"{head}.{payload}.{'A' if signed[0] != 'A' else 'B'}{signed[1:]}"


Forgery = Callable[[str], str]
HOSTILE: dict[str, Forgery] = {
    # algorithms
    "alg none": lambda s: unsigned({"alg": "none"}),
    "alg None": lambda s: unsigned({"alg": "None"}),
    "alg NONE": lambda s: unsigned({"alg": "NONE"}),
    "alg nOnE": lambda s: unsigned({"alg": "nOnE"}),
    "alg none, well signed": lambda s: jwt(claims(), s, {"alg": "none"}),
    "alg empty": lambda s: jwt(claims(), s, {"alg": ""}),
    "alg absent": lambda s: jwt(claims(), s, {"typ": "JWT"}),
    "alg null": lambda s: jwt(claims(), s, {"alg": None}),
    "alg a list": lambda s: jwt(claims(), s, {"alg": ["HS256"]}),
    "alg in small letters": lambda s: jwt(claims(), s, {"alg": "hs256"}),
    "alg HS384": lambda s: jwt(claims(), s, {"alg": "HS384"}, "sha384"),
    "alg HS512": lambda s: jwt(claims(), s, {"alg": "HS512"}, "sha512"),
    "alg RS256, signed with the secret": lambda s: jwt(claims(), s, {"alg": "RS256"}),
    "alg RS256, key inside": signed_with_an_rsa_key,
    "alg ES256": lambda s: jwt(claims(), s, {"alg": "ES256"}),
    "encrypted": encrypted,
    # headers that ask for something
    "crit exp": lambda s: jwt(claims(), s, with_header(crit=["exp"])),
    "crit unknown": lambda s: jwt(claims(), s, with_header(crit=["x"], x=1)),
    "crit empty": lambda s: jwt(claims(), s, with_header(crit=[])),
    "crit b64": lambda s: jwt(claims(), s, with_header(crit=["b64"], b64=False)),
    "jwk of the attacker": lambda s: jwt(claims(), ATTACKERS_SECRET, with_header(jwk=own_key())),
    "kid of an empty file": lambda s: jwt(claims(), "", with_header(kid="/dev/null")),
    "kid that is SQL": lambda s: jwt(claims(), "a", with_header(kid="' union select 'a' --")),
    # secrets and signatures
    "wrong secret": lambda s: jwt(claims(), ATTACKERS_SECRET),
    "empty secret": lambda s: jwt(claims(), ""),
    "secret with a new line": lambda s: jwt(claims(), s + "\n"),
    "first letter of the signature changed": lambda s: other_last_letter(jwt(claims(), s)),
    "signature cut short": lambda s: jwt(claims(), s)[:-6],
    "signature absent": lambda s: jwt(claims(), s).rpartition(".")[0] + ".",
    "payload of another token": lambda s: ".".join(
        [*jwt(claims(), s).split(".")[:1], part(claims(id=1)), jwt(claims(), s).split(".")[2]]
    ),
    # shapes
    "two parts": lambda s: jwt(claims(), s).rpartition(".")[0],
    "one part": lambda s: part(claims()),
    "an extra dot behind": lambda s: jwt(claims(), s) + ".",
    "an extra dot before": lambda s: "." + jwt(claims(), s),
    "four parts": lambda s: jwt(claims(), s) + ".AAAA",
    "only dots": lambda s: "..",
    "not base64": lambda s: "!!!.???.***",
    "header not JSON": lambda s: jwt(claims(), s, b"alg=HS256"),
    "header a list": lambda s: jwt(claims(), s, ["HS256"]),
    "payload not JSON": lambda s: jwt(b"id=1", s),
    "payload a list": lambda s: jwt([1], s),
    "payload a number": lambda s: jwt(1, s),
    "payload not UTF-8": lambda s: jwt(b'{"id": 1, "exp": 9999999999, "x": "\xff"}', s),
    "over 8 kB": lambda s: jwt(claims(pad="x" * 9000), s),
    # times
    "no exp": lambda s: jwt(claims(exp=None), s),
    "exp null": lambda s: jwt({"id": 1, "exp": None}, s),
    "exp as text": lambda s: jwt(claims(exp=str(in_an_hour())), s),
    "exp true": lambda s: jwt(claims(exp=True), s),
    "exp a list": lambda s: jwt(claims(exp=[in_an_hour()]), s),
    "exp a second ago": lambda s: jwt(claims(exp=int(time.time()) - 1), s),
    "exp long ago": lambda s: jwt(claims(exp=1), s),
    "exp below zero": lambda s: jwt(claims(exp=-1), s),
    "nbf in a minute": lambda s: jwt(claims(nbf=int(time.time()) + 60), s),
    "nbf as text": lambda s: jwt(claims(nbf="now"), s),
    # nobody
    "no user": lambda s: jwt(claims(id=None), s),
    "id null": lambda s: jwt({"id": None, "exp": in_an_hour()}, s),
    "id true": lambda s: jwt(claims(id=True), s),
    "id 1.5": lambda s: jwt(claims(id=1.5), s),
    "id 1.0": lambda s: jwt(claims(id=1.0), s),
    "id empty": lambda s: jwt(claims(id=""), s),
    "id too long": lambda s: jwt(claims(id="u" * 256), s),
    "id a list": lambda s: jwt(claims(id=[1]), s),
    "id an object": lambda s: jwt(claims(id={"id": 1}), s),
    "sub empty": lambda s: jwt(claims(id=None, sub=""), s),
    "sub too long": lambda s: jwt(claims(id=None, sub="u" * 256), s),
}
