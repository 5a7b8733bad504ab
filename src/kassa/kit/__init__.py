"""Floor 1: what every room uses and no business noun names."""
