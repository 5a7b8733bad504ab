"""A small merchant of Payme's, right in everything that the rehearsal looks at; each subclass has one defect that was met in the field."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from kassa.sandbox.payme import Endpoint, Order

KEY = "k:y%&?@#$-000000000000000000000000036"
TIMEOUT_MS = 43_200_000


class Refusal(Exception):
    def __init__(self, code: int, data: Any = None) -> None:
        super().__init__(code)
        self.code, self.data = code, data


@dataclass
class Attempt:
    payme_id: str
    time: int
    amount: int
    account: dict[str, Any]
    order_id: str
    create_time: int
    transaction: str
    state: int = 1
    perform_time: int = 0
    cancel_time: int = 0
    reason: int | None = None


class Merchant:
    """Orders by id, attempts by Payme's id. `ahead_ms`: how far its clock is ahead; `calls`: the methods it was asked."""

    login, field, busy = "Paycom", "order_id", -31051
    methods = ("CheckPerformTransaction", "CreateTransaction", "PerformTransaction", "CancelTransaction", "CheckTransaction")
    methods += ("GetStatement", "SetFiscalData")

    def __init__(self, orders: int = 0, ahead_ms: int = 0) -> None:
        self.amounts = {str(uuid.uuid4()): 500_000 + number for number in range(orders)}
        self.status = dict.fromkeys(self.amounts, "open")
        self.attempts: dict[str, Attempt] = {}
        self.ahead_ms, self.calls, self.url = ahead_ms, list[str](), ""

    @property
    def orders(self) -> tuple[Order, ...]:
        return tuple(Order(order_id, amount) for order_id, amount in self.amounts.items())

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.url, KEY, self.login, self.field)

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    async def answer(self, request: web.Request) -> web.Response:
        number, raw = None, await request.read()
        try:
            if request.method != "POST":
                raise Refusal(-32300)
            stranger = request.match_info.get("merchant", "1") != "1"
            if stranger or not self.knows(request.headers.get("Authorization", "")):
                with contextlib.suppress(Refusal):
                    number = self.number(self.parse(raw))
                raise Refusal(-32504)
            body = self.parse(raw)
            number = self.number(body)
            result = await self.call(body)
        except Refusal as error:
            return self.reply({"id": number, "error": self.error(error)})
        return self.reply({"id": number, "result": result})

    def reply(self, body: dict[str, Any]) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", **body})

    def error(self, error: Refusal) -> dict[str, Any]:
        return {"code": error.code, "message": {"ru": "нет", "uz": "yo'q", "en": "no"}, "data": error.data}

    def knows(self, header: str) -> bool:
        scheme, _, rest = header.partition(" ")
        try:
            login, colon, key = base64.b64decode(rest, validate=True).decode().partition(":")
        except ValueError:
            return False
        return scheme.lower() == "basic" and bool(colon) and (login, key) == (self.login, KEY)

    def parse(self, raw: bytes) -> dict[str, Any]:
        if len(raw) > 65536:
            raise Refusal(-32600)
        try:
            body = json.loads(raw, parse_constant=self.no_constant)
        except (ValueError, RecursionError):
            raise Refusal(-32700) from None
        if not isinstance(body, dict):
            raise Refusal(-32600)
        return body

    @staticmethod
    def no_constant(name: str) -> Any:
        raise ValueError(name)

    def number(self, body: dict[str, Any]) -> Any:
        number = body.get("id")
        if isinstance(number, bool) or not isinstance(number, int | str | None):
            raise Refusal(-32600)
        return number

    async def call(self, body: dict[str, Any]) -> Any:
        method, params = body.get("method"), body.get("params")
        if not isinstance(method, str) or not method:
            raise Refusal(-32600)
        if method not in self.methods:
            raise Refusal(-32601, method)
        if not isinstance(params, dict):
            raise Refusal(-32600, "params")
        self.calls.append(method)
        return await getattr(self, method)(params)

    def whole(self, params: dict[str, Any], name: str, least: int | None = None, most: int | None = None) -> int:
        value = params.get(name)
        wrong = isinstance(value, bool) or not isinstance(value, int)
        if wrong or (least is not None and value < least) or (most is not None and value > most):
            raise Refusal(-32600, name)
        return int(value)

    def payme_id(self, params: dict[str, Any]) -> str:
        value = params.get("id")
        if not isinstance(value, str) or not 1 <= len(value) <= 64 or not value.isascii():
            raise Refusal(-32600, "id")
        return value

    def find(self, params: dict[str, Any]) -> Attempt:
        found = self.attempts.get(self.payme_id(params))
        if found is None:
            raise Refusal(-31003)
        return found

    def order_of(self, params: dict[str, Any]) -> str:
        account = params.get("account")
        if not isinstance(account, dict):
            raise Refusal(-32600, "account")
        value = account.get(self.field)
        order_id = value.strip().lower() if isinstance(value, str) else ""
        if order_id not in self.amounts:
            raise Refusal(-31050, self.field)
        return order_id

    def payable(self, params: dict[str, Any]) -> str:
        amount = self.whole(params, "amount")
        order_id = self.order_of(params)
        if amount != self.amounts[order_id]:
            raise Refusal(-31001)
        if self.status[order_id] != "open":
            raise Refusal(-31052 if self.status[order_id] == "paid" else -31053, self.field)
        return order_id

    def incumbent(self, order_id: str) -> Attempt | None:
        held = [one for one in self.attempts.values() if one.order_id == order_id and one.state == 1]
        return next((one for one in held if not self.expired(one)), None)

    def expired(self, one: Attempt) -> bool:
        return one.state == 1 and self.now() > min(one.time, one.create_time) + TIMEOUT_MS

    def end(self, one: Attempt, state: int, reason: int) -> None:
        one.state, one.reason, one.cancel_time = state, reason, self.now()

    async def CheckPerformTransaction(self, params: dict[str, Any]) -> Any:
        if self.incumbent(self.payable(params)) is not None:
            raise Refusal(self.busy, self.field)
        return {"allow": True}

    async def CreateTransaction(self, params: dict[str, Any]) -> Any:
        payme_id, when = self.payme_id(params), self.whole(params, "time", 10**12, 10**13 - 1)
        amount = self.whole(params, "amount")
        known = self.attempts.get(payme_id)
        if known is not None:
            return self.same_create(known, params, amount)
        order_id = self.payable(params)
        if self.now() > when + TIMEOUT_MS:
            raise Refusal(-31008)
        await self.before_insert(payme_id)
        if self.incumbent(order_id) is not None:
            raise Refusal(self.busy, self.field)
        for one in self.attempts.values():
            if one.order_id == order_id and self.expired(one):
                self.end(one, -1, 4)
        made = Attempt(payme_id, when, amount, params["account"], order_id, self.now(), str(uuid.uuid4()))
        self.attempts[payme_id] = made
        return self.shown(made, "create_time", "transaction", "state")

    async def before_insert(self, payme_id: str) -> None: ...

    def same_create(self, known: Attempt, params: dict[str, Any], amount: int) -> Any:
        if self.expired(known):
            self.end(known, -1, 4)
        if known.state != 1:
            raise Refusal(-31008)
        if self.order_of(params) != known.order_id:
            raise Refusal(-31050, self.field)
        if amount != known.amount:
            raise Refusal(-31001)
        return self.shown(known, "create_time", "transaction", "state")

    async def PerformTransaction(self, params: dict[str, Any]) -> Any:
        one = self.find(params)
        if self.expired(one):
            self.end(one, -1, 4)
        if one.state < 0:
            raise Refusal(-31008)
        if one.state == 1:
            one.state, one.perform_time = 2, self.now()
            self.status[one.order_id] = "paid"
        return self.shown(one, "transaction", "perform_time", "state")

    async def CancelTransaction(self, params: dict[str, Any]) -> Any:
        one, reason = self.find_to_cancel(params)
        if one.state > 0:
            if one.state == 2:
                self.status[one.order_id] = "closed"
            self.end(one, -one.state, reason)
        return self.shown(one, "transaction", "cancel_time", "state")

    def find_to_cancel(self, params: dict[str, Any]) -> tuple[Attempt, int]:
        self.payme_id(params)
        reason = self.whole(params, "reason")
        return self.find(params), reason

    async def CheckTransaction(self, params: dict[str, Any]) -> Any:
        return self.shown(self.find(params), "create_time", "perform_time", "cancel_time", "transaction", "state", "reason")

    async def GetStatement(self, params: dict[str, Any]) -> Any:
        begin, end = self.whole(params, "from", 0), self.whole(params, "to", 0)
        rows = sorted(
            (one for one in self.attempts.values() if begin <= one.time <= end),
            key=lambda one: (one.time, one.create_time, one.payme_id),
        )
        return {"transactions": [self.row(one) for one in rows]}

    def row(self, one: Attempt) -> dict[str, Any]:
        names = ("time", "amount", "account", "create_time", "perform_time", "cancel_time", "transaction", "state", "reason")
        return {"id": one.payme_id, **self.shown(one, *names), "receivers": None}

    async def SetFiscalData(self, params: dict[str, Any]) -> Any:
        for name, kind in {"id": str, "type": str, "fiscal_data": dict}.items():
            if not isinstance(params.get(name), kind) or (name == "type" and params[name] not in {"PERFORM", "CANCEL"}):
                raise Refusal(-32602, name)
        if params["id"] not in self.attempts:
            raise Refusal(-32001)
        return {"success": True}

    def shown(self, one: Attempt, *names: str) -> dict[str, Any]:
        return {name: getattr(one, name) for name in names}


