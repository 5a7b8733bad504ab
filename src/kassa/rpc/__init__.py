"""gRPC: the surface for other services. It translates and calls, nothing more."""
