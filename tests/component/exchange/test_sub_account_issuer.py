"""The issuer's adapter and its use over a real paper exchange: keys made, listed, deleted; answers lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fortctl.errors import BadInputError, ExchangeUnreachableError, FortctlError
from fortctl.exchange.client import BinanceExchange
from fortctl.exchange.sub_account_issuer import KEYS, SubAccountIssuer
from fortctl.exchange.targets import resolve
from fortctl.keys.generation import generate_pair
from fortctl.model import KeyPair, KeyType, Role
from fortctl.paper.testing import PaperExchange, in_process
from fortctl.ports import ExchangeError, Outcome
from fortctl.secret import Secret
from fortctl.services.keys import issuer as issuing
from support.clock import FakeClock

EMAIL = "robot-1@paper.example"


@pytest.fixture(scope="module")
def exchange() -> Iterator[PaperExchange]:
    with in_process(limits="off") as running:
        running.create_account("robot-1", {"USDT": "1000"}, master="default", email=EMAIL)
        yield running


@pytest.fixture
def master(exchange: PaperExchange) -> Iterator[KeyPair]:
    made = exchange.create_key("master", permissions=("reading", "spot_trading"))
    yield KeyPair("master", KeyType.HMAC, Secret(made["api_key"]), Secret(made["secret_key"]))
    exchange.clear_faults()
    exchange.delete_key("master")


def issuer_of(exchange: PaperExchange, master: KeyPair, email: str = EMAIL) -> SubAccountIssuer:
    return SubAccountIssuer(resolve(exchange.url, Path("/nowhere")), master, email)


@pytest.mark.parametrize("refused", ["", "http-404", "code-9000"])
async def test_a_key_is_born_with_its_rights_and_addresses(
    exchange: PaperExchange, master: KeyPair, refused: str
) -> None:
    """Also where the second version of the call is refused: then the first is used."""
    if refused:
        exchange.fault(refused, method="POST", path=f"/sapi/v2{KEYS}")
    issuer, (private, public) = issuer_of(exchange, master), generate_pair(KeyType.ED25519)
    try:
        made = await issuer.create("born +1", public, ("reading", "spot_trading"), ["127.0.0.1", "203.0.113.7"])
        assert made.permissions == ("reading", "spot_trading")
        assert await issuer.addresses(made.api_key) == ("127.0.0.1", "203.0.113.7")
        assert [key.api_key for key in await issuer.list_keys() if key.name == "born +1"] == [made.api_key]
        used = BinanceExchange(
            resolve(exchange.url, Path("/nowhere")), KeyPair("", KeyType.ED25519, made.api_key, private)
        )
        rights = await used.key_restrictions()
        assert (rights.permissions(), rights.ip_restricted) == (("reading", "spot_trading"), True)
        await issuer.delete(made.api_key)
        with pytest.raises(ExchangeError) as dead:
            await used.key_restrictions()
        assert dead.value.code == -2008
        await used.close()
        assert all(key.name != "born +1" for key in await issuer.list_keys())
    finally:
        await issuer.close()


async def test_lists_are_read_to_their_end(
    exchange: PaperExchange, master: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fortctl.exchange.sub_account_issuer.PAGE", 2)
    issuer, (_private, public) = issuer_of(exchange, master), generate_pair(KeyType.ED25519)
    for number in range(5):
        await issuer.create(f"many-{number}", public, (), [])
    assert {f"many-{number}" for number in range(5)} <= {key.name for key in await issuer.list_keys()}
    gone = await issuing.delete_keys(issuer, lambda key: key.name.startswith("many-"))
    assert len(gone) == 5 and not [key for key in await issuer.list_keys() if key.name.startswith("many-")]
    await issuer.close()


@pytest.mark.parametrize("kind", ["cut-before", "cut-after-execute", "executed-1007", "http-502", "truncated"])
async def test_a_lost_answer_is_resolved_by_listing(exchange: PaperExchange, master: KeyPair, kind: str) -> None:
    issuer, (_private, public) = issuer_of(exchange, master), generate_pair(KeyType.ED25519)
    exchange.fault(kind, method="POST", path=f"/sapi/v2{KEYS}", count=1)
    try:
        made = await issuing.make_key(issuer, f"lost-{kind}", public, Role.ROBOT, ["127.0.0.1"], FakeClock())
    except ExchangeUnreachableError:
        # The request was not executed: calling again makes the key.
        assert kind in ("cut-before", "http-502")
        made = await issuing.make_key(issuer, f"lost-{kind}", public, Role.ROBOT, ["127.0.0.1"], FakeClock())
    again = await issuing.make_key(issuer, f"lost-{kind}", public, Role.ROBOT, ["127.0.0.1"], FakeClock())
    assert again.api_key == made.api_key
    assert [key.name for key in await issuer.list_keys()].count(f"lost-{kind}") == 1
    exchange.fault("cut-after-execute", method="DELETE", path=f"/sapi/v1{KEYS}", count=1)
    assert await issuing.delete_keys(issuer, lambda key: key.api_key == made.api_key) == (f"lost-{kind}",)
    await issuer.close()


async def test_a_sub_account_that_may_have_no_more_keys(exchange: PaperExchange, master: KeyPair) -> None:
    issuer, (_private, public) = issuer_of(exchange, master), generate_pair(KeyType.ED25519)
    exchange.fault("keys-full")
    with pytest.raises(BadInputError) as refused:
        await issuing.make_key(issuer, "one-more", public, Role.SITE, [], FakeClock())
    assert refused.value.exchange is not None and refused.value.exchange.code == -9000
    assert "maximum number of API keys" in refused.value.message and "explain -9000" in refused.value.hint
    assert all(key.name != "one-more" for key in await issuer.list_keys())
    await issuer.close()


async def test_a_busy_exchange_is_waited_for_as_long_as_it_says(exchange: PaperExchange, master: KeyPair) -> None:
    public = generate_pair(KeyType.ED25519)[1]
    clock = FakeClock()
    patient = SubAccountIssuer(resolve(exchange.url, Path("/nowhere")), master, EMAIL, clock, max_wait_s=10)
    exchange.fault("http-429", method="POST", path=f"/sapi/v2{KEYS}", count=2)
    await patient.create("busy", public, (), [])
    assert len(clock.slept) == 2 and all(1 <= seconds <= 5 for seconds in clock.slept)
    assert [key.name for key in await patient.list_keys()].count("busy") == 1
    exchange.fault("http-429", method="GET", path=f"/sapi/v1{KEYS}")
    with pytest.raises(ExchangeError) as busy:
        await patient.list_keys()
    assert busy.value.outcome is Outcome.BUSY and sum(clock.slept[2:]) <= 10
    clock.slept.clear()
    with pytest.raises(ExchangeError):
        await issuer_of(exchange, master).list_keys()
    assert not clock.slept
    exchange.clear_faults()
    await issuing.delete_keys(patient, lambda key: key.name == "busy")
    await patient.close()


async def test_the_clock_is_measured_once_and_nothing_happens_twice(exchange: PaperExchange, master: KeyPair) -> None:
    issuer, (_private, public) = issuer_of(exchange, master), generate_pair(KeyType.ED25519)
    exchange.fault("clock-offset:60000")
    await issuer.create("late", public, (), [])
    exchange.clear_faults()
    again = issuer_of(exchange, master)
    assert [key.name for key in await again.list_keys()].count("late") == 1
    await issuing.delete_keys(again, lambda key: key.name == "late")
    await again.close()
    await issuer.close()


async def test_refusals_are_told(exchange: PaperExchange, master: KeyPair) -> None:
    stranger = issuer_of(exchange, master, "nobody@paper.example")
    with pytest.raises(ExchangeError) as refused:
        await stranger.list_keys()
    assert refused.value.outcome is Outcome.REFUSED
    with pytest.raises(FortctlError):
        await issuing.make_key(stranger, "x", generate_pair(KeyType.ED25519)[1], Role.SITE, [], FakeClock())
    await stranger.close()
    exchange.edit_key("master", permissions=["reading"])
    weak = issuer_of(exchange, master)
    with pytest.raises(ExchangeError) as refused:
        await weak.create("x", generate_pair(KeyType.ED25519)[1], (), [])
    assert refused.value.outcome is Outcome.KEY_REFUSED
    await weak.close()
    without = SubAccountIssuer(resolve("testnet", Path("/nowhere")), master, EMAIL)
    with pytest.raises(ExchangeError):
        await without.list_keys()
