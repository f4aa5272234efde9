"""``fortctl paper``: the local paper exchange, from the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fortctl.cli.commands import group
from fortctl.cli.context import CommandContext
from fortctl.cli.options import Seconds
from fortctl.cli.render import table
from fortctl.cli.result import Result
from fortctl.errors import BadInputError, UsageError

paper = group("paper", "A local Binance-compatible exchange, and its own account page.")


def _ask(context: CommandContext, what: str, **body: Any) -> dict[str, Any]:
    from fortctl.paper.admin_client import ask

    return ask(context.container.home.paper, what, body)


@paper.command("serve", help="Serve the paper exchange until Ctrl-C.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8700, show_default=True, help="0: any free port.")
@click.option("--market", "markets", multiple=True, metavar="FILE|synthetic:SEED", help="What trades; may be repeated.")
@click.option("--symbol", help="The recording's symbol (default: from its file name).")
@click.option("--speed", default="1", show_default=True, metavar="X|max", help="Market seconds a real second.")
@click.option("--start", default="0%", show_default=True, metavar="P%", help="How much of the recording is history.")
@click.option("--loop", is_flag=True, help="Begin again after the last trade.")
@click.option("--limits", type=click.Choice(["real", "scaled", "off"]), help="Rate limits (default: by the speed).")
@click.option(
    "--state", type=click.Path(path_type=Path), help="Keep accounts, keys, orders and the market's place here."
)
@click.option("--fill-model", type=click.Choice(["touch", "through", "queue"]), default="through", show_default=True)
@click.option("--request-log", type=click.Path(path_type=Path), help="Write every request here, a JSON line each.")
@click.option(
    "--socket-life", type=Seconds(0.1), default=86_400, show_default=True, help="Seconds a WebSocket may last."
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
    from fortctl.paper.engine.market_data import load
    from fortctl.paper.server.lifecycle import serve as run
    from fortctl.paper.server.server import ServerOptions

    if host not in ("127.0.0.1", "::1", "localhost"):
        context.progress(f"warning: {host} is not loopback; anybody who reaches it can trade on this paper exchange")
    if symbol is not None and len(markets) > 1:
        raise UsageError("--symbol goes with one --market")
    pace = _speed(speed)
    tapes = {tape.symbol.name: tape for tape in (load(source, symbol) for source in markets or ("synthetic:1",))}
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
        raise UsageError("--speed is a number above 0, or max")
    return value


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError("a share of the recording is written 0% to 100%")
    return value


@paper.command("page", help="Print the link of the account page in a browser; the link holds the admin token.")
def page(context: CommandContext) -> Result:
    from fortctl.paper.admin_client import page_link

    link = page_link(context.container.home.paper)
    return Result({"url": link}, text=link)


keys = paper.subgroup("keys", "The paper exchange's API management page.")
_PERMISSIONS = click.option("--permissions", metavar="NAME,…", help="reading, spot_trading, withdrawals, …")
_IPS = click.option("--ip", "ips", metavar="ADDR,…", help="Only from these addresses.")
_EXPIRES = click.option("--expires-in", type=Seconds(0), help="Seconds until the trading right lapses.")


def _listed(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",") if part.strip()] if text is not None else None


@keys.command("create", help="Create a key; the one place that shows a secret, once.")
@click.option("--name", required=True)
@_PERMISSIONS
@click.option("--type", "kind", type=click.Choice(["hmac", "ed25519", "rsa"]), default="hmac", show_default=True)
@click.option("--public-key", type=click.Path(path_type=Path), help="Your own public key (PEM); the pair stays yours.")
@_IPS
@click.option("--paper-account", help="The paper account (default: default).")
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
            raise UsageError("--public-key goes with --type ed25519 or rsa")
        pem = context.prompts.read_input(str(public_key)).decode("utf-8", "replace")
    data = _ask(
        context,
        "keys/create",
        name=name,
        permissions=_listed(permissions) or ["reading"],
        type=kind,
        public_key=pem,
        ips=_listed(ips),
        account=paper_account,
        expires_in=expires_in,
    )
    return Result(data, True)


@keys.command("edit", help="Edit a key's permissions, IP list or expiry.")
@click.argument("name")
@_PERMISSIONS
@_IPS
@_EXPIRES
def edit_key(
    context: CommandContext, name: str, permissions: str | None, ips: str | None, expires_in: float | None
) -> Result:
    found = _ask(
        context, "keys/edit", name=name, permissions=_listed(permissions), ips=_listed(ips), expires_in=expires_in
    )
    return Result(found, True)


@keys.command("delete", help="Delete a key: it is refused from the next request on.")
@click.argument("name")
def delete_key(context: CommandContext, name: str) -> Result:
    return Result(_ask(context, "keys/delete", name=name), True, text=f"paper key {name} deleted")


@keys.command("list", help="Every key; no secret is shown a second time.")
def list_keys(context: CommandContext) -> Result:
    data = _ask(context, "keys/list")
    headings = ("name", "account", "type", "tail", "permissions", "ips")
    return Result(data, text=table(headings, [[row[name] for name in headings] for row in data["keys"]]))


accounts = paper.subgroup("accounts", "The paper exchange's accounts.")


@accounts.command("create", help="Create an account.")
@click.argument("name")
@click.option("--deposit", "deposits", multiple=True, metavar="ASSET=AMOUNT")
@click.option("--sub-of", "master", metavar="NAME", help="Make it a sub-account of this account.")
@click.option("--email", default="", help="What the master's calls name it by (default: NAME@paper.example).")
def create_account(
    context: CommandContext, name: str, deposits: tuple[str, ...], master: str | None, email: str
) -> Result:
    pairs = dict(_pair(text) for text in deposits)
    data = _ask(context, "accounts/create", name=name, deposits=pairs, master=master, email=email)
    return Result(data, True, text=f"paper account {name} made")


@accounts.command("edit", help="Pay commissions in BNB or not; let the account trade or not.")
@click.argument("name")
@click.option("--bnb/--no-bnb", "pays_in_bnb", default=None, help="Pay commissions in BNB, at a discount.")
@click.option("--trading/--no-trading", "can_trade", default=None, help="Whether the account as a whole may trade.")
def edit_account(context: CommandContext, name: str, pays_in_bnb: bool | None, can_trade: bool | None) -> Result:
    data = _ask(context, "accounts/edit", name=name, pays_in_bnb=pays_in_bnb, can_trade=can_trade)
    return Result(data, True, text=f"paper account {name} edited")


@accounts.command("list", help="Every account, with its balances.")
def list_accounts(context: CommandContext) -> Result:
    data = _ask(context, "accounts/list")
    rows = [
        [one["name"], one["uid"], asset, one["free"].get(asset, "0"), one["locked"].get(asset, "0")]
        for one in data["accounts"]
        for asset in sorted({*one["free"], *one["locked"]})
    ]
    return Result(data, text=table(["account", "uid", "asset", "free", "locked"], rows))


@paper.command("deposit", help="Put money into an account, for example USDT=1000.")
@click.argument("amounts", nargs=-1, required=True, metavar="ASSET=AMOUNT…")
@click.option("--paper-account", help="The paper account (default: default).")
def deposit(context: CommandContext, amounts: tuple[str, ...], paper_account: str | None) -> Result:
    pairs = [_pair(text) for text in amounts]
    done = [_ask(context, "deposit", account=paper_account, asset=asset, amount=amount) for asset, amount in pairs]
    return Result({"deposits": done}, True, text="\n".join(f"{row['amount']} {row['asset']}" for row in done))


def _pair(text: str) -> tuple[str, str]:
    asset, equals, amount = text.partition("=")
    if not equals or not asset.isalnum():
        raise BadInputError("a deposit is written ASSET=AMOUNT", hint="for example USDT=1000")
    return asset.upper(), amount


market = paper.subgroup("market", "The replay.")


def _market(context: CommandContext, action: str, **more: Any) -> Result:
    data = _ask(context, "market", action=action, **more)
    text = f"position {data['position']} of {data['rows']}, speed {data['speed']}"
    text += ", paused" if data["paused"] else ", ended" if data["ended"] else ""
    prices = ", ".join(f"{name} {price}" for name, price in data["price"].items())
    return Result(data, action not in ("status",), text=f"{text}; {prices}")


@market.command("pause", help="Let nothing trade.")
def pause(context: CommandContext) -> Result:
    return _market(context, "pause")


@market.command("resume", help="Go on.")
def resume(context: CommandContext) -> Result:
    return _market(context, "resume")


@market.command("step", help="Let N trades happen now.")
@click.argument("count", type=click.IntRange(1))
def step(context: CommandContext, count: int) -> Result:
    return _market(context, "step", count=count)


@market.command("jump", help="Let everything up to P% of the recording happen now.")
@click.argument("share", metavar="P%")
def jump(context: CommandContext, share: str) -> Result:
    return _market(context, "jump", percent=_percent(share) * 100)


@market.command("status", help="Where the replay stands.")
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
            raise BadInputError("a change is written NAME=VALUE", hint="for example status=HALT")
        pairs[name] = value
    return Result(_ask(context, "symbols/edit", symbol=symbol, changes=pairs), True, text=f"{symbol} changed")


@market.command("price", help="The last prices.")
def price(context: CommandContext) -> Result:
    found = _market(context, "status").data
    text = "\n".join(f"{name} {value}" for name, value in found["price"].items())
    return Result({"price": found["price"]}, text=text)


fault = paper.subgroup("fault", "Faults on demand.")


@fault.command(
    "set",
    help="Set a fault (the kinds: docs/paper-exchange.md; --match EVENT executionReport, WS order.place, POST PATH).",
)
@click.argument("kind")
@click.option("--match", nargs=2, metavar="METHOD PATH", help="Only these requests (patterns).")
@click.option("--after", type=click.IntRange(0), default=0, help="Let so many pass first.")
@click.option("--count", type=click.IntRange(1), help="Hit so often.")
@click.option("--for", "seconds", type=Seconds(0), help="End after so many seconds.")
def set_fault(
    context: CommandContext,
    kind: str,
    match: tuple[str, str] | None,
    after: int,
    count: int | None,
    seconds: float | None,
) -> Result:
    method, path = match or ("*", "*")
    body = {"kind": kind, "method": method, "path": path, "after": after, "count": count, "for": seconds}
    return Result(_ask(context, "fault/set", **body), True)


@fault.command("clear", help="Clear one fault, or all.")
@click.argument("number", type=int, required=False)
def clear_fault(context: CommandContext, number: int | None) -> Result:
    data = _ask(context, "fault/clear", id=number)
    return Result(data, bool(data["cleared"]))


@fault.command("list", help="The faults that are set, and how often each hit.")
def list_faults(context: CommandContext) -> Result:
    return Result(_ask(context, "fault/list"))


@paper.command("requests", help="The request log.")
@click.option("--since", metavar="T", help="Milliseconds since the epoch.", type=click.IntRange(0), default=0)
def requests(context: CommandContext, since: int) -> Result:
    data = _ask(context, "requests", since=since)
    headings = ("seq", "time", "via", "method", "path", "client_order_id", "status", "code")
    return Result(data, text=table(headings, [[row.get(name) for name in headings] for row in data["requests"]]))
