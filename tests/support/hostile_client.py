"""A hostile client of the paper exchange: raw HTTP and WebSocket frames, and hostile values for every parameter.

The examples are fixed; ``FORTCTL_FUZZ_EXAMPLES=N`` asks for at least N of each kind, in another order each time (a long
campaign: ``make fuzz``).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from fortctl.paper.api.parameters import Call
from support.harness import Paper, Shell

SYMBOL = "BTCUSDT"
CAMPAIGN = int(os.environ.get("FORTCTL_FUZZ_EXAMPLES", "0"))
ANSWER_S = 15.0
# Generous: a fresh server has about 85 MiB.
MOST_MIB = 400
DEEP = 10_000
NESTED = (150, 253, 300, 1000, DEEP)


def examples(count: int) -> settings:
    return settings(
        max_examples=max(count, CAMPAIGN),
        derandomize=not CAMPAIGN,
        database=None,
        deadline=None,
        # A hang costs seconds: only a campaign has the time to look for the smallest request.
        phases=tuple(Phase) if CAMPAIGN else (Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


# -- the server --------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """What came back; status 0: the connection was closed without an answer."""

    status: int
    headers: str = ""
    body: bytes = b""


class Exchange:
    """A paper exchange process whose stderr is kept, and a raw HTTP connection to it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.shell = Shell(folder / "home")
        self.words = words
        self._errors = folder / "stderr"
        self._seen = 0
        self._socket: socket.socket | None = None
        self.start()

    def start(self) -> None:
        with self._errors.open("ab") as stderr:
            process = subprocess.Popen(
                self.shell.argv("paper", "serve", *self.words, "--port", "0", "--json"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=self.shell.environment,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"paper serve ended with {process.wait()}: {self.new_errors()}"
        self.paper = Paper(process, json.loads(line)["data"])
        self.port = int(self.paper.ready["url"].rpartition(":")[2])
        self.token = json.loads((self.shell.home / "paper" / "server.json").read_text())["token"]

    def stop(self) -> None:
        self.hang_up()
        self.paper.stop()

    def restarts(self) -> None:
        """Whatever was done to it: it starts again from its state."""
        self.stop()
        self.start()
        self.check()

    def mib(self) -> int:
        status = Path(f"/proc/{self.paper.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1]) // 1024

    def new_errors(self) -> str:
        text = self._errors.read_bytes()[self._seen :]
        self._seen += len(text)
        return text.decode(errors="replace")

    def check(self) -> None:
        """It lives, answers, and has no traceback to tell since the last look."""
        pong = self.ask(request("GET", b"/api/v3/ping"))
        assert (pong.status, pong.body) == (200, b"{}")
        errors = self.new_errors()
        assert "Traceback" not in errors, errors[-3000:]
        assert self.paper.process.poll() is None

    # -- raw HTTP --

    def hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port))
        made.settimeout(ANSWER_S)
        return made

    def ask(self, data: bytes, *, end: bool = False, body: bool = True) -> Answer:
        """Send bytes on the kept connection; return the one answer.

        Args:
            end: send nothing more after this (the answer may stay out).
            body: the answer to such a request has a body.
        """
        if self._socket is None:
            self._socket = self.connect()
        received = bytearray()
        try:
            with contextlib.suppress(ConnectionError):
                self._socket.sendall(data)
                if end:
                    self._socket.shutdown(socket.SHUT_WR)
            while (answer := parsed(bytes(received), body)) is None:
                more = self._socket.recv(1 << 20)
                if not more:
                    self.hang_up()
                    return Answer(0, received.decode("latin-1"))
                received += more
        except TimeoutError:
            self.hang_up()
            raise AssertionError(f"no answer within {ANSWER_S} s to {data[:2000]!r}") from None
        except ConnectionError:
            self.hang_up()
            return Answer(0)
        if end or "connection: close" in answer.headers or "http/1.0" in answer.headers:
            self.hang_up()
        return answer

    def admin(self, name: str, body: bytes | dict[str, Any], *headers: bytes) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        token = b"X-Paper-Token: " + self.token.encode()
        return self.ask(request("POST", f"/paper-admin/{name}".encode(), data, token, *headers))

    def page(self, what: str, /, **body: Any) -> dict[str, Any]:
        answer = self.admin(what, body)
        assert answer.status == 200, answer
        data: dict[str, Any] = json.loads(answer.body)["data"]
        return data


def parsed(received: bytes, has_body: bool) -> Answer | None:
    """Return an answer that is there in full, else None."""
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return None
    headers = head.decode("latin-1").lower()
    length = re.search(r"content-length: (\d+)", headers)
    if has_body and length is not None and len(body) < int(length[1]):
        return None
    return Answer(int(headers.split(" ")[1]), headers, body)


def request(method: str, target: bytes, body: bytes = b"", *headers: bytes) -> bytes:
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: 127.0.0.1", *headers]
    if body and not any(line.lower().startswith((b"content-length", b"transfer-encoding")) for line in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass
class Keys:
    """Keys of the account ``default``, which has a sub-account, ``sub@paper.example``."""

    hmac: dict[str, Any]
    ed25519: dict[str, Any]
    sub: dict[str, Any]

    def sign(self, kind: str, payload: bytes) -> bytes:
        if kind == "hmac":
            return hmac.new(self.hmac["secret_key"].encode(), payload, hashlib.sha256).hexdigest().encode()
        private: Any = load_pem_private_key(self.ed25519["private_key"].encode(), None)
        return base64.b64encode(private.sign(payload))


# -- hostile values ----------------------------------------------------------------------------------------------------

# Rounded to eight decimals it has more digits than Decimal's context.
CARRY = "99999999999999999999.999999999"
HOSTILE = [
    *("", " ", "0", "-0", "-1", "+1", "00", "1.", ".5", "1e5", "1e400", "-1e400", "NaN", "sNaN", "Infinity", "-inf"),
    *("0x10", "1_000", "١٢٣", "１２", "²", "99999999999999999999", "18446744073709551616", "9223372036854775807"),
    *("9223372036854775808", "4294967296", "1000000000000000000000000000000", "1" * 400, "9" * 5000),
    *(CARRY, "0.000000001", "0.00000000000000000001", "0." + "9" * 20, "0.00000001"),
    *("null", "true", "false", "[]", "{}", "[null]", '["BTCUSDT"]', '["BTCUSDT","BTCUSDT"]', '["' + "A" * 30 + '"]'),
    *("[" * 500, "[" * DEEP, '{"a":' * 300, "[1e400]", "[NaN]", '["\\ud800"]', "\x00", "\x00BTCUSDT", "BTCUSDT\x00"),
    *("BTCUSDT\n", "btcusdt", "ВТСUSDT", "\u202ebtc", "\U0001f980", "%00", "%", "%zz", "%25", "a" * 36, "a" * 37),
    *(
        "a" * 3000,
        "'; DROP TABLE item; --",
        "../../etc/passwd",
        "${jndi:x}",
        "<script>",
        "a=b&c=d",
        "@fees",
        "__class__",
    ),
    *("1M", "-12:00", "+14:00", "14", "99:99", "+00:00:00", "1483228800000", "253402300800000", "100000000000001"),
]
# What lets a request come further than its first parameter, by what a parameter's name ends with.
PLAUSIBLE = {
    "symbol": [SYMBOL],
    "symbols": [f'["{SYMBOL}"]'],
    "side": ["BUY", "SELL"],
    "type": ["LIMIT", "MARKET", "LIMIT_MAKER", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"],
    "timeinforce": ["GTC", "IOC", "FOK"],
    "price": ["39000", "40000", "41000", "0.01"],
    "quantity": ["0.001", "0.01", "1"],
    "qty": ["0.001", "100", "0.00001"],
    "interval": ["1s", "1m", "1h", "1w", "1M"],
    "timezone": ["0", "+08:00", "-12:00", "14"],
    "limit": ["1", "5", "1000"],
    "orderid": ["1", "2", "3"],
    "orderlistid": ["0", "1", "2"],
    "mode": ["STOP_ON_FAILURE", "ALLOW_FAILURE", "NONE", "EXPIRE_BOTH", "DECREMENT"],
    "resptype": ["ACK", "RESULT", "FULL"],
    "windowsize": ["1m", "7d"],
    "email": ["sub@paper.example"],
    "subaccountapikey": ["SUB-KEY"],
    "status": ["1", "2", "3", "TRADING"],
    "ipaddress": ["127.0.0.1", "::1,10.0.0.1"],
    "delta": ["10", "2000"],
    "time": ["1", "1483228800000"],
}
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40), st.integers().map(str), st.decimals().map(str))
raw_values = st.one_of(texts.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=40))


