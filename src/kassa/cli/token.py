"""`kassa token`: a JWT to try the APIs with."""

from __future__ import annotations

import re
import sys
import time
from typing import Annotated, Literal

import typer

from kassa.cli.show import AsJson, CommandError, say_json
from kassa.settings import Settings

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_S = 366 * 86400


def token(
    user: Annotated[str, typer.Option(help="The buyer's id.")] = "1",
    role: Annotated[Literal["user", "staff", "admin"], typer.Option(help="What the user may do.")] = "user",
    ttl: Annotated[str, typer.Option(help="How long it is good for: 90s, 30m, 12h, 7d.")] = "12h",
    email: Annotated[str | None, typer.Option(help="Where the buyer is written to.  [default: buyer<id>@example.com]")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a token of a buyer, or of the shop's staff.

    It is signed with JWT_SECRET, or with the development secret of this folder, so it works beside a running `kassa dev`.

    ```sh
    TOKEN=$(kassa token --user 1)
    curl -H "Authorization: Bearer $TOKEN" localhost:8000/api/cart
    STAFF=$(kassa token --user 900 --role staff --ttl 8h)
    ```
    """
    settings, now = Settings.load(True, need=("JWT_SECRET",)), int(time.time())
    expires = now + seconds(ttl)
    made = make_token(settings, user, role, expires, issued=now, email=email)
    if as_json:
        say_json({"token": made, "user": user, "role": role, "expires_at": expires})
    else:
        sys.stdout.write(made + "\n")


def make_token(settings: Settings, user: str, role: str, expires: int, issued: int | None = None, email: str | None = None) -> str:
    """A token of this installation, as `issue_token` makes it; `expires` and `issued` (now, if None) in seconds since 1970."""
    from kassa.kit.tokens import issue_token

    return issue_token(
        settings.jwt_secret,
        settings.jwt_algorithm,
        user,
        role,
        issued=int(time.time()) if issued is None else issued,
        expires=expires,
        email=email,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
    )


def seconds(text: str) -> int:
    """`90s`, `30m`, `12h`, `7d` in seconds. Raises `CommandError` for anything else, and for more than a year."""
    found = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text.strip())
    if found is None or (length := int(found[1]) * _UNIT_S[found[2]]) > _LONGEST_S:
        raise CommandError(f"--ttl {text[:20]} is not a time of at most a year, such as 90s, 30m, 12h or 7d")
    return length
