"""What the pages need to be told. Bootstrap fills it; nothing here reads the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kassa.kit.neighbour import Neighbour
from kassa.kit.secrets import Keys

GROUPS = ("shop", "buyer", "office", "develop")
"""The groups of pages that can be served (`PAGES`)."""


@dataclass(frozen=True, slots=True)
class PageOptions:
    """The set-up of the pages of one process.

    `groups`: which of `GROUPS` are served. `keys`: seal cookies and sign forms. `secure`: browsers come by https, so no cookie
    travels without. `sandbox`: whether the sandbox runs here; `bank` is its doors, to play the bank from the pay page.
    `public_url`: how the world reaches this server, where it is known. `surfaces`: the contracts that this process serves, and
    `docs`: whether it serves their documents. `demo_token`: makes a token of a user and a role to try things with, in
    development only. `approval_above`: by currency, the amount in minor units above which an act at the back office needs a
    second admin.
    """

    groups: tuple[str, ...]
    keys: Keys
    secure: bool = False
    sandbox: bool = False
    public_url: str | None = None
    bank: Neighbour | None = None
    surfaces: tuple[str, ...] = ()
    docs: bool = False
    demo_token: Callable[[str, str], str] | None = field(default=None, repr=False)
    approval_above: Mapping[str, int] = field(default_factory=dict)
