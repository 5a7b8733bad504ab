"""The HTTP surfaces by themselves: no server, no database."""
