"""A PostgreSQL of the few kinds of statement that Kassa says, in memory, for one event loop.

It runs the very text that the stores send, so no store has a second implementation that could drift. It knows row locks that are waited
for, READ COMMITTED, unique keys and checks, `WITH` parts that write, and deadlocks. What it does not know it refuses (`Unplayable`) and never
guesses. `tests/histories/test_memory.py` plays what a history said to it against a real PostgreSQL and compares every answer.
"""

from tests.histories.memory.expressions import Unplayable
from tests.histories.memory.server import Address, Connection, Host, Pool, Record, Said, Server

__all__ = ["Address", "Connection", "Host", "Pool", "Record", "Said", "Server", "Unplayable"]