@contextlib.asynccontextmanager
async def served(merchant: Merchant) -> AsyncIterator[Merchant]:
    """The merchant behind a port, with and without a slash at the end of its address."""
    app = web.Application(client_max_size=4 * 1024 * 1024)
    for path in ("/payme/webhook", "/payme/webhook/", "/payme/webhook/{merchant}", "/payme/webhook/{merchant}/"):
        app.router.add_route("*", path, merchant.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    merchant.url = f"http://127.0.0.1:{runner.addresses[0][1]}/payme/webhook"
    try:
        yield merchant
    finally:
        await runner.cleanup()


class PaysACancelledOne(Merchant):
    async def PerformTransaction(self, params: dict[str, Any]) -> Any:
        one = self.find(params)
        one.state = 2
        one.perform_time = one.perform_time or self.now()
        return self.shown(one, "transaction", "perform_time", "state")


class TellsAnotherTimeEachTime(Merchant):
    async def PerformTransaction(self, params: dict[str, Any]) -> Any:
        return await super().PerformTransaction(params) | {"perform_time": self.now()}


class SellsAPaidOrderAgain(Merchant):
    def payable(self, params: dict[str, Any]) -> str:
        self.status[self.order_of(params)] = "open"
        return super().payable(params)


class RemembersTheFirstCancelForEver(Merchant):
    def incumbent(self, order_id: str) -> Attempt | None:
        return next((one for one in self.attempts.values() if one.order_id == order_id), None)


class GoesByTheReason(Merchant):
    async def CancelTransaction(self, params: dict[str, Any]) -> Any:
        one, reason = self.find_to_cancel(params)
        if one.state > 0:
            self.status[one.order_id] = "closed" if one.state == 2 else "open"
            self.end(one, -2 if reason == 5 else -1, reason)
        return self.shown(one, "transaction", "cancel_time", "state")


class OverwritesTheReason(Merchant):
    async def CancelTransaction(self, params: dict[str, Any]) -> Any:
        answer = await super().CancelTransaction(params)
        self.find(params).reason = params["reason"]
        return answer


class CancelsAnew(Merchant):
    async def CancelTransaction(self, params: dict[str, Any]) -> Any:
        one, _ = self.find_to_cancel(params)
        one.state = abs(one.state)
        return await super().CancelTransaction(params)


class LeavesOutNulls(Merchant):
    async def CheckTransaction(self, params: dict[str, Any]) -> Any:
        return {name: value for name, value in (await super().CheckTransaction(params)).items() if value}


class NumbersItsTransactions(Merchant):
    def shown(self, one: Attempt, *names: str) -> dict[str, Any]:
        found = super().shown(one, *names)
        return found | ({"transaction": 42} if "transaction" in found else {})


class NeverTimesOut(Merchant):
    def expired(self, one: Attempt) -> bool:
        return False


class CountsFromItsOwnTime(Merchant):
    def expired(self, one: Attempt) -> bool:
        return one.state == 1 and self.now() > one.create_time + TIMEOUT_MS


class TakesAnyAge(Merchant):
    async def CreateTransaction(self, params: dict[str, Any]) -> Any:
        return await super().CreateTransaction(params | {"time": max(params.get("time", 0), self.now() - TIMEOUT_MS + 500)})


class LooksThenInserts(Merchant):
    async def CreateTransaction(self, params: dict[str, Any]) -> Any:
        if params.get("id") not in self.attempts and self.incumbent(self.payable(params)) is None:
            await asyncio.sleep(0.05)
            incumbent, self.incumbent = self.incumbent, lambda _: None  # type: ignore[method-assign,assignment]
            try:
                return await super().CreateTransaction(params)
            finally:
                self.incumbent = incumbent  # type: ignore[method-assign]
        return await super().CreateTransaction(params)


class RefusesItsOwnWinner(Merchant):
    async def before_insert(self, payme_id: str) -> None:
        await asyncio.sleep(0.05)


class BreaksOnADuplicate(Merchant):
    async def before_insert(self, payme_id: str) -> None:
        await asyncio.sleep(0.05)
        if payme_id in self.attempts:
            raise Refusal(-32400)


class ListsThePaidOnly(Merchant):
    async def GetStatement(self, params: dict[str, Any]) -> Any:
        rows = (await super().GetStatement(params))["transactions"]
        return {"transactions": [row for row in rows if row["state"] == 2]}


class ListsByItsOwnTime(Merchant):
    async def GetStatement(self, params: dict[str, Any]) -> Any:
        begin, end = self.whole(params, "from", 0), self.whole(params, "to", 0)
        return {"transactions": [self.row(one) for one in self.attempts.values() if begin <= one.create_time <= end]}


class ListsTheNewestFirst(Merchant):
    async def GetStatement(self, params: dict[str, Any]) -> Any:
        return {"transactions": (await super().GetStatement(params))["transactions"][::-1]}


class AnswersWith401(Merchant):
    async def answer(self, request: web.Request) -> web.Response:
        known = self.knows(request.headers.get("Authorization", ""))
        return await super().answer(request) if known or request.method != "POST" else web.Response(status=401)


class ForgetsTheNumberOfStrangers(Merchant):
    async def answer(self, request: web.Request) -> web.Response:
        if request.method == "POST" and not self.knows(request.headers.get("Authorization", "")):
            return self.reply({"id": None, "error": self.error(Refusal(-32504))})
        return await super().answer(request)


class IgnoresTheLogin(Merchant):
    def knows(self, header: str) -> bool:
        with contextlib.suppress(ValueError):
            _, _, key = base64.b64decode(header.partition(" ")[2], validate=True).decode().partition(":")
            return header[:6].lower() == "basic " and key == KEY
        return False


class SplitsAtTheLastColon(Merchant):
    def knows(self, header: str) -> bool:
        with contextlib.suppress(ValueError):
            login, _, key = base64.b64decode(header.partition(" ")[2], validate=True).decode().rpartition(":")
            return header[:6].lower() == "basic " and (login, key) == (self.login, KEY)
        return False


class GuardsOneMethodLess(Merchant):
    async def answer(self, request: web.Request) -> web.Response:
        raw = await request.read()
        if b'"GetStatement"' in raw:
            body = json.loads(raw)
            with contextlib.suppress(Refusal):
                return self.reply({"id": body["id"], "result": await self.call(body)})
        return await super().answer(request)


class TakesTextForNumbers(Merchant):
    def whole(self, params: dict[str, Any], name: str, least: int | None = None, most: int | None = None) -> int:
        value = params.get(name)
        return super().whole({name: int(value) if isinstance(value, float | str) else value}, name, least, most)


class SaysItInOneLanguage(Merchant):
    def error(self, error: Refusal) -> dict[str, Any]:
        return {"code": error.code, "message": "no", "data": error.data}


class NamesNoField(Merchant):
    def error(self, error: Refusal) -> dict[str, Any]:
        return super().error(error) | ({"data": None} if -31099 <= error.code <= -31050 else {})


class KnowsNoTransactionByTheSum(Merchant):
    def find(self, params: dict[str, Any]) -> Attempt:
        found = self.attempts.get(self.payme_id(params))
        if found is None:
            raise Refusal(-31001)
        return found


class JudgesTheStateBeforeTheSum(Merchant):
    def payable(self, params: dict[str, Any]) -> str:
        order_id = self.order_of(params)
        if self.status[order_id] != "open":
            raise Refusal(-31052 if self.status[order_id] == "paid" else -31053, self.field)
        return super().payable(params)


class KeepsARefusedCreate(Merchant):
    async def CreateTransaction(self, params: dict[str, Any]) -> Any:
        try:
            return await super().CreateTransaction(params)
        except Refusal as error:
            order_id = str(params.get("account", {}).get(self.field)) if isinstance(params.get("account"), dict) else ""
            if error.code == -31001 and order_id in self.amounts and params["id"] not in self.attempts:
                one = Attempt(params["id"], params["time"], 1, params["account"], order_id, self.now(), "t", -1, 0, self.now(), 3)
                self.attempts[params["id"]] = one
            raise


class TrimsNothing(Merchant):
    def order_of(self, params: dict[str, Any]) -> str:
        account = params.get("account")
        if isinstance(account, dict) and account.get(self.field) not in self.amounts:
            raise Refusal(-31050, self.field)
        return super().order_of(params)


class LivesInTashkent(Merchant):
    def now(self) -> int:
        return super().now() + 5 * 3_600_000
