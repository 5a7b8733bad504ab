"""What the pages need to be told. Bootstrap fills it; nothing here reads the environment."""

from __future__ import annotations

from dataclasses import dataclass

from kassa.kit.secrets import Keys

GROUPS = ("shop", "buyer", "office", "develop")
"""The groups of pages that can be served (`PAGES`)."""


@dataclass(frozen=True, slots=True)
class PageOptions:
    """The set-up of the pages of one process.

    `groups`: which of `GROUPS` are served. `keys`: seal cookies and sign forms. `secure`: browsers come by https, so no cookie
    travels without. `sandbox`: whether the sandbox runs here, whose bank can be played from the pay page. `public_url`: how the
    world reaches this server, where it is known.
    """

    groups: tuple[str, ...]
    keys: Keys
    secure: bool = False
    sandbox: bool = False
    public_url: str | None = None
