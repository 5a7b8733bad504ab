"""The gRPC payment service as its callers know it: generated messages and stubs, a typed client, and a server to run.

`payments_pb2` and `payments_pb2_grpc` are made from `proto/payments.proto` by `make proto`. Only `server` needs the rest of Kassa.
"""
