"""One story of an order or a payment: what happened, what was done, who was told, as one numbered list. It only looks."""

from kassa.timeline.model import Entry, Story, StoryMissing
from kassa.timeline.read import read_buyers_story, read_story, tellings_of, whose

__all__ = ["Entry", "Story", "StoryMissing", "read_buyers_story", "read_story", "tellings_of", "whose"]
