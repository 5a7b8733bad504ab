"""What the orders contract shows, as models and examples for its document; the answers themselves are written by `shapes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from kassa.api import describe

Number = Annotated[Decimal, WithJsonSchema({"type": "number", "description": "Major units, exact to the currency's decimals."})]
UserId = int | str
OrderStatus = Literal["pending", "paid", "processing", "shipped", "delivered", "cancelled"]
PaymentStatus = Literal["pending", "paid", "failed", "refunded"]


class Shown(BaseModel):
    """An object of an answer: exactly these members."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class Product(Shown):
    """A product as it can be bought now. `stock` is null where nobody counts."""

    id: str
    sku: str
    name: str
    price: Number
    currency: str
    stock: int | None
    in_stock: bool
    image: str | None
    images: list[str]


class CartItem(Shown):
    """One line of a cart at live prices."""

    id: str
    product_id: str
    product_name: str
    price: Number
    quantity: int
    total_price: Number
    image: str | None


class CartProblem(Shown):
    """What would stop or change an order."""

    item_id: str
    product_id: str
    code: Literal["price_changed", "stock_insufficient", "no_longer_sold"]
    message: str
    old_price: Number | None = Field(default=None, description="With `price_changed`.")
    price: Number | None = Field(default=None, description="With `price_changed`.")
    available: int | None = Field(default=None, description="With `stock_insufficient`.")


class Cart(Shown):
    """A cart. `totalAmount` leaves out what is no longer sold."""

    id: str
    user_id: UserId
    version: int
    currency: str
    items: list[CartItem]
    total_items: int
    total_amount: Number
    problems: list[CartProblem]


class OrderLine(Shown):
    """One product of an order, as it was when it was bought."""

    product_id: str
    product_name: str
    price: Number
    quantity: int
    total_price: Number


class Order(Shown):
    """An order; it has this shape everywhere."""

    id: str
    user_id: UserId | None
    status: OrderStatus
    total_amount: Number
    items: list[OrderLine]
    shipping_address: dict[str, str] | None
    payment_method: str
    created_at: datetime
    estimated_delivery: datetime
    order_number: str = Field(pattern="^ORD-[0-9]{8}-[0-9A-Z]{8}$")
    currency: str
    payment_status: PaymentStatus
    payment_id: str
    payment_url: str | None
    tracking_number: str | None
    carrier: str | None
    updated_at: datetime


class Move(Shown):
    """One move of an order."""

    status: OrderStatus
    at: datetime
    note: str | None


class Tracking(Shown):
    """The story of an order, oldest first."""

    order_id: str
    status: OrderStatus
    tracking_number: str | None
    carrier: str | None
    estimated_delivery: datetime
    events: list[Move]


class _Success(Shown):
    success: Literal[True]
    message: str


class ProductRows(Shown):
    """A page of products."""

    products: list[Product]
    page: int
    limit: int
    total: int
    has_next: bool


class OrderRows(Shown):
    """A page of orders."""

    orders: list[Order]
    page: int
    limit: int
    total: int
    has_next: bool


class ProductPage(_Success):
    """A page of products, in the envelope."""

    data: ProductRows


class ProductAnswer(_Success):
    """A product, in the envelope."""

    data: Product


class ItemAnswer(_Success):
    """A line of the cart, in the envelope."""

    data: CartItem


class CartAnswer(_Success):
    """A cart, in the envelope."""

    data: Cart


class OrderAnswer(_Success):
    """An order, in the envelope."""

    data: Order


class OrderPage(_Success):
    """A page of orders, in the envelope."""

    data: OrderRows


class TrackingAnswer(_Success):
    """The story of an order, in the envelope."""

    data: Tracking


class ErrorWord(Shown):
    """A stable word for programs; `details` only where the contract names them."""

    code: str
    details: dict[str, Any] | None = None


class OrdersError(Shown):
    """Every refusal."""

    success: Literal[False]
    message: str
    error: ErrorWord


AWAY: Sequence[str] = ["unavailable"]
AWAY_PRODUCTS: Sequence[str] = ["unavailable", "product_service_unavailable"]
REMOVE_ERRORS: dict[int, Sequence[str]] = {
    400: ["invalid_idempotency_key", "invalid_if_match"],
    401: ["unauthorized"],
    409: ["in_progress"],
    412: ["cart_changed"],
    422: ["idempotency_key_reused"],
    429: ["rate_limited"],
    503: AWAY,
}
EDIT_ERRORS: dict[int, Sequence[str]] = {
    400: ["malformed_json", "invalid_idempotency_key", "invalid_if_match"],
    401: ["unauthorized"],
    404: ["not_found"],
    409: ["stock_insufficient", "cart_full", "in_progress"],
    412: ["cart_changed"],
    413: ["too_large"],
    422: ["invalid_input", "idempotency_key_reused"],
    429: ["rate_limited"],
    503: AWAY_PRODUCTS,
}
PLACE_ERRORS: Mapping[int, Sequence[str]] = {
    **EDIT_ERRORS,
    404: ["not_found"],
    409: ["stock_insufficient", "price_changed", "cart_already_ordered", "in_progress"],
    422: ["invalid_input", "cart_empty", "method_unavailable", "unknown_provider", "idempotency_key_reused"],
}
READ_ERRORS: Mapping[int, Sequence[str]] = {401: ["unauthorized"], 404: ["not_found"], 503: AWAY}
MOVE_ERRORS: Mapping[int, Sequence[str]] = {
    400: ["malformed_json", "invalid_idempotency_key"],
    401: ["unauthorized"],
    403: ["forbidden"],
    404: ["not_found"],
    409: ["illegal_move", "in_progress"],
    413: ["too_large"],
    422: ["invalid_input", "idempotency_key_reused"],
    503: AWAY,
}


