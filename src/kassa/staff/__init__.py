"""People of the back office: who they are, and where they are signed in."""

from kassa.staff.passwords import hashed
from kassa.staff.people import add_account, end_sessions, give_password, switch_account
from kassa.staff.sign_in import find_session, sign_in
from kassa.staff.store import account, accounts_of, sessions_of, sweep

__all__ = [
    "account",
    "accounts_of",
    "add_account",
    "end_sessions",
    "find_session",
    "give_password",
    "hashed",
    "sessions_of",
    "sign_in",
    "sweep",
    "switch_account",
]
