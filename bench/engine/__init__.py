"""The yardstick of row 3: a published commerce engine on Node, with a shop like ours on the same PostgreSQL, driven alike."""
