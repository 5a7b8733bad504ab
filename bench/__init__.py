"""The speed table: ratios of two things measured in turn, in one run, on one server, each with a correctness check."""
