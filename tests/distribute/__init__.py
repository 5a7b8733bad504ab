"""What spreading the tables by merchant asks of every statement and every key, held without a server that can do it.

`trees.py` has PostgreSQL parse each statement and reads the tree it prints, `rules.py` says what Citus would refuse in it,
`statements.py` finds every statement that the program can say. See docs/decisions/0046-distribution-by-merchant.md.
"""
