"""Nobody in: what an attacker would try, made from the documents of the API so that no operation is forgotten."""
