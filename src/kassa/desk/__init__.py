"""What the back office shows: today's money, what waits for a person, what a search finds, lists and papers. It only looks.

Like `verify` it asks tables of several rooms, because its questions go across them; what one room answers by its face is asked
there. Every question names a merchant, or says that it is an operator's over all of them. `lists` are read a page at a time,
`question` reads what somebody typed, `mask` hides what must not be shown.
"""

from kassa.desk import lists, mask, question
from kassa.desk.doubt import count_waiting, list_waiting
from kassa.desk.money import read_day
from kassa.desk.papers import find_delivery, read_papers
from kassa.desk.search import find
from kassa.desk.states import read_states
from kassa.desk.system import read_queues, read_system

__all__ = [
    "count_waiting",
    "find",
    "find_delivery",
    "list_waiting",
    "lists",
    "mask",
    "question",
    "read_day",
    "read_papers",
    "read_queues",
    "read_states",
    "read_system",
]
