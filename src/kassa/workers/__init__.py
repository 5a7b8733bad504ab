"""What runs beside the surfaces: every N seconds, do Z."""

from kassa.workers.main import run

__all__ = ["run"]
