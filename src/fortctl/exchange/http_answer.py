"""Read one HTTP answer of an exchange: bounded, never redirected, and every refusal with its reason (adapter).

The body is unpacked here rather than by aiohttp, since a few kilobytes can unpack to gigabytes. A redirect is never
followed: a 307 would send the API key and the whole signed request to an address that somebody else chose.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any

from fortctl.exchange.decoding import MAX_ANSWER_BYTES, UnreadableAnswerError, decode_json
from fortctl.exchange.error_codes import classify
from fortctl.ports import ExchangeError, Outcome
from fortctl.secret import redact

if TYPE_CHECKING:
    import aiohttp

# A text that a person reads; longer ones are pages of a proxy.
MAX_MESSAGE = 400
# What an exchange may ask for at most; a ban lasts three days at the most (rest-api.md, "IP Limits").
LONGEST_WAIT_S = 7 * 86_400.0
# gzip and zlib, distinguished by their header (zlib's manual, "inflateInit2").
_ANY_DEFLATE = 47
_MARKUP = re.compile(r"<[^>]*>|\s+")
_PLACE = {
    403: "HTTP 403: a firewall in front of the exchange refuses this address or this request",
    451: "HTTP 451: the exchange does not serve this country or this address",
}


def unreadable(method: str) -> Outcome:
    """Return how to read an answer that cannot be read: a GET has no effect, anything else may have had one."""
    return Outcome.UNREACHABLE if method.upper() == "GET" else Outcome.UNKNOWN


async def read_answer(answer: aiohttp.ClientResponse, *, max_bytes: int = MAX_ANSWER_BYTES) -> Any:
    """Return the decoded JSON document of a successful answer.

    Raises:
        ExchangeError: the exchange refuses the call, or the answer cannot be read: ``UNKNOWN`` where the call may have
            had an effect, ``UNREACHABLE`` where it only reads.
        aiohttp.ClientError, TimeoutError: the connection broke.
    """
    outcome, status = unreadable(answer.method), answer.status
    if 300 <= status < 400:
        raise ExchangeError(
            outcome,
            f"HTTP {status}: the answer points to another address, and fortctl follows no redirect",
            http_status=status,
        )
    try:
        body = await _body(answer, max_bytes)
        if 200 <= status < 300:
            if answer.content_type != "application/json":
                raise UnreadableAnswerError("the answer", "is not of type application/json")
            return decode_json(body, max_bytes=max_bytes)
    except UnreadableAnswerError as error:
        raise ExchangeError(outcome, f"the exchange's answer cannot be read: {error}", http_status=status) from None
    raise refusal(status, body, answer.headers.get("Retry-After"))


async def _body(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the unpacked body. Raises ``UnreadableAnswerError``: too large, or packed in a way that is not known."""
    packing = answer.headers.get("Content-Encoding", "").strip().lower()
    if packing not in ("", "identity", "gzip", "deflate"):
        raise UnreadableAnswerError("the answer", "is packed in a way that fortctl does not know")
    raw = bytearray()
    async for chunk in answer.content.iter_any():
        raw += chunk
        if len(raw) > max_bytes:
            answer.close()
            raise UnreadableAnswerError("the answer", f"has more than {max_bytes} bytes")
    if packing in ("", "identity") or not raw:
        return bytes(raw)
    unpacker = zlib.decompressobj(_ANY_DEFLATE)
    try:
        body = unpacker.decompress(bytes(raw), max_bytes + 1)
    except zlib.error:
        raise UnreadableAnswerError("the answer", "cannot be unpacked") from None
    if len(body) > max_bytes:
        raise UnreadableAnswerError("the answer", f"has more than {max_bytes} bytes")
    return body


def refusal(status: int, body: bytes, retry_after: str | None) -> ExchangeError:
    """Return what an answer that is not a success says, with the exchange's own text.

    Args:
        status: the HTTP status.
        body: the unpacked body.
        retry_after: the header of that name.
    """
    try:
        document = decode_json(body)
    except UnreadableAnswerError:
        document = None
    fields = document if isinstance(document, dict) else {}
    code = fields.get("code")
    code = code if isinstance(code, int) and not isinstance(code, bool) and code else None
    said = redact(str(fields.get("msg") or ""))[:MAX_MESSAGE]
    if status in _PLACE:
        text = (
            said or redact(_MARKUP.sub(" ", body[: 4 * MAX_MESSAGE].decode("utf-8", "replace"))).strip()[:MAX_MESSAGE]
        )
        message = f"{_PLACE[status]} ({text})" if text else _PLACE[status]
    elif said:
        message = said
    else:
        message = f"HTTP {status} that did not come from Binance (a proxy or a maintenance page)"
    outcome = classify(status, code, message)
    return ExchangeError(outcome, message, code=code, http_status=status, retry_after=seconds(retry_after))


def seconds(header: str | None) -> float | None:
    """Return a ``Retry-After`` in seconds, at most a week; None where it is missing or not a number of seconds."""
    if header is None or not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", header.strip(), re.ASCII):
        return None
    return min(float(header), LONGEST_WAIT_S)
