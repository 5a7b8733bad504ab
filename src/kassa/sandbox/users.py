"""The user service of `orders.md` section 7: a profile for every id, made up on the spot."""

from __future__ import annotations

import re

from kassa.sandbox.model import Act, Call, Reply, Tx, say

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_NOT_IN_MAIL = re.compile(r"[^A-Za-z0-9._-]")


def get_user(_tx: Tx, call: Call) -> Reply:
    """Address and name of a buyer. Any bearer will do; without one: 401."""
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return say(401, {"success": False, "message": "Unauthorized"})
    user = call.params["user_id"]
    shown = int(user) if _NUMBER.fullmatch(user) else user
    email = f"user{_NOT_IN_MAIL.sub('-', user)}@example.com"
    return say(200, {"id": shown, "email": email, "name": f"User {user}"})


ACTS = (Act("user", "get", "GET", "/api/users/{user_id}", get_user),)
