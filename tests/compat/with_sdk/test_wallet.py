"""binance-sdk-wallet and binance-sdk-sub-account: the key's restrictions, assets, and a sub-account's keys."""

from __future__ import annotations

from typing import Any

import pytest
from binance_common.configuration import ConfigurationRestAPI
from binance_common.errors import BadRequestError, UnauthorizedError
from binance_sdk_spot.spot import Spot
from binance_sdk_sub_account.sub_account import SubAccount
from binance_sdk_wallet.wallet import Wallet
from models import compare, watched


def settings(exchange: Any, made: dict[str, Any]) -> ConfigurationRestAPI:
    return ConfigurationRestAPI(
        api_key=made["api_key"],
        api_secret=made.get("secret_key"),
        private_key=made.get("private_key"),
        base_path=exchange.url,
        timeout=5000,
        retries=0,
    )


def call(rest: Any, name: str, **values: Any) -> Any:
    with watched() as watch:
        model = getattr(rest, name)(**values).data()
    assert not watch.complaints, (name, watch.complaints)
    faults = compare(watch.raw, model, name)
    assert not faults, (faults, watch.raw)
    return watch.raw


@pytest.mark.parametrize("kind", ["hmac", "ed25519", "rsa"])
def test_the_wallet(exchange: Any, kind: str) -> None:
    made = exchange.key("bot", "reading,spot_trading", "--type", kind, "--ip", "127.0.0.1")
    rest = Wallet(config_rest_api=settings(exchange, made)).rest_api
    assert call(rest, "system_status") == {"status": 0, "msg": "normal"}
    rights = call(rest, "get_api_key_permission")
    assert rights["ipRestrict"] and rights["enableSpotAndMarginTrading"] and not rights["enableWithdrawals"]
    assert call(rest, "account_status")["data"] == "Normal"
    call(rest, "account_api_trading_status")
    assert {row["asset"] for row in call(rest, "user_asset")} == {"BTC", "USDT"}
    call(rest, "user_asset", asset="BTC", need_btc_valuation=True)
    assert [row["symbol"] for row in call(rest, "trade_fee")] == ["BTCUSDT"]
    assert {row["coin"] for row in call(rest, "all_coins_information")} == {"BTC", "USDT"}


def test_a_master_makes_changes_and_deletes_its_sub_accounts_keys(exchange: Any) -> None:
    exchange.paper("accounts", "create", "robot-7", "--deposit", "USDT=100", "--sub-of", "default")
    email = "robot-7@paper.example"
    rest = SubAccount(config_rest_api=settings(exchange, exchange.key())).rest_api
    made = call(rest, "create_sub_account_api_key", email=email, api_name="sub-1", status=1, can_trade=True)
    assert made["apiKey"] and made["secretKey"] and made["canTrade"] is True and made["canFuturesTrade"] is False
    key = {"email": email, "sub_account_api_key": made["apiKey"]}
    listed = call(rest, "query_sub_account_api_key", email=email)
    assert listed["total"] == 1 and listed["rows"][0]["apikey"] == made["apiKey"]
    trader = Spot(
        config_rest_api=settings(exchange, {"api_key": made["apiKey"], "secret_key": made["secretKey"]})
    ).rest_api
    account = trader.get_account().data()
    assert [one.asset for one in account.balances] == ["USDT"]
    changed = call(rest, "modify_sub_account_api_key_permission", **key, can_trade=False)
    assert changed["canTrade"] is False
    with pytest.raises(UnauthorizedError):
        trader.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quote_order_qty=50)
    limited = call(rest, "add_ip_restriction_for_sub_account_api_key", **key, status="2", ip_address="203.0.113.9")
    assert limited["ipList"] == ["203.0.113.9"]
    with pytest.raises(UnauthorizedError):
        trader.get_account()
    more = {"status": "2", "ip_address": "203.0.113.9,127.0.0.1"}
    call(rest, "add_ip_restriction_for_sub_account_api_key", **key, **more)
    trader.get_account()
    left = call(rest, "delete_ip_list_for_a_sub_account_api_key", **key, ip_address="203.0.113.9")
    assert left["ipList"] == ["127.0.0.1"]
    assert call(rest, "get_ip_restriction_for_a_sub_account_api_key", **key)["ipRestrict"] == "true"
    with pytest.raises(BadRequestError):
        rest.query_sub_account_api_key(email="nobody@paper.example")
    rest.delete_sub_account_api_key(**key)
    with pytest.raises(UnauthorizedError):
        trader.get_account()
    assert call(rest, "query_sub_account_api_key", email=email)["total"] == 0