def plausible(name: str) -> list[str]:
    low = name.lower()
    return next((PLAUSIBLE[end] for end in sorted(PLAUSIBLE, key=len, reverse=True) if low.endswith(end)), ["1", "a"])


@st.composite
def parameters(draw: st.DrawFn, call: Call) -> list[tuple[str, bytes]]:
    """Draw a call's parameters: most of what it needs as it should be, the rest hostile; some missing, some twice."""
    found: list[tuple[str, bytes]] = []
    for name in call.required:
        kind = draw(st.integers(0, 9))
        if kind < 7:
            found.append((name, draw(st.sampled_from(plausible(name))).encode()))
        elif kind < 9:
            found.append((name, draw(raw_values)))
    if call.optional:
        for name in draw(st.lists(st.sampled_from(call.optional), max_size=6, unique=True)):
            good = draw(st.booleans())
            found.append((name, draw(st.sampled_from(plausible(name))).encode() if good else draw(raw_values)))
    odd = draw(st.integers(0, 19))
    if odd == 0 and found:
        found.append(found[0])
    elif odd == 1:
        found.append((draw(st.text(max_size=20)), draw(raw_values)))
    return found


def encoded(pairs: list[tuple[str, bytes]], *, raw: bool) -> bytes:
    """Return pairs as a query or form; ``raw`` leaves what HTTP can carry as it is."""
    # Above 0x7F only: what ends a request line or a pair must not stand there as it is.
    safe = bytes(range(0x80, 0x100)) if raw else b""
    return b"&".join(
        quote_from_bytes(name.encode("utf-8", "surrogatepass")).encode() + b"=" + _quoted(value, safe)
        for name, value in pairs
    )


