"""What a panic ends with, and what counts as the proof of a key's death; no process, no network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fortctl.errors import ExchangeUnreachableError, FortctlError
from fortctl.model import KeyPair, KeyType
from fortctl.ports import ExchangeError, IssuedKey, Outcome
from fortctl.secret import Secret
from fortctl.services.panic.actions import Action, ActionKind, delete_unnamed
from fortctl.services.panic.deletion_watch import DeletionWatch
from fortctl.services.panic.halt import HaltResult
from fortctl.services.panic.key_inventory import KeyInventory
from fortctl.services.panic.known_key import ROLES, IssuedName, KeysRead, KnownKey, deduplicate
from fortctl.services.panic.report import PanicReport, PanicStep, failure_of, reports_as_json
from support.clock import FakeClock
from support.panic_bench import PREFIX, Bench, Process, order, step, told


def pair(name: str, api_key: str) -> KeyPair:
    return KeyPair(name, KeyType.HMAC, Secret(api_key), Secret("s"))


def report(account: str = "a", **actions: dict[str, Any]) -> PanicReport:
    """Return a report with one action of each named kind."""
    left = tuple(Action(ActionKind(what), account, f"do {what}", **more) for what, more in actions.items())
    return PanicReport(account, (PanicStep("latch", "done", 1.23, "on"),), 12.34, left)


@pytest.mark.parametrize(
    ("actions", "code"),
    [
        ({}, None),
        ({"delete_key_at_exchange": {}}, "ACTION_REQUIRED"),
        ({"robot_unreached": {"queued": True}, "delete_key_at_exchange": {}}, "ROBOT_TIMEOUT"),
    ],
    ids=["nothing is left", "a key lives", "9 outranks 12"],
)
def test_the_gravest_comes_first(actions: dict[str, Any], code: str | None) -> None:
    failure = failure_of([report(**actions)], "text")
    assert (failure.code if failure else None) == code
    if failure is not None:
        assert failure.details["actions"] and failure.data is not None and failure.data["elapsed_ms"] == 12.3
        assert all(f"do {what}" in failure.hint for what in actions)


def test_one_account_that_was_not_reached_outranks_the_others() -> None:
    failure = failure_of([report("a", delete_key_at_exchange={}), report("b", robot_unreached={"queued": False})], "")
    assert failure is not None and failure.exit_code == 9 and "account b" in failure.message
    assert failure.details["queued"] is False
    data = reports_as_json([report("a"), report("b")])
    assert {step["account"] for step in data["steps"]} == {"a", "b"} and len(data["accounts"]) == 2


def test_a_key_that_was_seen_twice_is_one_key() -> None:
    whole = KnownKey("robot", "r", "wxyz", "f", pair("r", "A" * 60 + "wxyz"))
    named, carded, other = KnownKey("robot", "r"), KnownKey("robot", "r", "wxyz"), KnownKey("robot", "r", "abcd")
    assert deduplicate([named, carded, whole]) == [whole]
    assert deduplicate([named, other, whole]) == [whole, other], "a retiring key may bear the same name"
    assert deduplicate([named]) == [named] and KnownKey.from_json(carded.as_json()) == carded


def test_what_nothing_tells_of_is_a_persons_to_delete() -> None:
    assert delete_unnamed("a", []) == []
    for roles, which in ((["site"], "the site key that"), (["robot"], "the robot key that"), (ROLES, "every key that")):
        (action,) = delete_unnamed("a", roles)
        assert which in action.text and "account a" in action.text
        failure = failure_of([PanicReport("a", (), 1.0, (action,))], "")
        assert failure is not None and failure.exit_code == 12


def test_which_issued_keys_are_ours() -> None:
    inventory = KeyInventory("default")
    whole = KnownKey("robot", "r", "wxyz", "", pair("r", "A" * 60 + "wxyz"))
    shown = KnownKey("site", "noted", "abcd", "print of abcd")
    inventory.add_read(
        KeysRead(
            [whole, shown, KnownKey("site", "s", "efgh", "print of something else"), KnownKey("site", "only-a-name")],
            fingerprint=lambda api_key: f"print of {api_key.reveal()[-4:]}",
        )
    )
    inventory.add_pending_names([IssuedName("robot", "fortctl-robot-r1-1")])
    assert inventory.is_ours(IssuedKey("renamed", Secret("A" * 60 + "wxyz")))
    assert inventory.is_ours(IssuedKey("renamed too", Secret("B" * 60 + "abcd"))), "by its fingerprint"
    assert inventory.is_ours(IssuedKey("fortctl-robot-r1-1", Secret("E" * 64))), "a rotation journaled that name"
    assert not inventory.is_ours(IssuedKey("r", Secret("C" * 60 + "wxyz"))), "a name and a tail of a key that is known"
    assert not inventory.is_ours(IssuedKey("s", Secret("C" * 60 + "efgh"))), "a name and a tail alone"
    assert not inventory.is_ours(IssuedKey("only-a-name", Secret("D" * 64))), "a person's key may bear the same name"


# -- the proof of death ----------------------------------------------------------------------------------------------


class Asked:
    """An exchange that answers about a key's rights from a script; the last answer stays. Its account call is
    refused.
    """

    def __init__(self, *script: ExchangeError | None, works: bool = False) -> None:
        self.script = list(script)
        self.works = works
        self.asked = 0
        self.closed = 0

    async def key_restrictions(self) -> None:
        self.asked += 1
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if answer is not None:
            raise answer

    async def account(self) -> None:
        if not self.works:
            raise refusal(-2015)

    async def close(self) -> None:
        self.closed += 1


def refusal(code: int, **facts: Any) -> ExchangeError:
    return ExchangeError(Outcome.KEY_REFUSED, "no", code=code, **facts)


KEY = KnownKey("robot", "r", "wxyz", "f", pair("r", "A" * 60 + "wxyz"))


async def watched(
    exchange: Any, keys: list[KnownKey], wait_s: float, listed: Any = None
) -> tuple[list[KnownKey], float]:
    async def alive() -> Any:
        if isinstance(listed, Exception):
            raise listed
        return listed

    clock = FakeClock(0)

    def connect(_pair: KeyPair) -> Any:
        if isinstance(exchange, Exception):
            raise exchange
        return exchange

    inventory = KeyInventory("default")
    inventory.add_read(KeysRead(fingerprint=lambda api_key: f"print of {api_key.reveal()[-4:]}"))
    left = await DeletionWatch(connect, alive, inventory.is_same, clock).watch(keys, wait_s)  # type: ignore[arg-type]
    return left, clock.s


async def test_only_2008_twice_and_a_refused_account_call_prove_it() -> None:
    exchange = Asked(None, refusal(-2015), refusal(-1022), ExchangeError(Outcome.UNKNOWN, "cut"), refusal(-2008))
    left, _ = await watched(exchange, [KEY], 60.0)
    assert left == [] and exchange.asked == 6 and exchange.closed == 5
    # One stray -2008 was seen for keys that work: neither it alone nor with an accepted account call proves anything.
    for stray in (Asked(refusal(-2008), None), Asked(refusal(-2008), works=True)):
        left, waited = await watched(stray, [KEY], 20.0)
        assert left == [KEY] and waited >= 20.0
    for never in (refusal(-2015), None, ExchangeError(Outcome.UNREACHABLE, "no connection")):
        left, waited = await watched(Asked(never), [KEY], 20.0)
        assert left == [KEY] and waited == pytest.approx(20.0)


async def test_it_asks_ever_more_slowly_and_leaves_a_busy_exchange_alone() -> None:
    patient = Asked(None)
    await watched(patient, [KEY], 600.0)
    assert patient.asked < 80
    busy = Asked(ExchangeError(Outcome.BUSY, "banned", http_status=418, retry_after=120.0))
    await watched(busy, [KEY], 600.0)
    assert busy.asked <= 7


async def test_with_nothing_to_sign_with_it_is_unproved_at_once() -> None:
    shut = KnownKey("site", "s")
    left, waited = await watched(Asked(None), [shut], 600.0)
    assert left == [shut] and waited == 0.0
    gone: FortctlError = ExchangeUnreachableError("no paper exchange is running")
    assert (await watched(gone, [KEY], 5.0))[0] == [KEY]


async def test_the_issuers_list_proves_only_what_it_has_named() -> None:
    shut, nameless = KnownKey("robot", "r", "wxyz", "print of wxyz", listed=True), KnownKey("site", "s")
    persons = [IssuedKey("a person's", Secret("A" * 60 + "abcd"))]
    left, _ = await watched(Asked(None), [shut, nameless], 1.0, persons)
    assert left == [nameless], "a name alone proves nothing: it may have been typed otherwise here"
    left, waited = await watched(Asked(None), [replace(shut, listed=False)], 600.0, persons)
    assert left == [replace(shut, listed=False)] and waited == 0.0, "it may be another sub-account's list"
    left, _ = await watched(Asked(None), [shut], 1.0, [IssuedKey("renamed", Secret("A" * 60 + "wxyz"))])
    assert left == [shut]
    left, _ = await watched(Asked(None), [shut], 1.0, ExchangeError(Outcome.BUSY, "418"))
    assert left == [shut]


# -- the latch ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoilt",
    [
        b'{"keys": 5, "unknown": null, "issued": [1], "queued": 3, "orders": {}, "at_ms": "x"}',
        b'{"keys": [{}, 7], "issued": [{"until_ms": "x"}], "unknown": [[]]}',
        b"[" * 100_000,
        b"[]",
        b"\xff",
    ],
)
async def test_a_spoilt_latch_breaks_no_panic(tmp_path: Path, spoilt: bytes) -> None:
    """And hides no key from the next one, nor from the clear."""
    bench = Bench(tmp_path / "robot")
    (bench.folder / "latch").write_bytes(spoilt)
    assert "keys" not in bench.latch.read()
    for _again in range(2):
        made = await bench.panic()
        assert {one.state for one in made.steps} <= {"done", "skipped"}, made.steps
        assert {("site", "site-1"), ("robot", "robot-1")} <= set(told(made))
        bench.keys = KeysRead()
    assert bench.latch.is_latched() and len(bench.latch.read()["keys"]) == 2


# -- whatever breaks, what may still trade is said ---------------------------------------------------------------------


class Broken(Process):
    """Something is there, and what is asked of it breaks in a way that nobody thought of."""

    def is_stopped(self, owner: Any) -> bool:
        raise AttributeError("no such thing")


async def test_a_robot_that_could_not_be_halted_is_said_whatever_broke(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", Broken("silent"))
    bench.process.kill = lambda owner: False  # type: ignore[method-assign]
    failure = failure_of([await bench.panic()], "")
    assert failure is not None and failure.exit_code == 9 and failure.details["queued"] is False


async def test_a_robot_that_is_ended_at_the_second_look_was_reached(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", Broken("silent"))
    made = await bench.panic()
    failure = failure_of([made], "")
    assert failure is not None and failure.exit_code == 12 and step(made, "halt").state == "failed"


async def test_another_host_that_was_not_reached_is_said_whatever_broke(tmp_path: Path) -> None:
    def broken(*_how: object) -> Any:
        raise AttributeError("no such thing")

    bench = Bench(tmp_path / "robot", changes={"remote": lambda: broken})
    made = await bench.panic()
    failure = failure_of([made], "")
    assert failure is not None and failure.exit_code == 9 and failure.details["queued"] is False


async def test_what_came_up_is_ended_though_its_copies_cannot_be_destroyed(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "robot", Process("none"))

    def destroy() -> tuple[str, ...]:
        if bench.process.state == "none":
            bench.process.state = "silent"
        raise OSError(30, "Read-only file system")

    bench.changes["destroy"] = destroy
    made = await bench.panic()
    assert step(made, "look again").state == "failed" and bench.process.state == "ended"


async def test_orders_are_not_done_while_the_robot_may_place_more(tmp_path: Path) -> None:
    """It was not reached on its host: the next panic looks for them again, and a person is told to."""
    bench = Bench(tmp_path / "robot", changes={"remote": lambda: lambda *how: None})
    bench.exchange.orders = [order(1, f"{PREFIX}-1")]
    made = await bench.panic()
    assert not bench.exchange.orders and "may place more" in step(made, "cancel orders").detail
    assert not bench.latch.read()["orders_done"]
    assert ActionKind.CANCEL_ORDERS in {action.kind for action in made.actions}


async def test_a_robot_elsewhere_has_orders_on_their_way_until_after_it_obeyed(tmp_path: Path) -> None:
    """Its own latch came later than the one here."""
    bench = Bench(tmp_path / "robot")

    class Obeys:
        async def run(self) -> HaltResult:
            await bench.clock.sleep(4.0)
            bench.exchange.coming = [(bench.clock.s + 0.8, order(1, f"{PREFIX}-1"))]
            return HaltResult("the robot has latched and is still cancelling")

    bench.changes["remote"] = lambda: lambda *how: Obeys()
    await bench.panic()
    assert not bench.exchange.orders and not bench.exchange.coming
