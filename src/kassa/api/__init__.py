"""The HTTP surfaces: each contract in a folder of its own, strangers to each other, behind the same layers."""

from kassa.api.app import create_app
from kassa.api.options import ApiOptions, TokenRules

__all__ = ["ApiOptions", "TokenRules", "create_app"]
