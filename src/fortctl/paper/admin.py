"""The paper exchange's own "Binance account page", for its shell commands: local, with its own token."""

from __future__ import annotations

import hmac
import secrets
import string
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
from aiohttp import web

from fortctl.errors import BadInput, FortctlError
from fortctl.paper.accounts import ApiKey, check_permissions
from fortctl.paper.server import DEFAULT_ACCOUNT, PaperServer

PREFIX = "/paper-admin"
_ALPHABET = string.ascii_letters + string.digits
Body = dict[str, Any]


class Admin:
    """Accounts, keys, deposits, the market, faults and the request log of one server."""

    def __init__(self, server: PaperServer) -> None:
        self._server = server

    def route(self, application: web.Application) -> None:
        for name, handler in (
            ("accounts/create", self._create_account),
            ("accounts/list", self._list_accounts),
            ("keys/create", self._create_key),
            ("keys/edit", self._edit_key),
            ("keys/delete", self._delete_key),
            ("keys/list", self._list_keys),
            ("deposit", self._deposit),
            ("market", self._market),
            ("fault/set", self._set_fault),
            ("fault/clear", self._clear_faults),
            ("fault/list", self._list_faults),
            ("requests", self._requests),
        ):
            application.router.add_post(f"{PREFIX}/{name}", self._guarded(handler))

    def _guarded(self, handler: Callable[[Body], Awaitable[Body]]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            given = request.headers.get("X-Paper-Token", "")
            if not hmac.compare_digest(given.encode(), self._server.token.encode()):
                return _json({"ok": False, "error": BadInput("wrong admin token").as_json()}, 403)
            try:
                body = orjson.loads(await request.read())
                data = await handler(body)
                self._server.save()
                return _json({"ok": True, "data": data})
            except FortctlError as error:
                return _json({"ok": False, "error": error.as_json()}, 400)
            except (ValueError, KeyError, TypeError):
                return _json({"ok": False, "error": BadInput("malformed request").as_json()}, 400)

        return handle

    # -- accounts --------------------------------------------------------------------------------------------------

    async def _create_account(self, body: Body) -> Body:
        deposits = {asset: _amount(amount) for asset, amount in (body.get("deposits") or {}).items()}
        account = self._server.engine.create_account(str(body["name"]), deposits, self._server.now())
        return {"name": account.name, "uid": account.uid}

    async def _list_accounts(self, body: Body) -> Body:
        return {"accounts": [account.as_json() for account in self._server.engine.accounts.values()]}

    async def _deposit(self, body: Body) -> Body:
        name = body.get("account") or DEFAULT_ACCOUNT
        self._server.engine.deposit(name, str(body["asset"]), _amount(body["amount"]), self._server.now())
        return {"account": name, "asset": body["asset"], "amount": str(body["amount"])}

    # -- keys ------------------------------------------------------------------------------------------------------

    async def _create_key(self, body: Body) -> Body:
        """Make a key; the one answer that holds a secret, as Binance shows it once."""
        ips = [str(ip) for ip in body.get("ips") or []]
        kind = body.get("type") or "hmac"
        permissions = check_permissions(list(body["permissions"]), ips)
        now, api_key = self._server.now(), _random()
        shown: Body = {"name": body["name"], "type": kind, "api_key": api_key}
        secret = public = ""
        if kind == "hmac":
            secret = shown["secret_key"] = _random()
        elif body.get("public_key"):
            public = _check_public(kind, str(body["public_key"]))
        else:
            shown["private_key"], public = _make_pair(kind)
        expires = now + int(float(body["expires_in"]) * 1000) if body.get("expires_in") is not None else None
        account = body.get("account") or DEFAULT_ACCOUNT
        self._server.engine.add_key(
            ApiKey(str(body["name"]), account, api_key, kind, permissions, now, secret, public, tuple(ips), expires)
        )
        return {**shown, "permissions": list(permissions)}

    async def _edit_key(self, body: Body) -> Body:
        key = self._server.engine.key_named(str(body["name"]))
        ips = [str(ip) for ip in body["ips"]] if body.get("ips") is not None else list(key.ips)
        if body.get("permissions") is not None or body.get("ips") is not None:
            key.permissions = check_permissions(list(body.get("permissions") or key.permissions), ips)
            key.ips = tuple(ips)
        if body.get("expires_in") is not None:
            key.trading_expires_at = self._server.now() + int(float(body["expires_in"]) * 1000)
        self._server.engine.changed.add(("key", key.api_key))
        return {"key": key.shown()}

    async def _delete_key(self, body: Body) -> Body:
        """Delete a key: it is refused from the next request on, and what it had opened is ended."""
        key = self._server.engine.delete_key(str(body["name"]))
        self._server.hub.revoke(key.api_key, self._server.now())
        return {"deleted": key.shown()}

    async def _list_keys(self, body: Body) -> Body:
        return {"keys": [key.shown() for key in self._server.engine.keys.values()]}

    # -- the market ------------------------------------------------------------------------------------------------

    async def _market(self, body: Body) -> Body:
        pacer, action = self._server.pacer, body["action"]
        if action == "pause":
            pacer.pause()
        elif action == "resume":
            pacer.resume(self._server.clock.monotonic())
        elif action == "step":
            await pacer.step(int(body["count"]))
        elif action == "jump":
            share = float(body["percent"]) / 100
            if not 0 <= share <= 1:
                raise BadInput("a market position is 0 % to 100 %")
            pacer.jump_to(int(len(pacer.rows) * share), self._server.now())
        elif action != "status":
            raise BadInput("unknown market action")
        engine = self._server.engine
        prices = {name: f"{book.last.price:.8f}" if book.last else None for name, book in engine.books.items()}
        return {
            "symbols": list(engine.symbols),
            "price": prices,
            "position": pacer.position,
            "rows": len(pacer.rows),
            "speed": "max" if pacer.speed is None else pacer.speed,
            "paused": pacer.paused,
            "ended": pacer.ended,
        }

    # -- faults and requests ---------------------------------------------------------------------------------------

    async def _set_fault(self, body: Body) -> Body:
        server = self._server
        lasts = body.get("for")
        fault = server.faults.set(
            str(body["kind"]),
            method=str(body.get("method") or "*"),
            path=str(body.get("path") or "*"),
            after=int(body.get("after") or 0),
            count=int(body["count"]) if body.get("count") is not None else None,
            until=server.clock.monotonic() + float(lasts) if lasts is not None else None,
        )
        if fault.kind == "ws-cut":
            fault.hits = server.hub.cut_all()
        return {"fault": fault.as_json()}

    async def _clear_faults(self, body: Body) -> Body:
        return {"cleared": self._server.faults.clear(body.get("id"))}

    async def _list_faults(self, body: Body) -> Body:
        return {"faults": [fault.as_json() for fault in self._server.faults.set_faults]}

    async def _requests(self, body: Body) -> Body:
        since = int(body.get("since") or 0)
        return {"requests": [entry for entry in self._server.requests if entry["time"] >= since]}


def _json(document: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


def _random() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(64))


def _amount(value: Any) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise BadInput("an amount is a decimal number") from None


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
        raise BadInput("a key is hmac, ed25519 or rsa")
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode(), _public_pem(private.public_key())


def _public_pem(public: Any) -> str:
    from cryptography.hazmat.primitives import serialization

    pem: bytes = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def _check_public(kind: str, pem: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(pem.encode())
    except ValueError:
        raise BadInput("the public key is no PEM") from None
    wanted = {"ed25519": ed25519.Ed25519PublicKey, "rsa": rsa.RSAPublicKey}.get(kind)
    if wanted is None or not isinstance(public, wanted):
        raise BadInput(f"the public key is not of type {kind}")
    return _public_pem(public)
