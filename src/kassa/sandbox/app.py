"""The sandbox as one ASGI application: `/sandbox/<service>` for Kassa, `/sandbox/pay` and `/payme` for buyers, `/sandbox/control`.

It reads the whole path itself, so it is the same alone under uvicorn, mounted by a parent at `/sandbox`, or called by
one that hands the scope on unchanged.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kassa.sandbox import buyer, control
from kassa.sandbox.answer import answer_call
from kassa.sandbox.book import Book, log_call, mark_gone, now_us
from kassa.sandbox.clock import Clock, Turn
from kassa.sandbox.control import Door
from kassa.sandbox.demo import DEMO_PRODUCTS, Product
from kassa.sandbox.model import Act, Call, Played, Reply, Tx, say
from kassa.sandbox.neighbours import ACTS, SETTINGS
from kassa.sandbox.payme.player import AmountOf, Errand, Player
from kassa.sandbox.payme.wire import Endpoint
from kassa.sandbox.payme_api import SERVICE, Clerk, Desk
from kassa.sandbox.webhooks import Teller
from kassa.sandbox.wire import Gone, Receive, Scope, Send, TooLarge, play, read_call, segments_of, send_reply

_DOORS = (
    *control.DOORS,
    Door("GET", "/pay/{token}", buyer.show_page),
    Door("POST", "/payments/{token}/accept", buyer.accept),
    Door("POST", "/payments/{token}/decline", buyer.decline),
)
Routes = dict[str | None, tuple[Act | Door | Errand | Desk, ...]]

_YES_OF_ALL = {"status": "success", "success": True, "transactionId": "trap", "orderId": "trap"}

_log = logging.getLogger("kassa.sandbox")


def create_sandbox(
    book_path: Path | str,
    *,
    products: Sequence[Product] | None = None,
    webhook_url: str | None = None,
    webhook_secret: str | None = None,
    public_url: str | None = None,
    payme_url: str | None = None,
    payme_key: str | None = None,
    payme_login: str = "Paycom",
    payme_account_field: str = "order_id",
    payme_amount: AmountOf | None = None,
    clock: Turn | None = None,
    at_root: bool = False,
) -> Sandbox:
    """All stand-ins over the book at `book_path` (made when absent; several processes may share it).

    `products`: what the product and inventory services know, the demo shop by default; products that the book knows
    already keep their stock. `webhook_url` and `webhook_secret` (both or none): where buyers' decisions on payment
    links are told; without them they wait in the book. `public_url`: the beginning of payment links, by default as the
    caller spoke to us. `payme_url` and `payme_key` (both or none): the merchant's door for Payme, and what opens it;
    `payme_amount` tells the sum of an order in tiyin, for buyers who come without a payment link. `clock` moves the merchant's
    clock from the desk; without it there is none to be moved. `at_root`: the neighbours' routes are there without
    `/sandbox/<service>` in front, too.
    """
    if (webhook_url is None) != (webhook_secret is None):
        raise ValueError("webhook_url and webhook_secret belong together")
    if (payme_url is None) != (payme_key is None):
        raise ValueError("payme_url and payme_key belong together")
    book = Book(book_path, DEMO_PRODUCTS if products is None else products)
    door = Endpoint(payme_url, payme_key, payme_login, payme_account_field) if payme_url and payme_key else None
    player, clerk = Player(book, door, payme_amount), Clerk(book, door)
    return Sandbox(book, webhook_url, webhook_secret, public_url, player, clerk, Clock(clock), at_root=at_root)


class Sandbox:
    """The ASGI application. A parent that passes no lifespan events on calls `stop` at its end; it may call `start`."""

    def __init__(
        self,
        book: Book,
        webhook_url: str | None,
        webhook_secret: str | None,
        public_url: str | None,
        payme: Player,
        payme_api: Clerk,
        clock: Clock,
        *,
        at_root: bool,
    ) -> None:
        self._book, self._payme, self._payme_api, self._at_root = book, payme, payme_api, at_root
        self._routes: Routes = {**_ROUTES, None: (*_DOORS, *payme.errands, *clock.errands), SERVICE: payme_api.desks}
        self._public_url = public_url
        self._webhook = (webhook_url, webhook_secret) if webhook_url and webhook_secret else None
        self._teller: Teller | None = None
        self._stopped = False

    async def start(self) -> None:
        """Begin to send webhooks that are due, those of an earlier process too. Also happens at the first request."""
        if self._webhook is not None and self._teller is None and not self._stopped:
            self._teller = Teller(self._book, *self._webhook)
            self._teller.start()

    async def stop(self) -> None:
        """Stop sending and close the book. A second time does nothing; the application cannot be used again."""
        if self._stopped:
            return
        self._stopped = True
        if self._teller is not None:
            await self._teller.stop()
        await self._payme.stop()
        await self._payme_api.stop()
        self._book.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self.start()
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        segments = segments_of(scope)
        bare = _find_at_root(self._routes, scope["method"], segments) if self._at_root else None
        target, params, reply = bare or _find(self._routes, scope["method"], segments)
        try:
            call = await read_call(scope, receive, params, self._public_url)
        except Gone:
            return
        except TooLarge:
            await send_reply(say(413, {"detail": "Too large"}), send)
            return
        try:
            if isinstance(target, Act):
                played = await self._book.change(answer_call, target, call)
            elif isinstance(target, Errand):
                played = Played(await target.do(call), 0)
            elif isinstance(target, Desk):
                played = await target.do(call)
            elif isinstance(target, Door):
                played = Played(await self._book.change(target.do, call), 0)
            else:
                played = Played(reply, 0 if target is None else await self._book.change(_log_stray, call, target, reply))
        except Exception as error:  # noqa: BLE001 - a stranger's mishap is a 500, and its text may hold what was sent
            _log.error("sandbox: %s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
            played = Played(say(500, {"detail": "The sandbox failed"}), 0)
        if isinstance(target, Door) and self._teller is not None:
            self._teller.ring()
        if not await play(played, receive, send):
            await self._book.change(mark_gone, played.call_id)


def _find(
    routes: Routes, method: str, segments: tuple[str, ...]
) -> tuple[Act | Door | Errand | Desk | str | None, dict[str, str], Reply]:
    """Who answers: an act, a door, or nobody (under a service's name when the call was meant for one)."""
    missing = say(404, {"detail": "Not found"})
    if segments[:1] != ("sandbox",) or len(segments) < 2:
        return None, {}, missing
    if segments[1] == "trap":
        return "trap", {}, say(200, _YES_OF_ALL)
    service = segments[1] if segments[1] in SETTINGS else None
    allowed = set()
    rest = segments[2:] if service else segments[1:]
    for one in routes[service]:
        params = _fits(one.path, rest)
        if params is None:
            continue
        if one.method == method:
            return one, params, missing
        allowed.add(one.method)
    if allowed:
        return service, {}, say(405, {"detail": "Method not allowed"}, headers=(("Allow", ", ".join(sorted(allowed))),))
    return service, {}, missing


def _find_at_root(routes: Routes, method: str, segments: tuple[str, ...]) -> tuple[Act, dict[str, str], Reply] | None:
    """The neighbour that has this route at the root of its own address, where there is one."""
    for one in (each for service in SETTINGS for each in routes[service]):
        if isinstance(one, Act) and one.method == method and (params := _fits(one.path, segments)) is not None:
            return one, params, say(404, {"detail": "Not found"})
    return None


def _fits(path: str, segments: tuple[str, ...]) -> dict[str, str] | None:
    """The values of `{names}` in a path, or `None` when it is another path."""
    wanted = path.split("/")[1:]
    if len(wanted) != len(segments):
        return None
    params: dict[str, str] = {}
    for part, segment in zip(wanted, segments, strict=True):
        if part.startswith("{") and segment:
            params[part[1:-1]] = segment
        elif part != segment:
            return None
    return params


def _log_stray(tx: Tx, call: Call, service: str, reply: Reply) -> int:
    return log_call(tx, replace(call, now_us=now_us()), service, None, None, str(reply.status))


_ROUTES: Routes = {
    None: _DOORS,
    **{service: tuple(one for one in ACTS if one.service == service) for service in SETTINGS},
}
