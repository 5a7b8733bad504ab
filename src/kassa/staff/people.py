"""Make accounts, give them passwords, let them in no more: by somebody's hand, each with its line in the audit log.

Whoever gets another password, or is disabled, is signed out everywhere by the same commit.
"""

from __future__ import annotations

import uuid

from kassa import audit
from kassa.audit import Hand
from kassa.kit.database import Tx
from kassa.staff import store
from kassa.staff.model import Account, AccountExists, AccountMissing, LastAdmin


async def add_account(tx: Tx, hand: Hand | None, merchant_id: str, name: str, email: str, role: str, password_hash: str) -> Account:
    """Add an account, whose name, address and password were looked at (`model`); no hand: demo data. Raises `AccountExists`."""
    made = await store.insert_account(tx, merchant_id, name, email, role, password_hash)
    if made is None:
        raise AccountExists
    if hand is not None:
        audit.note(tx, hand, merchant_id, "staff.add", f"staff:{made.account_id}", called=name, role=role)
    return made


async def give_password(
    tx: Tx, hand: Hand, merchant_id: str, account_id: uuid.UUID, password_hash: str, *, keep: uuid.UUID | None = None
) -> None:
    """Keep another password and end all sessions but `keep`. Raises `AccountMissing`."""
    if not await store.set_password(tx, merchant_id, account_id, password_hash):
        raise AccountMissing
    ended = await store.end_sessions(tx, merchant_id, account_id, but=keep)
    audit.note(tx, hand, merchant_id, "staff.password", f"staff:{account_id}", sessions_ended=ended)


async def switch_account(tx: Tx, hand: Hand, merchant_id: str, account_id: uuid.UUID, *, disabled: bool) -> bool:
    """Let an account in no more, or again; False when it is so already. Raises `AccountMissing`, `LastAdmin`."""
    admins = await store.lock_admins(tx, merchant_id)
    if await store.account(tx, merchant_id, account_id) is None:
        raise AccountMissing
    if disabled and admins == [account_id]:
        raise LastAdmin
    if not await store.set_disabled(tx, merchant_id, account_id, disabled=disabled):
        return False
    ended = await store.end_sessions(tx, merchant_id, account_id) if disabled else 0
    act = "staff.disable" if disabled else "staff.enable"
    audit.note(tx, hand, merchant_id, act, f"staff:{account_id}", sessions_ended=ended)
    return True


async def end_sessions(tx: Tx, hand: Hand, merchant_id: str, account_id: uuid.UUID, *, only: uuid.UUID | None = None) -> int:
    """Sign somebody out everywhere, or at one browser; returns how many sessions lived. Twice, the second ends none."""
    ended = await store.end_sessions(tx, merchant_id, account_id, only=only)
    if ended:
        audit.note(tx, hand, merchant_id, "staff.signout", f"staff:{account_id}", sessions_ended=ended)
    return ended