def answers(
    status: int, model: type[BaseModel], about: str, example: Any, errors: Mapping[int, Sequence[str]]
) -> dict[int | str, dict[str, Any]]:
    """The answers of a handler of this contract."""
    return describe.answers(status, model, about, example, errors, OrdersError)


_ADDRESS = {"street": "123 Main St", "city": "Mumbai", "state": "Maharashtra", "postalCode": "400001", "country": "India"}
_MOUSE = {
    "id": "prod_001",
    "sku": "prod_001",
    "name": "Wireless Mouse",
    "price": 99.9,
    "currency": "INR",
    "stock": 5000,
    "inStock": True,
    "image": "https://example.com/prod_001.jpg",
    "images": ["https://example.com/prod_001.jpg"],
}
_ITEM = {
    "id": "019b76da-9f2b-7e60-b3c4-0d9a8e7f6a51",
    "productId": "prod_001",
    "productName": "Wireless Mouse",
    "price": 99.9,
    "quantity": 2,
    "totalPrice": 199.8,
    "image": "https://example.com/prod_001.jpg",
}
_ORDER_ID = "019b76da-a2c0-7b11-9f3e-6d5c4b3a2f10"
_CART = {
    "id": "019b76da-9c40-7a11-8d02-5b1f0c6e7a33",
    "userId": 1,
    "version": 3,
    "currency": "INR",
    "items": [_ITEM],
    "totalItems": 2,
    "totalAmount": 199.8,
    "problems": [],
}
_ORDER = {
    "id": _ORDER_ID,
    "userId": 1,
    "status": "pending",
    "totalAmount": 199998,
    "items": [
        {
            "productId": "507f1f77bcf86cd799439012",
            "productName": "iPhone 15 Pro",
            "price": 99999,
            "quantity": 2,
            "totalPrice": 199998,
        }
    ],
    "shippingAddress": _ADDRESS,
    "paymentMethod": "credit_card",
    "createdAt": "2024-01-15T10:30:00Z",
    "estimatedDelivery": "2024-01-20T10:30:00Z",
    "orderNumber": "ORD-20240115-7K2M9QXD",
    "currency": "INR",
    "paymentStatus": "pending",
    "paymentId": "019b76da-a801-7d90-a2b6-4c7f1e3d5b62",
    "paymentUrl": None,
    "trackingNumber": None,
    "carrier": None,
    "updatedAt": "2024-01-15T10:30:00Z",
}


def _told(message: str, data: Any) -> dict[str, Any]:
    return {"success": True, "message": message, "data": data}


def _rows(name: str, row: Any) -> dict[str, Any]:
    return {name: [row], "page": 1, "limit": 20, "total": 1, "hasNext": False}


PRODUCTS = _told("Products retrieved successfully", _rows("products", _MOUSE))
PRODUCT = _told("Product retrieved successfully", _MOUSE)
CART = _told("Cart retrieved successfully", _CART)
EMPTY_CART = _told("Cart cleared successfully", {**_CART, "version": 4, "items": [], "totalItems": 0, "totalAmount": 0})
ITEM_ADDED = _told("Item added to cart successfully", _ITEM)
ITEM_CHANGED = _told("Cart item updated successfully", {**_ITEM, "quantity": 3, "totalPrice": 299.7})
ORDER = _told("Order created successfully", _ORDER)
ORDERS = _told("Orders retrieved successfully", _rows("orders", _ORDER))
TRACKING = _told(
    "Tracking retrieved successfully",
    {
        "orderId": _ORDER_ID,
        "status": "paid",
        "trackingNumber": None,
        "carrier": None,
        "estimatedDelivery": "2024-01-20T10:30:00Z",
        "events": [
            {"status": "pending", "at": "2024-01-15T10:30:00Z", "note": None},
            {"status": "paid", "at": "2024-01-15T10:30:01Z", "note": None},
        ],
    },
)
PLACE = {
    "shippingAddress": _ADDRESS,
    "paymentMethod": "credit_card",
    "paymentDetails": {"cardNumber": "**** **** **** 1234", "expiryDate": "12/25"},
}
MOVE = {"status": "shipped", "trackingNumber": "1Z999", "carrier": "DHL"}
_MESSAGE = f"""id: 2
event: order
data: {{"orderId":"{_ORDER_ID}","sequence":2,"status":"paid","paymentStatus":"paid","at":"2024-01-15T10:30:01Z","note":null,\
"trackingNumber":null,"carrier":null,"estimatedDelivery":"2024-01-20T10:30:00Z"}}

"""
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A stream of events; a comment every 15 s keeps it alive.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _MESSAGE}},
    },
    **{
        status: {
            "description": f"`{codes[0]}`",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/OrdersError"}}},
        }
        for status, codes in READ_ERRORS.items()
    },
}
