"""Payme's Merchant API from outside: what Payme's servers send, and what they may rely on."""
