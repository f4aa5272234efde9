"""A master account's calls on its sub-accounts' keys. No I/O.

Source: binance-sdk-sub-account, ``api_management_api.py``; the pages "Create V1", "Create V2", "Delete API Key". Its
answers to an unknown address or key are not documented; decision 0007.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from fortctl.paper.api.parameters import Context, Values, choice_of, flag_of, limit_of, whole_of
from fortctl.paper.engine import errors
from fortctl.paper.engine.accounts import MOST_IPS, Account, ApiKey

Row = dict[str, Any]
WEIGHT = 3000
# The flag of a call → the permission here.
FLAGS = {
    "canTrade": "spot_trading",
    "canMarginLoanRepay": "margin",
    "canFuturesTrade": "futures",
    "canUniversalTransfer": "universal_transfer",
    "canVanillaOptions": "options",
}
FIX_FLAGS = {"canFixApiTrading": "fix_trade", "canFixApiReading": "fix_read"}
V1_OPTIONAL = (*FLAGS, "ipAddress", "thirdPartyName", "publicKey")
V2_OPTIONAL = (*V1_OPTIONAL, *FIX_FLAGS)
CREATE_NEEDED = ("email", "apiName", "status")
NAMED = ("email", "subAccountApiKey")
MOST_IP_CHARACTERS = 2000


def _master(context: Context) -> Account:
    account = context.account
    if account.master is not None:
        raise errors.BinanceError(-1002, "You are not authorized to execute this request.")
    return account


def _sub(context: Context, values: Values) -> Account:
    master = _master(context)
    for account in context.state.accounts.values():
        if account.master == master.name and account.email == values["email"]:
            return account
    raise errors.bad_value("email")


def _key(context: Context, values: Values) -> ApiKey:
    sub = _sub(context, values)
    key = context.state.keys.get(values["subAccountApiKey"])
    if key is None or key.account != sub.name:
        raise errors.bad_value("subAccountApiKey")
    return key


def _needs_trading(context: Context) -> None:
    assert context.key is not None
    if not context.key.may("spot_trading", context.now):
        raise errors.BinanceError(-2015, "Invalid API-key, IP, or permissions for action.", 400)


def _addresses(values: Values) -> tuple[str, ...]:
    given = values.get("ipAddress", "")
    if len(given) > MOST_IP_CHARACTERS:
        raise errors.bad_value("ipAddress")
    try:
        addresses = tuple(str(ipaddress.ip_address(part.strip())) for part in given.split(",") if part.strip())
    except ValueError:
        raise errors.bad_value("ipAddress") from None
    if len(addresses) > MOST_IPS:
        raise errors.bad_value("ipAddress")
    return addresses


def _flags(key: ApiKey, names: dict[str, str]) -> Row:
    return {flag: permission in key.permissions for flag, permission in names.items()}


def _create(context: Context, values: Values, names: dict[str, str]) -> tuple[ApiKey, str]:
    sub = _sub(context, values)
    _needs_trading(context)
    status = choice_of(values, "status", ("1", "2", "3"))
    ips = _addresses(values)
    if status == "2" and not ips:
        raise errors.missing("ipAddress")
    if status == "3" and not values.get("thirdPartyName"):
        raise errors.missing("thirdPartyName")
    if status == "1" and ips:
        raise errors.not_required("ipAddress")
    if not 1 <= len(values["apiName"]) <= 64 or any(key.name == values["apiName"] for key in _keys(context, sub)):
        raise errors.bad_value("apiName")
    granted = ["reading", *(permission for flag, permission in names.items() if flag_of(values, flag))]
    kind, public = _public_half(values)
    if kind == "hmac" and set(FIX_FLAGS.values()) & set(granted):
        raise errors.BinanceError(-9000, "Unsupported operation")
    secret = "" if public else context.new_key()
    key = ApiKey(values["apiName"], sub.name, context.new_key(), kind, tuple(granted), context.now, secret, public, ips)
    context.engine.add_sub_key(key)
    return key, secret


def _public_half(values: Values) -> tuple[str, str]:
    """Return the key's type and its public PEM; HMAC where none was sent."""
    given = values.get("publicKey")
    if not given:
        return "hmac", ""
    from fortctl.paper.engine.accounts import read_public_key

    public = read_public_key(given)
    if public is None:
        raise errors.bad_value("publicKey")
    return public


