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
    """Creates and deletes the keys of one sub-account; implements :class:`fortctl.ports.Issuer`.

    Args:
        target: the exchange's URLs.
        master: the master account's key.
        email: the address that names the sub-account in the master account's calls.
        clock: the machine's clock.
        max_wait_s: how long one call waits in all while the exchange asks it to (``Retry-After``).
    """

    def __init__(
        self,
        target: ExchangeTarget,
        master: KeyPair,
        email: str,
        clock: SystemClock | None = None,
        max_wait_s: float = 0.0,
    ) -> None:
        self._target = target
        self._master = master
        self.email = email
        self._clock = clock or SystemClock()
        self._max_wait_s = max_wait_s
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
            created = await self._call("POST", f"/sapi/v2{KEYS}", fields)
        except ExchangeError as fault:
            # If v2 itself is refused, nothing happened. After any other error the caller must list the keys.
            if fault.outcome is not Outcome.REFUSED:
                raise
            created = await self._call("POST", f"/sapi/v1{KEYS}", fields)
        return _key(created, "apiKey")

    async def list_keys(self) -> tuple[IssuedKey, ...]:
        keys: list[IssuedKey] = []
        page = 1
        while True:
            answer = await self._call(
                "GET", f"/sapi/v1{KEYS}", {"email": self.email, "page": str(page), "size": str(PAGE)}
            )
            # Binance's SDK of 2026-07 calls the list "list", its documentation "rows".
            rows = answer.get("rows", answer.get("list"))
            if not isinstance(rows, list):
                raise ExchangeError(Outcome.UNKNOWN, "the exchange's answer has no list of keys")
            keys += [_key(row, "apikey") for row in rows]
            if len(rows) < PAGE:
                return tuple(keys)
            page += 1
            if page > MOST_PAGES:
                raise ExchangeError(Outcome.UNKNOWN, "the exchange's list of keys does not end")

    async def addresses(self, api_key: Secret) -> tuple[str, ...]:
        answer = await self._call("GET", f"/sapi/v1{KEYS}/ipRestriction", self._key_fields(api_key))
        # A text or a boolean, depending on the call (Binance, sub-account API, ``ipRestriction``).
        restricted = str(answer.get("ipRestrict")).lower()
        if restricted not in ("true", "false"):
            raise ExchangeError(
                Outcome.UNREACHABLE, "the exchange's answer does not say whether the key has an IP list"
            )
        try:
            return Answer(answer, "ipRestriction").texts("ipList") if restricted == "true" else ()
        except UnreadableAnswerError as error:
            raise parsing.unreadable(error) from None

    async def delete(self, api_key: Secret) -> None:
        await self._call("DELETE", f"/sapi/v1{KEYS}", self._key_fields(api_key))

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # -- calling ---------------------------------------------------------------------------------------------------

    def _key_fields(self, api_key: Secret) -> dict[str, str]:
        return {"email": self.email, "subAccountApiKey": api_key.reveal()}

    async def _call(self, method: str, path: str, fields: Mapping[str, str]) -> dict[str, Any]:
        """Make a signed call; while the exchange is busy (no effect), wait as long as it asks and call again.

        Source: "LIMITS": ``Retry-After`` is sent with 418 and 429, in seconds.
        """
        remaining_s = self._max_wait_s
        while True:
            try:
                return await self._call_with_clock_retry(method, path, fields)
            except ExchangeError as fault:
                wait = max(fault.retry_after or 0.0, 1.0)
                if fault.outcome is not Outcome.BUSY or fault.retry_after is None or wait > remaining_s:
                    raise
            remaining_s -= wait
            await self._clock.sleep(wait)

    async def _call_with_clock_retry(self, method: str, path: str, fields: Mapping[str, str]) -> dict[str, Any]:
        """Make a signed call; if its timestamp is refused (no effect), measure the exchange's clock and call again."""
        if not self._target.has_sapi:
            raise ExchangeError(Outcome.REFUSED, "this exchange has no /sapi, so it has no sub-accounts")
        try:
            return await self._send(method, path, self._signed_payload(fields))
        except ExchangeError as fault:
            if fault.outcome is not Outcome.CLOCK:
                raise
        before = self._clock.now_ms()
        try:
            server_time = parsing.server_time(await self._send("GET", "/api/v3/time", ""))
        except UnreadableAnswerError as error:
            raise parsing.unreadable(error) from None
        self._offset_ms = server_time - (before + self._clock.now_ms()) // 2
        return await self._send(method, path, self._signed_payload(fields))

    def _signed_payload(self, fields: Mapping[str, str]) -> str:
        stamped = {**fields, "recvWindow": RECV_WINDOW_MS, "timestamp": self._clock.now_ms() + self._offset_ms}
        return with_signature(rest_payload(stamped), signer(self._master))

    async def _send(self, method: str, path: str, payload: str) -> dict[str, Any]:
        """Send one request. Raises ``ExchangeError`` in place of each exception of the library."""
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
            # Binance accepts the public key in the body only ("Create V2").
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
        except ExchangeError as error:
            if error.http_status in NOT_THERE:
                # The target has no such path or method, so it did nothing, whatever the body says.
                error.outcome = Outcome.REFUSED
            raise
        except aiohttp.ClientConnectorError as error:
            raise ExchangeError(
                Outcome.UNREACHABLE, f"cannot connect to the exchange ({type(error).__name__})"
            ) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ExchangeError(
                Outcome.UNKNOWN, f"the connection to the exchange broke ({type(error).__name__})"
            ) from None


def _key(row: object, field: str) -> IssuedKey:
    try:
        fields = Answer(row, "key")
        rights = ("reading", *(right for right, flag in FLAGS.items() if flag in fields and fields.flag(flag)))
        return IssuedKey(fields.text("apiName"), Secret(fields.text(field)), rights, fields.optional_time("timestamp"))
    except UnreadableAnswerError as error:
        raise parsing.unreadable(error, Outcome.UNKNOWN) from None
