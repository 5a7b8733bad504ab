"""The purchases contract, line by line: a cart of ambassadors, a checkout, Payme, a history."""
