"""An event: something that happened, told in a stable published shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """`type` happened to `subject` (`payment:<id>`, `order:<id>`, `checkout:<id>`).

    `data` is plain JSON material: no name, e-mail, address or secret. Its number within the subject is given when
    the transaction ends.
    """

    merchant_id: str
    subject: str
    type: str
    data: Mapping[str, Any]
