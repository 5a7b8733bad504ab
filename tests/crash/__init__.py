"""Processes that die at every moment, and what must be true afterwards."""
