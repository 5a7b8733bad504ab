"""What only this surface refuses."""

from __future__ import annotations

from kassa.kit.errors import Conflict


class AlreadyAnswered(Conflict):
    """This request was answered, with a secret that is shown once; it cannot be shown again"""  # noqa: D400 - as its neighbours

    code = "already_answered"
    advice = "It was done. Make another and remove that one, or rotate the secret."
