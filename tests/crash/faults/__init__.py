"""The scenarios, a file for each chapter of the catalogue. Loading this registers them all."""

from __future__ import annotations

import importlib
import pkgutil

for found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{found.name}")
