"""The issuer port over a master account's key: the keys of one sub-account (adapter).

Source: binance-sdk-sub-account, ``api_management_api.py``; the pages "Create V1", "Create V2", "Delete API Key". Not
over python-binance: it signs an e-mail address otherwise than it sends it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fortctl.exchange import parsing
from fortctl.exchange.decoding import Answer, UnreadableAnswerError
from fortctl.exchange.http_answer import read_answer, unreadable
from fortctl.exchange.signing import rest_payload, signer, with_signature
from fortctl.exchange.targets import ExchangeTarget
from fortctl.exchange.tls import tls_context
from fortctl.model import KeyPair
from fortctl.ports import ExchangeError, IssuedKey, Outcome
from fortctl.secret import Secret
from fortctl.system.clock import SystemClock

TIMEOUT_S = 10.0
RECV_WINDOW_MS = 5_000
PAGE = 100
# A sub-account has at most 30 keys today; a list of 10,000 is not one.
MOST_PAGES = 100
NOT_THERE = (404, 405, 410)
KEYS = "/sub-account/subAccountApi"
ANY_ADDRESS, LISTED_ADDRESSES = "1", "2"
# The right as it is named here → the flag of the call. Reading is every key's.
FLAGS = {
    "spot_trading": "canTrade",
    "margin": "canMarginLoanRepay",
    "futures": "canFuturesTrade",
    "universal_transfer": "canUniversalTransfer",
    "options": "canVanillaOptions",
}


class SubAccountIssuer:
    """Makes and deletes one sub-account's keys; implements :class:`fortctl.ports.Issuer`.

    Args:
        target: where.
        master: the master account's key.
        email: what the master's calls name the sub-account by.
        clock: the machine's clock.
        patience_s: for how long, in all, one call waits where the exchange says how long it is busy (``Retry-After``).
    """

    def __init__(
        self,
        target: ExchangeTarget,
        master: KeyPair,
        email: str,
        clock: SystemClock | None = None,
        patience_s: float = 0.0,
    ) -> None:
        self._target = target
        self._master = master
        self.email = email
        self._clock = clock or SystemClock()
        self._patience_s = patience_s
        self._offset_ms = 0
        self._session: Any = None

    async def create(
        self, name: str, public_key: str, permissions: Collection[str], addresses: Sequence[str]
    ) -> IssuedKey:
        fields = {
            "email": self.email,
            "apiName": name,
            "status": LISTED_ADDRESSES if addresses else ANY_ADDRESS,
            **{flag: "true" for right, flag in FLAGS.items() if right in permissions},
            **({"ipAddress": ",".join(addresses)} if addresses else {}),
            "publicKey": public_key,
        }
        try:
            made = await self._ask("POST", f"/sapi/v2{KEYS}", fields)
        except ExchangeError as fault:
            # Only where v2 itself is refused has nothing happened: everything else is for the caller to look up.
            if fault.outcome is not Outcome.REFUSED:
                raise
            made = await self._ask("POST", f"/sapi/v1{KEYS}", fields)
        return _key(made, "apiKey")

    async def list_keys(self) -> tuple[IssuedKey, ...]:
        found: list[IssuedKey] = []
        page = 1
        while True:
            told = await self._ask(
                "GET", f"/sapi/v1{KEYS}", {"email": self.email, "page": str(page), "size": str(PAGE)}
            )
            # The SDK of 2026-07 names the list "list", the pages "rows".
            rows = told.get("rows", told.get("list"))
            if not isinstance(rows, list):
                raise ExchangeError(Outcome.UNKNOWN, "the exchange's answer has no list of keys")
            found += [_key(row, "apikey") for row in rows]
            if len(rows) < PAGE:
                return tuple(found)
            page += 1
            if page > MOST_PAGES:
                raise ExchangeError(Outcome.UNKNOWN, "the exchange's list of keys does not end")

    async def addresses(self, api_key: Secret) -> tuple[str, ...]:
        told = await self._ask("GET", f"/sapi/v1{KEYS}/ipRestriction", self._named(api_key))
        # A text or a boolean, by the call (binance.md, section 9); anything else would be a list that nobody knows.
        restricted = str(told.get("ipRestrict")).lower()
        if restricted not in ("true", "false"):
            raise ExchangeError(Outcome.UNREACHABLE, "the exchange's answer does not name the key's address list")
        try:
            return Answer(told, "ipRestriction").texts("ipList") if restricted == "true" else ()
        except UnreadableAnswerError as error:
            raise ExchangeError(Outcome.UNREACHABLE, f"the exchange's answer cannot be read: {error}") from None

    async def delete(self, api_key: Secret) -> None:
        await self._ask("DELETE", f"/sapi/v1{KEYS}", self._named(api_key))

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # -- calling ---------------------------------------------------------------------------------------------------

    def _named(self, api_key: Secret) -> dict[str, str]:
        return {"email": self.email, "subAccountApiKey": api_key.reveal()}

    async def _ask(self, method: str, path: str, fields: Mapping[str, str]) -> dict[str, Any]:
        """Make a signed call; where the exchange is busy (nothing happened then), wait as it says, and ask again.

        Source: "LIMITS": ``Retry-After`` is sent with 418 and 429, in seconds.
        """
        left = self._patience_s
        while True:
            try:
                return await self._ask_now(method, path, fields)
            except ExchangeError as fault:
                wait = max(fault.retry_after or 0.0, 1.0)
                if fault.outcome is not Outcome.BUSY or fault.retry_after is None or wait > left:
                    raise
            left -= wait
            await self._clock.sleep(wait)

    async def _ask_now(self, method: str, path: str, fields: Mapping[str, str]) -> dict[str, Any]:
        """Make a signed call; where the clock is refused (nothing happened then), measure it once and ask again."""
        if not self._target.has_sapi:
            raise ExchangeError(Outcome.REFUSED, "this target has no /sapi: it has no sub-accounts to ask about")
        try:
            return await self._send(method, path, self._signed(fields))
        except ExchangeError as fault:
            if fault.outcome is not Outcome.CLOCK:
                raise
        before = self._clock.now_ms()
        try:
            theirs = parsing.server_time(await self._send("GET", "/api/v3/time", ""))
        except UnreadableAnswerError as error:
            raise ExchangeError(Outcome.UNREACHABLE, f"the exchange's answer cannot be read: {error}") from None
        self._offset_ms = theirs - (before + self._clock.now_ms()) // 2
        return await self._send(method, path, self._signed(fields))

    def _signed(self, fields: Mapping[str, str]) -> str:
        stamped = {**fields, "recvWindow": RECV_WINDOW_MS, "timestamp": self._clock.now_ms() + self._offset_ms}
        return with_signature(rest_payload(stamped), signer(self._master))

    async def _send(self, method: str, path: str, payload: str) -> dict[str, Any]:
        """Send one request; every foreign exception becomes an ``ExchangeError``."""
        import aiohttp
        from yarl import URL

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls_context(self._target.rest_url)),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                auto_decompress=False,
            )
        base, body = f"{self._target.rest_url}{path}", None
        headers = {"X-MBX-APIKEY": self._master.api_key.reveal()} if payload else {}
        if method == "POST":
            # The public key is taken in the body alone ("Create V2").
            body, headers["Content-Type"] = payload, "application/x-www-form-urlencoded"
        elif payload:
            base = f"{base}?{payload}"
        try:
            async with self._session.request(
                method, URL(base, encoded=True), data=body, headers=headers, allow_redirects=False
            ) as answer:
                document = await read_answer(answer)
                if not isinstance(document, dict):
                    raise ExchangeError(unreadable(method), "the exchange's answer is not an object")
                return document
        except ExchangeError as refused:
            if refused.http_status in NOT_THERE:
                # No call of that path or method exists there, so nothing happened, whatever the body says.
                refused.outcome = Outcome.REFUSED
            raise
        except aiohttp.ClientConnectorError as error:
            raise ExchangeError(Outcome.UNREACHABLE, f"no connection ({type(error).__name__})") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ExchangeError(Outcome.UNKNOWN, f"the connection broke ({type(error).__name__})") from None


def _key(row: object, field: str) -> IssuedKey:
    try:
        fields = Answer(row, "key")
        rights = ("reading", *(right for right, flag in FLAGS.items() if flag in fields and fields.flag(flag)))
        return IssuedKey(fields.text("apiName"), Secret(fields.text(field)), rights, fields.optional_time("timestamp"))
    except UnreadableAnswerError as error:
        raise ExchangeError(Outcome.UNKNOWN, f"the exchange's answer cannot be read: {error}") from None