def _quoted(value: bytes, safe: bytes) -> bytes:
    return b"".join(bytes([byte]) if byte in safe else quote_from_bytes(bytes([byte])).encode() for byte in value)


def fine(answer: Answer, sent: object) -> None:
    """An answer that a client may get: none of 5xx, and JSON where it says so."""
    assert answer.status < 500, f"{answer.status} {answer.body[:200]!r} to {sent!r}"
    if "application/json" in answer.headers and answer.body:
        json.loads(answer.body)


# -- WebSockets --------------------------------------------------------------------------------------------------------

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Raw:
    """A WebSocket by hand: frames as the test makes them."""

    def __init__(self, exchange: Exchange, path: str = "/ws-api/v3") -> None:
        self.socket = exchange.connect()
        key = base64.b64encode(b"0123456789abcdef").decode()
        upgrade = (
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        )
        self.socket.sendall(request("GET", path.encode(), b"", *(line.encode() for line in upgrade)))
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        assert b" 101 " in head, head

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_error: object) -> None:
        self.socket.close()

    def _more(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("closed without a close frame")
        self._buffer += data

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def send(self, data: bytes | str, kind: int = TEXT, **odd: Any) -> None:
        """Send one frame; it may find the connection closed already."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(
                frame(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data, kind, **odd)
            )

    def read(self) -> tuple[int, bytes]:
        """Return the next frame's kind and payload; a connection that was cut is (CLOSE, b"")."""
        try:
            first, length = self._take(2)
            if length == 126:
                (length,) = struct.unpack(">H", self._take(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._take(8))
            return first & 15, self._take(length)
        except TimeoutError:
            raise AssertionError(f"no frame within {ANSWER_S} s") from None
        except ConnectionError:
            return CLOSE, b""

    def answer(self) -> Any:
        """Return the next text as JSON, answering pings; None when the connection is closed."""
        while True:
            kind, payload = self.read()
            if kind == CLOSE:
                return None
            if kind == TEXT:
                return json.loads(payload)
            if kind == PING:
                self.send(payload, PONG)

    def closes(self) -> bytes:
        """Await the end; return the close frame's payload (b"" where there was none)."""
        while True:
            kind, payload = self.read()
            if kind == CLOSE:
                return payload


def frame(payload: bytes, kind: int = TEXT, *, final: bool = True, bits: int = 0) -> bytes:
    head = bytes([(0x80 if final else 0) | bits | kind])
    size = len(payload)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += b"\xfe" + struct.pack(">H", size)
    else:
        head += b"\xff" + struct.pack(">Q", size)
    # A mask of zeros leaves the payload as it is.
    return head + b"\0\0\0\0" + payload


def nested(depth: int, inner: str = "") -> str:
    return "[" * depth + inner + "]" * depth


anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**400]),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
