"""Deterministic histories: the real saga on a database in memory, with strangers that lie, processes that die, and a clock that is not one.

`python -m tests.histories --seconds 60 --seed 1` plays as many as it can. See docs/decisions/0032-histories-run-the-real-statements-in-memory.md.
"""
