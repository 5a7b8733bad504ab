"""The ambassadors service as its callers and its stand-ins know it: generated messages and stubs.

`ambassador_pb2` and `ambassador_pb2_grpc` are made from `proto/ambassador.proto` by `make proto`.
"""
