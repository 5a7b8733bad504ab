"""The orders contract, line by line, from outside."""
