"""The contract's own proto, and messages made from it at test time: nothing that Kassa generated is used to talk to Kassa.

The messages live in a pool of their own, so that the packaged modules can be imported beside them.
"""

from __future__ import annotations

import functools
import importlib.resources
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

SERVICE = "payments.v1.PaymentService"
PENDING, SUCCEEDED, FAILED = 1, 2, 3

PROTO = """\
syntax = "proto3";

package payments.v1;

import "google/protobuf/timestamp.proto";

// Takes payment requests, each exactly once per idempotency key.
service PaymentService {
  // Creates a payment, or returns the answer that the same key has already got.
  rpc RequestPayment(RequestPaymentRequest) returns (RequestPaymentResponse);
  // Returns a payment by its id.
  rpc GetPayment(GetPaymentRequest) returns (GetPaymentResponse);
  // Says that the service is up.
  rpc Health(HealthRequest) returns (HealthResponse);
}

enum PaymentStatus {
  PAYMENT_STATUS_UNSPECIFIED = 0;
  PAYMENT_STATUS_PENDING = 1;
  PAYMENT_STATUS_SUCCEEDED = 2;
  PAYMENT_STATUS_FAILED = 3;
}

message RequestPaymentRequest {
  int64 amount_minor = 1;            // in minor units of the currency: 1250 is 12.50 USD, and 1250 JPY
  string currency = 2;               // ISO 4217, any letter case
  string order_id = 3;               // the caller's reference
  string idempotency_key = 4;        // 8 to 255 characters
  map<string, string> metadata = 5;  // kept, not returned
}

message RequestPaymentResponse {
  string payment_id = 1;
  PaymentStatus status = 2;
  string message = 3;
  string idempotency_key = 4;
  google.protobuf.Timestamp created_at = 5;
}

message GetPaymentRequest {
  string payment_id = 1;
}

message GetPaymentResponse {
  string payment_id = 1;
  PaymentStatus status = 2;
  int64 amount_minor = 3;
  string currency = 4;
  string order_id = 5;
  string idempotency_key = 6;
  google.protobuf.Timestamp created_at = 7;
  string message = 8;
}

message HealthRequest {}

message HealthResponse {
  string status = 1;
}
"""


def compiled(text: str) -> descriptor_pb2.FileDescriptorSet:
    """What the compiler makes of a proto's text; the last file is the text itself, those before are its imports."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "payments.proto").write_text(text)
        known = importlib.resources.files("grpc_tools") / "_proto"
        words = ["protoc", f"-I{folder}", f"-I{known}", "--include_imports", f"--descriptor_set_out={folder / 'set'}"]
        assert protoc.main([*words, "payments.proto"]) == 0
        return descriptor_pb2.FileDescriptorSet.FromString((folder / "set").read_bytes())


@functools.cache
def message(name: str) -> Any:
    """The class of a message of the contract: `message("GetPaymentRequest")(payment_id=…)`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"payments.v1.{name}"))


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in compiled(PROTO).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool
