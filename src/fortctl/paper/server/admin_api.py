"""The admin API: what one does on Binance's account and API management pages, and control of the replay and the faults.

The ``paper`` commands and the account page call it. It answers this machine only, and only with the token of
``server.json``; pydantic checks each request.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeVar

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress, ValidationError

from fortctl.errors import BadInputError, FortctlError
from fortctl.paper.engine.accounts import (
    LOOPBACK,
    ApiKey,
    check_permissions,
    reaches_beyond_reading,
    read_public_key,
)
from fortctl.paper.engine.errors import BinanceError
from fortctl.paper.faults import KINDS, AnswerChange
from fortctl.paper.server.admin_page import refuse_strangers
from fortctl.paper.server.router import Router
from fortctl.paper.server.server import DEFAULT_ACCOUNT, PaperServer, new_api_key

PREFIX = "/paper-admin"
LONG_S, MANY, MOST_MONEY = 1e9, 2**53, Decimal(10) ** 15
Body = dict[str, Any]
M = TypeVar("M", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewAccount(_Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    deposits: dict[str, str] = {}
    master: str | None = None
    email: str = Field(default="", pattern=r"^([A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{1,128})?$")


class AccountEdit(_Strict):
    name: str
    pays_in_bnb: bool | None = None
    can_trade: bool | None = None


class SymbolEdit(_Strict):
    symbol: str
    changes: dict[str, str]


class Deposit(_Strict):
    account: str | None = None
    asset: str = Field(pattern=r"^[^\W_a-z]{1,20}$")
    amount: str


class NewKey(_Strict):
    name: str = Field(min_length=1, max_length=64)
    permissions: list[str]
    type: Literal["hmac", "ed25519", "rsa"] = "hmac"
    public_key: str | None = None
    ips: list[IPvAnyAddress] | None = None
    account: str | None = None
    expires_in: float | None = Field(default=None, ge=0, le=LONG_S, allow_inf_nan=False)


class KeyEdit(_Strict):
    name: str
    permissions: list[str] | None = None
    ips: list[IPvAnyAddress] | None = None
    expires_in: float | None = Field(default=None, ge=0, le=LONG_S, allow_inf_nan=False)


class Named(_Strict):
    name: str


class EmptyRequest(_Strict):
    pass


class MarketAction(_Strict):
    action: Literal["pause", "resume", "step", "jump", "status"]
    count: int = Field(default=1, ge=1, le=MANY)
    percent: float = Field(default=0, ge=0, le=100, allow_inf_nan=False)


class NewFault(_Strict):
    kind: str
    method: str = "*"
    path: str = "*"
    after: int = Field(default=0, ge=0, le=MANY)
    count: int | None = Field(default=None, ge=1, le=MANY)
    lasts: float | None = Field(default=None, ge=0, le=LONG_S, allow_inf_nan=False, alias="for")
    merge: dict[str, Any] = {}
    drop: list[str] = []
    body: str | None = None
    status: int | None = Field(default=None, ge=200, le=599)


class WhichFault(_Strict):
    id: int | None = Field(default=None, ge=0, le=MANY)


class Since(_Strict):
    since: int = Field(default=0, ge=0, le=MANY)


class WhichOrders(_Strict):
    account: str | None = None
    open: bool = False
    limit: int = Field(default=50, ge=1, le=500)


class Admin:
    """Accounts, keys, deposits, the market, faults and the request log of one server."""

    def __init__(self, server: PaperServer) -> None:
        self._server = server

    def register(self, router: Router) -> None:
        def add(name: str, model: type[M], handler: Callable[[M], Awaitable[Body]], *, kept: bool = True) -> None:
            router.serve("POST", f"{PREFIX}/{name}", self._guarded(model, handler, kept=kept))

        add("accounts/create", NewAccount, self._create_account)
        add("accounts/list", EmptyRequest, self._list_accounts)
        add("accounts/edit", AccountEdit, self._edit_account)
        add("keys/create", NewKey, self._create_key)
        add("keys/edit", KeyEdit, self._edit_key)
        add("keys/delete", Named, self._delete_key)
        add("keys/list", EmptyRequest, self._list_keys)
        add("deposit", Deposit, self._deposit)
        add("market", MarketAction, self._market)
        add("symbols/edit", SymbolEdit, self._edit_symbol)
        add("orders/list", WhichOrders, self._list_orders)
        add("fault/set", NewFault, self._set_fault, kept=False)
        add("fault/clear", WhichFault, self._clear_faults, kept=False)
        add("fault/list", EmptyRequest, self._list_faults, kept=False)
        add("requests", Since, self._requests)

    def _guarded(
        self, model: type[M], handler: Callable[[M], Awaitable[Body]], *, kept: bool
    ) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
        async def handle(request: web.BaseRequest) -> web.Response:
            stranger = refuse_strangers(request, self._server.options.host)
            if stranger is not None:
                return _json({"ok": False, "error": BadInputError(stranger).as_json()}, 403)
            given = request.headers.get("X-Paper-Token", "")
            if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._server.token.encode()):
                return _json({"ok": False, "error": BadInputError("the admin token is wrong").as_json()}, 403)
            try:
                data = await handler(model.model_validate_json(await request.read()))
                if kept:
                    # Faults are not stored: one of them makes the state file unwritable.
                    self._server.save(position=True)
                    await self._server.durable()
                return _json({"ok": True, "data": data})
            except ValidationError as error:
                wrong = ", ".join(".".join(str(part) for part in detail["loc"]) or "body" for detail in error.errors())
                refusal = BadInputError(f"the request is malformed: {wrong}", hint="see 'fortctl paper --help'")
                return _json({"ok": False, "error": refusal.as_json()}, 400)
            except (web.RequestPayloadError, HttpProcessingError):
                return _json({"ok": False, "error": BadInputError("the request's body cannot be read").as_json()}, 400)
            except BinanceError:
                refusal = BadInputError(
                    "the paper exchange cannot write its state file",
                    hint="check the disk, and 'fortctl paper fault list'",
                )
                return _json({"ok": False, "error": refusal.as_json()}, 500)
            except FortctlError as error:
                return _json({"ok": False, "error": error.as_json()}, 400)

        return handle

    # -- accounts ----------------------------------------------------------------------------------------------------

    async def _create_account(self, request: NewAccount) -> Body:
        deposits = {asset: _amount(amount) for asset, amount in request.deposits.items()}
        account = self._server.engine.create_account(
            request.name, deposits, self._server.now(), master=request.master, email=request.email
        )
        return {"name": account.name, "uid": account.uid, "email": account.email, "master": account.master}

    async def _edit_account(self, request: AccountEdit) -> Body:
        account = self._server.engine.state.account(request.name)
        if request.pays_in_bnb is not None:
            account.pays_in_bnb = request.pays_in_bnb
        if request.can_trade is not None:
            account.can_trade = request.can_trade
        self._server.engine.state.changed.add(("account", request.name))
        return {"account": account.as_json()}

    async def _list_accounts(self, request: EmptyRequest) -> Body:
        return {"accounts": [account.as_json() for account in self._server.engine.state.accounts.values()]}

    async def _deposit(self, request: Deposit) -> Body:
        name = request.account or DEFAULT_ACCOUNT
        self._server.engine.deposit(name, request.asset, _amount(request.amount), self._server.now())
        return {"account": name, "asset": request.asset, "amount": request.amount}

    # -- keys --------------------------------------------------------------------------------------------------------

    async def _create_key(self, request: NewKey) -> Body:
        """Create a key; only this answer contains its secret, as Binance shows it once."""
        ips = _new_ips(request)
        permissions = check_permissions(request.permissions, ips)
        now, api_key = self._server.now(), new_api_key()
        answer: Body = {"name": request.name, "type": request.type, "api_key": api_key}
        secret = public = ""
        if request.type == "hmac":
            secret = answer["secret_key"] = new_api_key()
        elif request.public_key:
            public = _check_public(request.type, request.public_key)
        else:
            answer["private_key"], public = _make_pair(request.type)
        expires = now + int(request.expires_in * 1000) if request.expires_in is not None else None
        account = request.account or DEFAULT_ACCOUNT
        self._server.engine.add_key(
            ApiKey(request.name, account, api_key, request.type, permissions, now, secret, public, tuple(ips), expires)
        )
        return {**answer, "permissions": list(permissions)}

    async def _edit_key(self, request: KeyEdit) -> Body:
        key = self._server.engine.state.key_named(request.name)
        ips = [str(ip) for ip in request.ips] if request.ips is not None else list(key.ips)
        key.permissions = check_permissions(list(request.permissions or key.permissions), ips)
        key.ips = tuple(ips)
        if request.expires_in is not None:
            key.trading_expires_at = self._server.now() + int(request.expires_in * 1000)
        self._server.engine.state.changed.add(("key", key.api_key))
        return {"key": key.row()}

    async def _delete_key(self, request: Named) -> Body:
        """Delete a key: its next request is refused, and its open streams end."""
        return {"deleted": self._server.engine.delete_key(request.name).row()}

    async def _list_keys(self, request: EmptyRequest) -> Body:
        return {"keys": [key.row() for key in self._server.engine.state.keys.values()]}

    # -- the market --------------------------------------------------------------------------------------------------

    async def _market(self, request: MarketAction) -> Body:
        replay = self._server.replay
        if request.action == "pause":
            replay.pause()
        elif request.action == "resume":
            replay.resume(self._server.clock.monotonic())
        elif request.action == "step":
            await replay.step(request.count)
        elif request.action == "jump":
            replay.jump_to(int(len(replay.rows) * request.percent / 100), self._server.now())
        engine = self._server.engine
        prices = {name: f"{book.last.price:.8f}" if book.last else None for name, book in engine.state.books.items()}
        return {
            "symbols": list(engine.state.symbols),
            "price": prices,
            "position": replay.position,
            "rows": len(replay.rows),
            "speed": "max" if replay.speed is None else replay.speed,
            "paused": replay.paused,
            "ended": replay.ended,
        }

    async def _edit_symbol(self, request: SymbolEdit) -> Body:
        return {"symbol": self._server.engine.edit_symbol(request.symbol, dict(request.changes)).info()}

    async def _list_orders(self, request: WhichOrders) -> Body:
        """List orders, newest first."""
        names = ("id", "account", "symbol", "client_order_id", "side", "type", "status", "time")
        rows: list[Body] = []
        for order in reversed(self._server.engine.state.orders.values()):
            if request.account not in (None, order.account) or (request.open and not order.open):
                continue
            numbers = {"price": order.price, "quantity": order.quantity, "executed": order.executed}
            rows.append({name: getattr(order, name) for name in names} | {n: f"{v:.8f}" for n, v in numbers.items()})
            if len(rows) == request.limit:
                break
        return {"orders": rows}

    # -- faults and requests -----------------------------------------------------------------------------------------

    async def _set_fault(self, request: NewFault) -> Body:
        server = self._server
        change = AnswerChange(request.merge, tuple(request.drop), request.body, request.status)
        fault = server.faults.set(
            request.kind,
            method=request.method,
            path=request.path,
            after=request.after,
            count=request.count,
            until=server.clock.monotonic() + request.lasts if request.lasts is not None else None,
            since=server.clock.monotonic(),
            change=change,
        )
        if fault.kind == "ws-cut":
            fault.hits = server.hub.cut_all()
        elif fault.kind == "unrestricted-deleted":
            server.delete_unrestricted(list(server.engine.state.keys.values()))
            await server.durable()
        return {"fault": fault.as_json()}

    async def _clear_faults(self, request: WhichFault) -> Body:
        return {"cleared": self._server.faults.clear(request.id)}

    async def _list_faults(self, request: EmptyRequest) -> Body:
        return {"faults": [fault.as_json() for fault in self._server.faults.entries], "kinds": list(KINDS)}

    async def _requests(self, request: Since) -> Body:
        return {"requests": self._server.log.since(request.since)}


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


def _amount(value: Any) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise BadInputError("an amount must be a decimal number") from None
    if not amount.is_finite() or amount.copy_abs() > MOST_MONEY or amount != amount.quantize(Decimal("0.00000001")):
        raise BadInputError("an amount must have at most eight decimals and be below 10^15")
    return amount


def _make_pair(kind: str) -> tuple[str, str]:
    """Return a private and a public key, PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    private: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if kind == "ed25519":
        private = ed25519.Ed25519PrivateKey.generate()
    elif kind == "rsa":
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        raise BadInputError("the type of a key must be hmac, ed25519 or rsa")
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode(), public.decode()


def _new_ips(request: NewKey) -> list[str]:
    """Return a new key's addresses: as at Binance, rights beyond reading need a list, so none given means loopback."""
    if request.ips is None:
        return list(LOOPBACK) if reaches_beyond_reading(request.permissions) else []
    return [str(ip) for ip in request.ips]


def _check_public(kind: str, pem: str) -> str:
    public = read_public_key(pem)
    if public is None:
        raise BadInputError("the public key must be the PEM of an Ed25519 key, or of an RSA key of 2048 to 4096 bits")
    if public[0] != kind:
        raise BadInputError(f"the public key is not of type {kind}")
    return public[1]
