"""Random keys of this installation's own, sealed with `KASSA_SECRET` in the database.

They outlive a rotation of the secret: only their seal is made anew. And they tell whether a process has the secret that this
database was begun with, because with another one they do not open.
"""

from __future__ import annotations

import os

from kassa.kit.database import Reader
from kassa.kit.secrets import Keys

AUDIT = "audit"
"""The key under which the lines of the audit log are hashed."""
BYTES = 32


class WrongSecret(Exception):
    """KASSA_SECRET is not the one that this database was begun with, and KASSA_SECRET_OLD does not open it either."""

    def __str__(self) -> str:
        return (
            "KASSA_SECRET is not the one that this database was begun with: give all processes the same one "
            "(after a change, the one before as KASSA_SECRET_OLD)"
        )


async def own_key(reader: Reader, keys: Keys, name: str = AUDIT) -> bytes:
    """The key called `name`, made when there is none; any number of processes at once get the same one. Raises `WrongSecret`."""
    sealed = await reader.value("SELECT sealed FROM sealed_keys WHERE name = $1", name)
    if sealed is None:
        await reader.execute(
            "INSERT INTO sealed_keys (name, sealed, made_at) VALUES ($1, $2, kassa_now()) ON CONFLICT (name) DO NOTHING",
            name, keys.seal(os.urandom(BYTES), about(name)),
        )  # fmt: skip
        sealed = await reader.value("SELECT sealed FROM sealed_keys WHERE name = $1", name)
    key = keys.unseal(bytes(sealed), about(name))
    if key is None:
        raise WrongSecret
    return key


def about(name: str) -> bytes:
    """What the seal of a key is bound to."""
    return b"own key\x00" + name.encode()
