"""A service on a host of its own that asks for payments over gRPC, one after another, until its standard input ends.

Each payment is asked for once more under its key before it is printed, as a line of JSON: the key, the id that it got, how many
seconds that took, and whether the repeat was told the same.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import sys
import time

from payments_service.client import Patience, PaymentClient, Requested

_PATIENCE = Patience(attempt_s=5, total_s=30)


def main(address: str) -> None:
    """Ask at `address`; the key of the API stands in `API_KEY`."""
    with PaymentClient(address, api_key=os.environ["API_KEY"], patience=_PATIENCE) as payments:

        def ask(number: int) -> Requested:
            key = f"far-{os.getpid()}-{number}"
            return payments.request(amount_minor=1250, currency="USD", order_id=f"far-{number}", key=key)

        for number in itertools.count(1):
            began = time.monotonic()
            made = ask(number)
            took_s = time.monotonic() - began
            told = {"key": made.key, "id": made.payment_id, "took_s": took_s, "same": ask(number).payment_id == made.payment_id}
            print(json.dumps(told), flush=True)  # noqa: T201
            if select.select([sys.stdin], [], [], 0.05)[0]:
                return


if __name__ == "__main__":
    main(sys.argv[1])
