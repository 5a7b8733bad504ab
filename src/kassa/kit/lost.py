"""What a database raises when it is not to be had, in three kinds: the connection is lost, it asks to try again, it refuses."""

from __future__ import annotations

import asyncpg

LOST = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server's farewell arrived while the connection lay idle
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidCatalogNameError,
)
"""Whether what was asked was done, nobody knows."""
TRY_AGAIN = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
"""Others stood in the way; nothing was done."""
REFUSED = (
    asyncpg.InsufficientResourcesError,  # its disk is full, its memory, its list of connections
    asyncpg.PostgresSystemError,  # its disk is broken
    asyncpg.ReadOnlySQLTransactionError,  # it is the standby of another one by now
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""The database itself is in trouble; nothing was done."""
