"""The documented product service: products by id, pages of them, and stock that is changed once per key."""

from __future__ import annotations

from dataclasses import dataclass, field

from .neighbour import Call, Json, Neighbour, Reply, saying


def shaped(data: object) -> Reply:
    return saying(200, success=True, data=data)


@dataclass
class ProductShop(Neighbour):
    """Its topics are product ids; the list of all is the topic `""`."""

    products: dict[str, Json] = field(default_factory=dict)
    answered: dict[str, Reply] = field(default_factory=dict)

    def sell(self, product: str, price: object = 500, stock: int | None = 100) -> str:
        shown: Json = {"sku": f"sku-{product}", "name": f"The {product}", "price": price}
        shown["images"] = [f"https://example.com/{product}.png"]
        if stock is not None:
            shown["stock"] = stock
        self.products[product] = shown
        return product

    def changes(self, *products: str) -> list[tuple[str, int, str | None]]:
        """The stock changes asked for: product, quantity, key; in the order they came."""
        with self.lock:
            patches = [call for call in self.diary if call.method == "PATCH" and self.topic(call) in products]
        return [(self.topic(call), call.body["quantity"], call.key) for call in patches]

    def topic(self, call: Call) -> str:
        return "".join(call.path.split("/")[3:4])

    def work(self, call: Call) -> Reply:
        product = self.topic(call)
        if not product:
            return self.page(int(call.query["page"][0]), int(call.query["limit"][0]))
        if product not in self.products:
            return saying(404, success=False, message="Product not found")
        if call.method == "GET":
            return shaped(self.products[product])
        key = call.headers["Idempotency-Key"]
        if key not in self.answered:
            self.answered[key] = self.change(product, call.body["quantity"])
        return self.answered[key]

    def change(self, product: str, quantity: int) -> Reply:
        shown = self.products[product]
        if "stock" in shown:
            shown["stock"] = max(0, shown["stock"] + quantity)  # it clamps and does not refuse
        data = {"id": product, "sku": shown["sku"], "stock": shown.get("stock", 0)}
        return saying(200, success=True, data=data, message="Stock updated")

    def page(self, page: int, limit: int) -> Reply:
        rows = [{"id": product, **shown} for product, shown in sorted(self.products.items())]
        pagination = {"page": page, "limit": limit, "total": len(rows), "pages": -(-len(rows) // limit)}
        return shaped({"products": rows[(page - 1) * limit : page * limit], "pagination": pagination})