def _keys(context: Context, sub: Account) -> list[ApiKey]:
    return [key for key in context.state.keys.values() if key.account == sub.name]


def _created(key: ApiKey, secret: str, names: dict[str, str]) -> Row:
    return {
        "apiName": key.name,
        "apiKey": key.api_key,
        "secretKey": secret,
        **_flags(key, names),
        "status": 2 if key.ips else 1,
        "ipList": list(key.ips),
    }


def create(context: Context, values: Values) -> Row:
    """``POST /sapi/v1/sub-account/subAccountApi``: an HMAC key, or an Ed25519 key from a public half."""
    if values.get("publicKey") and _public_half(values)[0] != "ed25519":
        raise errors.bad_value("publicKey")
    key, secret = _create(context, values, FLAGS)
    return _created(key, secret, FLAGS)


def create_v2(context: Context, values: Values) -> Row:
    """``POST /sapi/v2/sub-account/subAccountApi``: also RSA keys and the FIX rights."""
    names = {**FLAGS, **FIX_FLAGS}
    fix = any(flag_of(values, flag) for flag in FIX_FLAGS)
    if fix and _public_half(values)[0] != "ed25519":
        raise errors.BinanceError(-9000, "Unsupported operation")
    key, secret = _create(context, values, names)
    return _created(key, secret, names)


def delete(context: Context, values: Values) -> Row:
    key = _key(context, values)
    _needs_trading(context)
    context.engine.remove_key(key)
    return {}


def query(context: Context, values: Values) -> Row:
    sub = _sub(context, values)
    api_key = values.get("subAccountApiKey")
    page, size = whole_of(values, "page") or 1, limit_of({"limit": values.get("size", "30")}, 30, 100)
    keys = [key for key in _keys(context, sub) if api_key in (None, key.api_key)]
    return {"total": len(keys), "rows": [_row(sub, key) for key in keys[(page - 1) * size : page * size]]}


def _row(sub: Account, key: ApiKey) -> Row:
    return {
        "email": sub.email,
        "apiName": key.name,
        "apikey": key.api_key,
        **_flags(key, FLAGS),
        "timestamp": key.created_at,
    }


def permission(context: Context, values: Values) -> Row:
    """``POST …subAccountApiPermission``: change the flags that are sent."""
    key = _key(context, values)
    _needs_trading(context)
    granted = set(key.permissions)
    for flag, name in FLAGS.items():
        if flag in values:
            granted = granted | {name} if flag_of(values, flag) else granted - {name}
    key.permissions = tuple(sorted(granted, key=lambda name: name != "reading"))
    context.state.changed.add(("key", key.api_key))
    return {"apiName": key.name, "apikey": key.api_key, **_flags(key, FLAGS), "timestamp": context.now}


def set_ips(context: Context, values: Values) -> Row:
    """``POST /sapi/v2/…/ipRestriction``."""
    key = _key(context, values)
    _needs_trading(context)
    status, ips = choice_of(values, "status", ("1", "2")), _addresses(values)
    if status == "2" and not ips:
        raise errors.missing("ipAddress")
    key.ips = ips if status == "2" else ()
    context.state.changed.add(("key", key.api_key))
    return {"status": status, "ipList": list(key.ips), "updateTime": context.now, "apiKey": key.api_key}


def get_ips(context: Context, values: Values) -> Row:
    key = _key(context, values)
    return {
        "ipRestrict": "true" if key.ips else "false",
        "ipList": list(key.ips),
        "updateTime": context.now,
        "apiKey": key.api_key,
    }


def delete_ips(context: Context, values: Values) -> Row:
    """``DELETE /sapi/v1/…/ipRestriction/ipList``: remove addresses; the last one cannot be removed."""
    key = _key(context, values)
    _needs_trading(context)
    left = tuple(ip for ip in key.ips if ip not in _addresses(values))
    if key.ips and not left:
        # Otherwise a restricted key would silently be accepted from every address.
        raise errors.bad_value("ipAddress")
    key.ips = left
    context.state.changed.add(("key", key.api_key))
    return get_ips(context, values)
