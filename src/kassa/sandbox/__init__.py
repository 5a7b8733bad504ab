"""Stand-ins for every outside HTTP neighbour, with a durable book of their own and scripted faults.

The sandbox plays strangers: it knows the public contracts and nothing of Kassa's inside, so that a mistake of Kassa
cannot be repeated here by accident. Never part of production.
"""

from kassa.sandbox.app import Sandbox, create_sandbox
from kassa.sandbox.demo import DEMO_PRODUCTS, Product

__all__ = ["DEMO_PRODUCTS", "Product", "Sandbox", "create_sandbox"]
