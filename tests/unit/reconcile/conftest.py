"""Properties are tried on the same examples in every run, however slow the machine is."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("kassa", deadline=None, derandomize=True, database=None)
settings.load_profile("kassa")
