"""Kassa: cart, checkout, payment, order, delivery, exactly once."""

__version__ = "0.1.0"
