"""Passwords are kept as scrypt hashes with salts of their own. A hash takes some 60 ms and 32 MiB, in a thread, two at a time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from functools import cache

_N, _R, _P = 2**15, 8, 1
_MEMORY = 128 * 1024 * 1024
_SALT = 16
_AT_ONCE = 2


async def hashed(password: str) -> str:
    """What is kept of a password: `scrypt$n$r$p$salt$hash`."""
    salt = os.urandom(_SALT)
    made = await _in_thread(password, salt, _N, _R, _P)
    return f"scrypt${_N}${_R}${_P}${_text(salt)}${_text(made)}"


async def is_password(kept: str | None, password: str) -> bool:
    """Whether it is this one. Without anything kept (nobody of that name) it takes as long, and is not."""
    _, n, r, p, salt, made = (kept or _nobody()).split("$")
    found = await _in_thread(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(made)) and kept is not None


async def _in_thread(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    def make() -> bytes:
        return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)

    async with _turn():
        return await asyncio.to_thread(make)


_turns: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}


def _turn() -> asyncio.Semaphore:
    """A flood of tries must not take all memory and both cores."""
    loop = asyncio.get_running_loop()
    for over in [each for each in _turns if each.is_closed()]:
        del _turns[over]
    return _turns.setdefault(loop, asyncio.Semaphore(_AT_ONCE))


@cache
def _nobody() -> str:
    return f"scrypt${_N}${_R}${_P}${_text(os.urandom(_SALT))}${_text(os.urandom(32))}"


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
