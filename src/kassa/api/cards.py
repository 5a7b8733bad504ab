"""Cards that are not tried because there were too many tries: counted for the operator, without a word about whose they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from kassa.api import metrics
from kassa.cardwatch import TooManyTries


@contextlib.contextmanager
def refusals_counted() -> Iterator[None]:
    """While the block runs, a card that is not tried is counted, and its error goes on to the caller."""
    try:
        yield
    except TooManyTries as error:
        metrics.note_refused_card(error.by)
        raise
