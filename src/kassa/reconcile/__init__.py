"""A provider's statement against our payments, row by row; each difference is a case until a person or a later run ends it."""

from kassa.reconcile.model import TYPES, BadStatement, Difference, Period, Row
from kassa.reconcile.read_book import read_book
from kassa.reconcile.read_csv import read_csv
from kassa.reconcile.run import Report, Wish, reconcile

__all__ = ["TYPES", "BadStatement", "Difference", "Period", "Report", "Row", "Wish", "read_book", "read_csv", "reconcile"]
