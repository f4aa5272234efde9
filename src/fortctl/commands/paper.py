"""``fortctl paper``: serve the local paper exchange and administer the one that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.options import Seconds
from fortctl.cli.render import table
from fortctl.cli.result import Result
from fortctl.errors import BadInputError, UsageError

paper = group("paper", "Run and administer a local Binance-compatible exchange for tests.")


def _ask(context: CommandContext, what: str, **body: Any) -> dict[str, Any]:
    from fortctl.paper.admin_client import ask

    return ask(context.container.home.paper, what, body)


@paper.command("serve", help="Serve the paper exchange until Ctrl-C or SIGTERM.")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    default=8700,
    show_default=True,
    help="Port to listen on; 0 for any free port.",
)
@click.option(
    "--market", "markets", multiple=True, metavar="FILE|synthetic:SEED", help="Recorded market to replay; repeatable."
)
@click.option("--symbol", metavar="SYMBOL", help="Symbol of the recording (default: from its file name).")
@click.option("--speed", default="1", show_default=True, metavar="X|max", help="Market seconds for each real second.")
@click.option(
    "--start", default="0%", show_default=True, metavar="P%", help="Share of the recording to serve as history."
)
@click.option("--loop", is_flag=True, help="Restart the recording after its last trade.")
@click.option(
    "--limits",
    type=click.Choice(["real", "scaled", "off"]),
    help="Rate limits (default: real at speed 1, off at max, else scaled).",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="File to store accounts, keys, orders and the replay's position in.",
)
@click.option(
    "--fill-model",
    type=click.Choice(["touch", "through", "queue"]),
    default="through",
    show_default=True,
    help="When a recorded trade fills a resting order: at its price, beyond it, or after the queue at its price.",
)
@click.option("--request-log", type=click.Path(path_type=Path), help="File to append every request to, as JSON lines.")
@click.option(
    "--socket-life",
    type=Seconds(0.1),
    default=86_400,
    show_default=True,
    help="Seconds after which a WebSocket connection is closed.",
)
def serve(
    context: CommandContext,
    host: str,
    port: int,
    markets: tuple[str, ...],
    symbol: str | None,
    speed: str,
    start: str,
    loop: bool,
    limits: str | None,
    state: Path | None,
    fill_model: str,
    request_log: Path | None,
    socket_life: float,
) -> int:
    import asyncio

    import uvloop

    from fortctl.config.home import make_private_folder
    from fortctl.errors import ConflictError
    from fortctl.paper.engine.market_data import load_all
    from fortctl.paper.server.lifecycle import serve as run
    from fortctl.paper.server.server import ServerOptions

    if host not in ("127.0.0.1", "::1", "localhost"):
        context.progress(f"warning: {host} is not loopback; anybody who can reach it can trade on this paper exchange")
    if symbol is not None and len(markets) > 1:
        raise UsageError("--symbol requires exactly one --market")
    pace = _speed(speed)
    tapes = load_all(markets or ("synthetic:1",), symbol, context.progress)
    home = context.container.home
    make_private_folder(home.path)
    home.check_modes()
    default_limits = "off" if pace is None else "real" if pace == 1 else "scaled"
    options = ServerOptions(
        tapes,
        home.paper,
        host,
        port,
        pace,
        _percent(start),
        loop,
        limits or default_limits,
        fill_model,
        state,
        request_log,
        socket_life,
        context.progress,
    )

    def ready(data: dict[str, Any]) -> None:
        document = {"ok": True, "command": "paper serve", "data": data}
        context.stream(document, f"paper exchange ready at {data['url']} ({', '.join(data['symbols'])})")

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop_:
            loop_.run(run(options, ready))
    except OSError as error:
        raise ConflictError(
            f"port {port} of {host} cannot be used: {error.strerror}", hint="give --port 0 for any free port"
        ) from None
    return 0


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e9:
        raise UsageError("--speed must be a number above 0, or max")
    return value


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError("a share of the recording must be 0% to 100%")
    return value


@paper.command("page", help="Print the link to the account page; it contains the admin token.")
def page(context: CommandContext) -> Result:
    from fortctl.paper.admin_client import page_link

    link = page_link(context.container.home.paper)
    return Result({"url": link}, text=link)


keys = paper.subgroup("keys", "Manage the paper exchange's API keys.")
_PERMISSIONS = click.option(
    "--permissions", metavar="NAME,…", help="Permissions of the key: reading, spot_trading, withdrawals, …"
)
_IPS = click.option(
    "--ip",
    "ips",
    metavar="ADDR,…|any",
    help="IP addresses that may use the key, at most 30 (default of a new key: the loopback addresses where it may do"
    " more than read, else any).",
)
_EXPIRES = click.option("--expires-in", type=Seconds(0), help="Seconds until the key's trading right expires.")


def _listed(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text is not None else None


def _addresses(text: str | None) -> list[str] | None:
    return [] if text is not None and text.strip() == "any" else _listed(text)


@keys.command("create", help="Create a key and print its secret; it cannot be printed again.")
@click.option("--name", metavar="NAME", required=True, help="Name of the key.")
@_PERMISSIONS
@click.option(
    "--type", "kind", type=click.Choice(["hmac", "ed25519", "rsa"]), default="hmac", show_default=True, help="Key type."
)
@click.option(
    "--public-key", type=click.Path(path_type=Path), help="PEM file of a public key; the private key stays with you."
)
@_IPS
@click.option("--paper-account", metavar="NAME", help="Paper account (default: default).")
@_EXPIRES
def create_key(
    context: CommandContext,
    name: str,
    permissions: str | None,
    kind: str,
    public_key: Path | None,
    ips: str | None,
    paper_account: str | None,
    expires_in: float | None,
) -> Result:
    pem = None
    if public_key is not None:
        if kind == "hmac":
            raise UsageError("--public-key requires --type ed25519 or rsa")
        pem = context.prompts.read_input(str(public_key)).decode("utf-8", "replace")
    data = _ask(
        context,
        "keys/create",
        name=name,
        permissions=_listed(permissions) or ["reading"],
        type=kind,
        public_key=pem,
        ips=_addresses(ips),
        account=paper_account,
        expires_in=expires_in,
    )
    return Result(data, True)


@keys.command("edit", help="Change a key's permissions, IP list or expiry.")
@click.argument("name")
@_PERMISSIONS
@_IPS
@_EXPIRES
def edit_key(
    context: CommandContext, name: str, permissions: str | None, ips: str | None, expires_in: float | None
) -> Result:
    found = _ask(
        context, "keys/edit", name=name, permissions=_listed(permissions), ips=_addresses(ips), expires_in=expires_in
    )
    return Result(found, True)


@keys.command("delete", help="Delete a key; its next request is refused.")
@click.argument("name")
def delete_key(context: CommandContext, name: str) -> Result:
    return Result(_ask(context, "keys/delete", name=name), True, text=f"paper key {name} deleted")


@keys.command("list", help="List the keys, without their secrets.")
def list_keys(context: CommandContext) -> Result:
    data = _ask(context, "keys/list")
    headings = ("name", "account", "type", "tail", "permissions", "ips")
    return Result(data, text=table(headings, [[row[name] for name in headings] for row in data["keys"]]))


accounts = paper.subgroup("accounts", "Manage the paper exchange's accounts.")


@accounts.command("create", help="Create an account.")
@click.argument("name")
@click.option("--deposit", "deposits", multiple=True, metavar="ASSET=AMOUNT", help="Initial balance; repeatable.")
@click.option("--sub-of", "master", metavar="NAME", help="Master account; the new one becomes its sub-account.")
@click.option(
    "--email",
    metavar="ADDRESS",
    default="",
    help="The sub-account's e-mail address (default: NAME@paper.example).",
)
def create_account(
    context: CommandContext, name: str, deposits: tuple[str, ...], master: str | None, email: str
) -> Result:
    pairs = dict(_pair(text) for text in deposits)
    data = _ask(context, "accounts/create", name=name, deposits=pairs, master=master, email=email)
    return Result(data, True, text=f"paper account {name} created")


@accounts.command("edit", help="Change whether an account pays commissions in BNB and whether it may trade.")
@click.argument("name")
@click.option("--bnb/--no-bnb", "pays_in_bnb", default=None, help="Pay commissions in BNB, at a discount, or not.")
@click.option("--trading/--no-trading", "can_trade", default=None, help="Allow or refuse all trading of the account.")
def edit_account(context: CommandContext, name: str, pays_in_bnb: bool | None, can_trade: bool | None) -> Result:
    data = _ask(context, "accounts/edit", name=name, pays_in_bnb=pays_in_bnb, can_trade=can_trade)
    return Result(data, True, text=f"paper account {name} changed")


@accounts.command("list", help="List the accounts with their balances.")
def list_accounts(context: CommandContext) -> Result:
    data = _ask(context, "accounts/list")
    rows = [
        [one["name"], one["uid"], asset, one["free"].get(asset, "0"), one["locked"].get(asset, "0")]
        for one in data["accounts"]
        for asset in sorted({*one["free"], *one["locked"]})
    ]
    return Result(data, text=table(["account", "uid", "asset", "free", "locked"], rows))


@paper.command("deposit", help="Deposit assets into an account, for example USDT=1000; a negative amount withdraws.")
@click.argument("amounts", nargs=-1, required=True, metavar="ASSET=AMOUNT…")
@click.option("--paper-account", metavar="NAME", help="Paper account (default: default).")
def deposit(context: CommandContext, amounts: tuple[str, ...], paper_account: str | None) -> Result:
    pairs = [_pair(text) for text in amounts]
    done = [_ask(context, "deposit", account=paper_account, asset=asset, amount=amount) for asset, amount in pairs]
    return Result({"deposits": done}, True, text="\n".join(f"{row['amount']} {row['asset']}" for row in done))


def _pair(text: str) -> tuple[str, str]:
    asset, equals, amount = text.partition("=")
    if not equals or not asset.isalnum():
        raise BadInputError("a deposit must be ASSET=AMOUNT", hint="for example USDT=1000")
    return asset.upper(), amount


market = paper.subgroup("market", "Control the replay and the symbols.")


def _market(context: CommandContext, action: str, **more: Any) -> Result:
    data = _ask(context, "market", action=action, **more)
    text = f"position {data['position']} of {data['rows']}, speed {data['speed']}"
    text += ", paused" if data["paused"] else ", ended" if data["ended"] else ""
    prices = ", ".join(f"{name} {price}" for name, price in data["price"].items())
    return Result(data, action not in ("status",), text=f"{text}; {prices}")


@market.command("pause", help="Pause the replay.")
def pause(context: CommandContext) -> Result:
    return _market(context, "pause")


@market.command("resume", help="Resume the replay.")
def resume(context: CommandContext) -> Result:
    return _market(context, "resume")


@market.command("step", help="Replay the next COUNT trades now.")
@click.argument("count", type=click.IntRange(1))
def step(context: CommandContext, count: int) -> Result:
    return _market(context, "step", count=count)


@market.command("jump", help="Replay all trades up to P% of the recording now.")
@click.argument("share", metavar="P%")
def jump(context: CommandContext, share: str) -> Result:
    return _market(context, "jump", percent=_percent(share) * 100)


@market.command("status", help="Show the replay's position and the last prices.")
def status(context: CommandContext) -> Result:
    return _market(context, "status")


@market.command("set", help="Change a symbol: status=HALT, maker=0.0005, LOT_SIZE.stepSize=0.01, ocoAllowed=false …")
@click.argument("symbol")
@click.argument("changes", nargs=-1, required=True, metavar="NAME=VALUE…")
def set_symbol(context: CommandContext, symbol: str, changes: tuple[str, ...]) -> Result:
    pairs = {}
    for text in changes:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInputError("a change must be NAME=VALUE", hint="for example status=HALT")
        pairs[name] = value
    return Result(_ask(context, "symbols/edit", symbol=symbol, changes=pairs), True, text=f"{symbol} changed")


@market.command("price", help="Show the last prices.")
def price(context: CommandContext) -> Result:
    found = _market(context, "status").data
    text = "\n".join(f"{name} {value}" for name, value in found["price"].items())
    return Result({"price": found["price"]}, text=text)


fault = paper.subgroup("fault", "Inject faults into requests, events and the server.")


@fault.command(
    "set",
    help="Set a fault (kinds: docs/paper-exchange.md). --match accepts POST PATH, WS order.place and EVENT"
    " executionReport. --merge, --drop, --body and --status belong to the kind 'answer'.",
)
@click.argument("kind")
@click.option(
    "--match", nargs=2, metavar="METHOD PATH", help="Affect only matching requests or events (shell patterns)."
)
@click.option("--after", metavar="N", type=click.IntRange(0), default=0, help="Number of matches to let through first.")
@click.option("--count", metavar="N", type=click.IntRange(1), help="Number of requests to affect (default: all).")
@click.option("--for", "seconds", type=Seconds(0), help="Seconds until the fault ends (default: until cleared).")
@click.option("--merge", metavar="JSON", help="Set these fields in an answer, or in each row of a list.")
@click.option("--drop", metavar="FIELD,…", help="Remove these fields from an answer, or from each row of a list.")
@click.option("--body", metavar="TEXT", help="Replace the answer by TEXT.")
@click.option("--status", metavar="CODE", type=click.IntRange(200, 599), help="Answer with this HTTP status.")
def set_fault(
    context: CommandContext,
    kind: str,
    match: tuple[str, str] | None,
    after: int,
    count: int | None,
    seconds: float | None,
    merge: str | None,
    drop: str | None,
    body: str | None,
    status: int | None,
) -> Result:
    method, path = match or ("*", "*")
    request = {"kind": kind, "method": method, "path": path, "after": after, "count": count, "for": seconds}
    if merge is not None:
        request["merge"] = _fields(merge)
    if drop is not None:
        request["drop"] = [name for name in drop.split(",") if name]
    request |= {name: value for name, value in (("body", body), ("status", status)) if value is not None}
    return Result(_ask(context, "fault/set", **request), True)


def _fields(text: str) -> dict[str, Any]:
    """Return the object of ``--merge``. Raises :class:`UsageError`."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise UsageError("--merge needs a JSON object", hint="""for example '{"status": "PENDING_REVIEW"}'""")
    return fields


@fault.command("clear", help="Clear the fault of this id, or all faults.")
@click.argument("number", type=int, required=False)
def clear_fault(context: CommandContext, number: int | None) -> Result:
    data = _ask(context, "fault/clear", id=number)
    return Result(data, bool(data["cleared"]))


@fault.command("list", help="List the faults and how often each applied.")
def list_faults(context: CommandContext) -> Result:
    return Result(_ask(context, "fault/list"))


@paper.command("requests", help="Show the requests that the exchange received.")
@click.option(
    "--since",
    metavar="T",
    help="Show requests from this time on (milliseconds since the epoch).",
    type=click.IntRange(0),
    default=0,
)
def requests(context: CommandContext, since: int) -> Result:
    data = _ask(context, "requests", since=since)
    headings = ("seq", "time", "via", "method", "path", "client_order_id", "status", "code")
    return Result(data, text=table(headings, [[row.get(name) for name in headings] for row in data["requests"]]))
