"""The client of a running paper exchange's admin API, for the ``paper`` commands and tests. Standard library only."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from fortctl.errors import ExchangeUnreachableError, FortctlError, error_from_json
from fortctl.system.files import read_regular

TIMEOUT_S = 30.0


def ask(folder: Path, what: str, body: dict[str, Any]) -> dict[str, Any]:
    """Call the admin API of a home's paper exchange; return its data.

    Args:
        folder: ``HOME/paper``.
        what: the call, for example ``keys/create``.
        body: its arguments.

    Raises:
        ExchangeUnreachableError: no server runs, or ``server.json`` is stale.
        FortctlError: the server refused; the error has the class that the server states.
    """
    try:
        server = json.loads(read_regular(folder / "server.json"))
    except (OSError, ValueError):
        raise ExchangeUnreachableError(
            "no paper exchange is running in this home", hint="start one with 'fortctl paper serve'"
        ) from None
    request = urllib.request.Request(  # noqa: S310 (loopback, from our own file)
        f"{server['url']}/paper-admin/{what}",
        data=json.dumps(body).encode(),
        headers={"X-Paper-Token": server["token"], "Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            document = json.load(answer)
    except urllib.error.HTTPError as error:
        raise _refused(error) from None
    except (OSError, ValueError):
        raise ExchangeUnreachableError(
            "the paper exchange of this home does not answer", hint="start it again with 'fortctl paper serve'"
        ) from None
    data: dict[str, Any] = document["data"]
    return data


def page_link(folder: Path) -> str:
    """Return the account page's address, with the token in the fragment, which browsers do not send.

    Raises:
        ExchangeUnreachableError: no server runs.
    """
    ask(folder, "market", {"action": "status"})
    server = json.loads(read_regular(folder / "server.json"))
    return f"{server['url']}/#token={server['token']}"


def _refused(error: urllib.error.HTTPError) -> FortctlError:
    try:
        return error_from_json(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return ExchangeUnreachableError(
            f"the paper exchange answered HTTP {error.code}", hint="start it again with 'fortctl paper serve'"
        )
