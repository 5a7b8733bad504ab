"""The yardstick of row 2: the checkout service as it is usually written, kept small and honest.

FastAPI, pydantic, SQLAlchemy's async ORM on asyncpg, and a new httpx client for each call: the stack that the README of the
checkout contract names. One row a checkout, committed before the first call and again after the last one; no token, no idempotency
key, no stock, no ledger, no events. It does far less than Kassa does for the same answer. Its server is uvicorn with uvloop and
httptools and without an access log, as Kassa's is.
"""
