"""Print results and errors: one JSON document on stdout, or plain results on stdout and errors on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fortctl.cli.render import render_data
from fortctl.secret import redact
from fortctl.terminal.printable import printable, printable_json

if TYPE_CHECKING:
    from fortctl.cli.options import Invocation
    from fortctl.cli.result import Result
    from fortctl.errors import FortctlError


def encode(document: Mapping[str, Any]) -> str:
    """Return a document as one line of JSON that stdout can carry whatever its encoding.

    Undecodable arguments arrive as lone surrogates, and an ASCII terminal knows no dash: both leave as JSON escapes
    (RFC 8259, section 7), so that what is printed is always valid UTF-8 JSON.
    """
    text = printable_json(json.dumps(document, ensure_ascii=False))
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(document)
    return text


def make_tolerant() -> None:
    """Make stdout and stderr escape characters that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def silence() -> None:
    """Redirect closed streams (``| head``) to the null device, so that the interpreter's last flush succeeds."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            descriptor = os.open(os.devnull, os.O_WRONLY)
            os.dup2(descriptor, stream.fileno())
            os.close(descriptor)


def print_result(result: Result, invocation: Invocation) -> None:
    """Print the result of a command."""
    given = invocation.globals()
    if given.json:
        document = {
            "ok": True,
            "command": invocation.command,
            "account": given.account,
            "changed": result.changed,
            "data": dict(result.data),
            "warnings": _warnings(result.warnings),
        }
        print(encode(document), flush=True)
        return
    if not given.quiet:
        _print_warnings(result.warnings)
    text = result.text() if callable(result.text) else result.text
    rendered = render_data(result.data) if text is None else text
    if rendered:
        print(printable(rendered), flush=True)


def print_error(error: FortctlError, invocation: Invocation, as_json: bool) -> None:
    """Print an error and the data that the command returned before it; with ``-vv`` a redacted traceback too."""
    if as_json:
        _print_failure(error.as_json(), invocation, error)
    else:
        if error.data is not None:
            print(printable(error.text or render_data(error.data)), flush=True)
        if not invocation.values.get("quiet"):
            _print_warnings(error.warnings)
    if int(invocation.values.get("verbose", 0)) >= 2:
        import traceback

        print(printable(redact("".join(traceback.format_exception(error)))), file=sys.stderr, end="")
    if not as_json:
        print(printable(f"error: {error.message}\nhint: {error.hint}"), file=sys.stderr)


def print_ended(code: str, message: str, exit_code: int, invocation: Invocation, as_json: bool) -> None:
    """Print that a signal ended the command."""
    hint = "nothing was left half-written; run the command again"
    if invocation.command == "keys rotate":
        hint = (
            "the robot may be draining or stopped: 'fortctl keys rotate --status' shows the rotation,"
            " --resume continues it, --abort ends it"
        )
    if as_json:
        facts = {"code": code, "message": message, "hint": hint, "exit_code": exit_code}
        _print_failure({**facts, "exchange": None, "details": {}}, invocation)
    else:
        print(f"error: {message}\nhint: {hint}", file=sys.stderr)


def _print_failure(shown: Mapping[str, Any], invocation: Invocation, error: FortctlError | None = None) -> None:
    account = invocation.values.get("account") or os.environ.get("FORTCTL_ACCOUNT") or "default"
    document: dict[str, Any] = {"ok": False, "command": invocation.command, "account": account, "error": shown}
    if error is not None and error.data is not None:
        document["data"] = error.data
    document["warnings"] = _warnings(error.warnings if error is not None else ())
    print(encode(document), flush=True)


def _warnings(warnings: Any) -> list[dict[str, str]]:
    return [{"code": code, "message": message} for code, message in warnings]


def _print_warnings(warnings: Any) -> None:
    for _code, message in warnings:
        print(printable(f"warning: {message}"), file=sys.stderr)
