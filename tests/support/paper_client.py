"""A small signing client, for what no library would send."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> int:
        code: int = self.body["code"]
        return code


class SignedClient:
    """Speaks to a paper exchange with an HMAC key, or with none.

    Args:
        url: the exchange's base address.
        made: what its page gave for the key.
        address: where its requests come from.
    """

    def __init__(self, url: str, made: dict[str, Any] | None = None, address: str = "") -> None:
        self.host = urlsplit(url).netloc
        self.made = made
        self.address = address

    def sign(self, payload: str) -> str:
        assert self.made is not None
        return hmac.new(self.made["secret_key"].encode(), payload.encode(), hashlib.sha256).hexdigest()

    def raw(self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection(self.host, timeout=30, source_address=(self.address, 0))
        try:
            connection.request(method, target, body, headers or {})
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        named = {name.lower(): value for name, value in response.getheaders()}
        parsed = json.loads(data) if named.get("content-type", "").startswith("application/json") else data
        return Answer(response.status, named, parsed)

    def ask(self, method: str, path: str, *, signed: bool = True, **values: Any) -> Answer:
        """Call ``/api/v3`` (or a path that begins with a slash); everything in the query."""
        path = path if path.startswith("/") else f"/api/v3/{path}"
        headers = {}
        if signed and self.made is not None:
            headers["X-MBX-APIKEY"] = self.made["api_key"]
            query = urlencode({**values, "timestamp": int(time.time() * 1000)})
            query = f"{query}&signature={self.sign(query)}"
        else:
            query = urlencode(values)
        return self.raw(method, f"{path}?{query}" if query else path, headers=headers)

    def ok(self, method: str, path: str, **values: Any) -> Any:
        answer = self.ask(method, path, **values)
        assert answer.status == 200, answer
        return answer.body

    def signed_params(self, **values: Any) -> dict[str, Any]:
        """Return parameters of the WebSocket API with key, timestamp and signature."""
        assert self.made is not None
        given = {**values, "apiKey": self.made["api_key"], "timestamp": int(time.time() * 1000)}
        payload = "&".join(f"{name}={given[name]}" for name in sorted(given))
        return {**given, "signature": self.sign(payload)}
