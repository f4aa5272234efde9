"""What each step of a rotation does, and how it is found half done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fortctl.errors import ActionRequired, BadInput, Conflict, FortctlError, KeyPolicy, KeyRejected, NotFound
from fortctl.model import KeyPair, Role
from fortctl.ports import Clock, Issuer
from fortctl.services import rotation_actions as actions
from fortctl.services.control import RobotControl
from fortctl.services.custody import Custody
from fortctl.services.issuer import PERSON, SUB_ACCOUNT
from fortctl.services.keyanswers import failure_of
from fortctl.services.keys import NO_COPY_WARNING, KeyService, same_key
from fortctl.services.robot import RobotService, RobotWatch
from fortctl.services.rotation_issue import KeyMaker
from fortctl.services.rotation_plan import DOING, Mode, Operation
from fortctl.services.rotation_proof import Proofs
from fortctl.times import milliseconds

SETTLES_WITHIN_S, LOOK_EVERY_S, BEAT_EVERY_S = 30.0, 0.1, 5.0
# States in which the robot would trade, had it not been stopped for the rotation.
AT_WORK = ("running", "reconciling")


class Guide(Protocol):
    """The person at the keyboard, if there is one."""

    def progress(self, line: str) -> None:
        """Tell what goes on."""

    def keys(self, todo: list[actions.Action], roles: Collection[Role]) -> Mapping[Role, KeyPair] | None:
        """Show what to do at Binance and ask for the new keys; None: nobody can be asked."""

    def refused(self, error: FortctlError) -> bool:
        """Show why a key was refused; True: another one will be entered."""

    def on_timeout(self, cycles_open: int) -> str:
        """Return ``wait``, ``keep``, ``cancel`` or ``abort``: what to do about a drain that takes too long."""

    def deleted(self, todo: list[actions.Action]) -> bool:
        """Show which keys to delete and wait; True: the person says that it is done."""


class Journal(Protocol):
    """Where each step is written down (see :class:`fortctl.services.rotation.RotationJournal`)."""

    def put(self, operation: Operation) -> Operation: ...

    def beat(self) -> None: ...


@dataclass(frozen=True)
class StepTools:
    """What the steps use.

    Attributes:
        issuer: opens the issuer's adapter, where it is not a person.
        timeout_s: how long a drain may take (s).
    """

    custody: Custody
    keys: KeyService
    control: RobotControl
    robot: RobotService
    watch: RobotWatch
    issuer: Callable[[], Issuer]
    proofs: Proofs
    guide: Guide
    clock: Clock
    sleep: Callable[[float], None]
    timeout_s: float = 600.0


class Drained(Exception):
    """The drain took too long, and the rotation is to be aborted."""

    def __init__(self, cycles_open: int) -> None:
        super().__init__()
        self.cycles_open = cycles_open


class Steps:
    """Does the steps of one rotation, journaling each before and after.

    Args:
        tools: what they use.
        journal: where they are written down.
        operation: where it stands.
        given: keys that were entered already.
        until: the step at which a person takes over, whoever could be asked here.
    """

    def __init__(
        self,
        tools: StepTools,
        journal: Journal,
        operation: Operation,
        given: dict[Role, KeyPair],
        until: str | None,
    ) -> None:
        self.operation = operation
        self.warnings: tuple[tuple[str, str], ...] = ()
        self._tools = tools
        self._journal = journal
        self._pairs = given
        self._until = until

    @property
    def _roles(self) -> tuple[Role, ...]:
        return self.operation.scope.roles

    async def next(self) -> None:
        """Do the step that it stands at.

        Raises:
            Conflict: a panic has latched the robot.
            ActionRequired: a person must act first.
        """
        name = self.operation.step
        if self._tools.control.latched:
            raise Conflict(
                "the robot is latched after a panic: the rotation goes no further",
                hint="look at the account first, then 'fortctl panic-clear'",
                details={"state": "latched"},
            )
        resumed = any(step.name == name and step.state == DOING for step in self.operation.steps)
        if not resumed:
            self._put(self.operation.begun(name, self._now()))
        self._tools.guide.progress(f"{name}…" if not resumed else f"{name}: going on")
        facts = await getattr(self, f"_{name}")(resumed)
        self._put(self.operation.ended(name, self._now(), **(facts or {})))

    def _put(self, operation: Operation) -> None:
        self.operation = self._journal.put(operation)

    def _note(self, **facts: Any) -> None:
        self._put(self.operation.noted(self._now(), **facts))

    def _now(self) -> int:
        return self._tools.clock.now_ms()

    def _wait(self, seconds: float, over: Callable[[], bool]) -> bool:
        """Wait until something is so, saying now and then that this process lives; False when time runs out."""
        clock = self._tools.clock
        deadline, beat = clock.monotonic() + seconds, clock.monotonic() + BEAT_EVERY_S
        while not over():
            if clock.monotonic() >= deadline:
                return False
            if clock.monotonic() >= beat:
                self._journal.beat()
                beat = clock.monotonic() + BEAT_EVERY_S
            self._tools.sleep(LOOK_EVERY_S)
        return True

    # -- the steps -------------------------------------------------------------------------------------------------

    async def _check(self, resumed: bool) -> dict[str, Any]:
        tools, old = self._tools, {}
        if Role.ROBOT in self._roles:
            tools.control.bring_up()
        for card in tools.keys.listed():
            if card.role in self._roles:
                old[card.role.value] = {"name": card.name, "tail": card.tail, "fingerprint": card.fingerprint}
        for role in self._roles:
            if role.value not in old:
                raise NotFound(
                    f"account {self.operation.account} has no {role} key to rotate",
                    hint=f"'fortctl keys add --role {role}' adds one",
                )
        facts: dict[str, Any] = {"old": old}
        if Role.ROBOT in self._roles:
            facts |= self._robot_facts()
        if self.operation.mode is not Mode.URGENT:
            results, warnings = await tools.keys.verify(self._roles)
            failure = failure_of(results, warnings)
            if isinstance(failure, KeyRejected):
                failure.hint = "the old key is gone already: 'fortctl keys rotate --mode urgent'"
                raise failure
        return facts

    def _robot_facts(self) -> dict[str, Any]:
        status = self._tools.watch.status()
        state = status["state"]
        if state in ("held", "unreachable") and self.operation.mode is not Mode.URGENT:
            raise Conflict(
                f"the robot is {state}: {status.get('reason') or 'a person must look first'}",
                hint="see 'fortctl robot status'; 'fortctl robot resume' after you have looked",
                details={"state": state},
            )
        lost = (status.get("key_loss") or {}).get("since")
        return {"was": state, "lost_since": lost}

    async def _drain(self, resumed: bool) -> dict[str, Any]:
        tools = self._tools
        tools.control.bring_up()
        if self.operation.facts.get("was") not in AT_WORK or self._drained():
            return {}
        tools.control.send("drain")
        while not self._wait(tools.timeout_s, self._drained):
            count = int(tools.watch.status()["cycles"]["open"])
            choice = tools.guide.on_timeout(count)
            if choice == "abort":
                raise Drained(count)
            if choice in ("keep", "cancel"):
                return {"unfinished": choice}
        return {}

    def _drained(self) -> bool:
        # A local robot that was killed meanwhile comes back and drains on.
        self._tools.control.bring_up()
        status = self._tools.watch.status()
        return bool(status["state"] == "stopped" and not status["cycles"]["open"])

    async def _stop(self, resumed: bool) -> dict[str, Any]:
        choice = self.operation.facts.get("unfinished")
        if choice or self._state() != "stopped":
            self._tools.control.send("stop", {"cancel_orders": choice == "cancel"})
        if not self._wait(SETTLES_WITHIN_S, lambda: self._state() == "stopped"):
            raise Conflict(f"the robot does not stand still: it is {self._state()}")
        return {"stopped_at": self._now()}

    async def _create(self, resumed: bool) -> dict[str, Any]:
        await self._obtain(self._roles)
        return {}

    async def _obtain(self, roles: Collection[Role]) -> None:
        """Get the new keys of some roles, from a person or from the issuer. Raises ``ActionRequired``."""
        missing = [role for role in roles if role not in self._pairs]
        if not missing:
            return
        if self.operation.facts.get("issuer") == SUB_ACCOUNT:
            maker = KeyMaker(self._tools.custody, self._tools.keys, self._tools.control, self._tools.clock)
            issuer = self._tools.issuer()
            try:
                for role in missing:
                    self._pairs[role] = await maker.make(issuer, self.operation, role, self._note_issue)
            finally:
                await issuer.close()
            return
        todo = actions.to_create(self.operation, missing)
        entered = None if self._until == "create" else self._tools.guide.keys(todo, missing)
        if entered is None:
            raise ActionRequired(
                f"the rotation waits for a person: create the new {' and '.join(missing)} key at Binance",
                hint=todo[0]["text"],
                details={"actions": todo},
                text="\n".join(f"- {one['text']}" for one in todo),
            )
        self._pairs.update(entered)

    def _note_issue(self, role: Role, facts: Mapping[str, Any]) -> Operation:
        self._note(issue={**self.operation.facts.get("issue", {}), role.value: dict(facts)})
        return self.operation

    async def _store(self, resumed: bool) -> dict[str, Any]:
        custody = self._tools.custody

        def there() -> str | None:
            site = custody.site_key()
            return custody.fingerprint(site.pair) if site is not None else None

        async def take(pair: KeyPair) -> None:
            old = custody.site_key()
            allow, over = old.allow if old is not None else (), self._replaces
            taken = await self._tools.keys.take_site(pair, allow=allow, replacing=over, force=False, retire=over)
            self.warnings += taken.warnings

        await self._put_in_place(Role.SITE, there, take)
        return {}

    async def _deliver(self, resumed: bool) -> dict[str, Any]:
        tools = self._tools
        tools.control.bring_up()
        if resumed and not tools.control.quiet(SETTLES_WITHIN_S):
            raise Conflict(
                "the robot has not answered yet what became of the new key",
                hint="see 'fortctl robot status' and 'fortctl robot logs', then go on: 'fortctl keys rotate --resume'",
            )

        def there() -> str | None:
            card = tools.keys.robot_card()
            return card.fingerprint if card is not None else None

        async def take(pair: KeyPair) -> None:
            over, overlap = self._replaces, self.operation.mode is Mode.OVERLAP
            taken = await tools.keys.take_robot(
                pair, allow=(), replacing=over, force=False, site_copy=False, retire=over, overlap=overlap
            )
            self.warnings += taken.warnings

        await self._put_in_place(Role.ROBOT, there, take)
        self._drop_stale_copy(there())
        return {}

    @property
    def _replaces(self) -> bool:
        return self.operation.mode is not Mode.ISSUE

    def _drop_stale_copy(self, shown: str | None) -> None:
        """Destroy a copy for reading that a crash has left of the old key: it reads nothing any more."""
        custody = self._tools.custody
        copy = custody.robot_copy()
        if copy is not None and custody.fingerprint(copy.pair) != shown:
            custody.destroy_robot_copy()
            self.warnings += (NO_COPY_WARNING,)

    async def _put_in_place(self, role: Role, there: Callable[[], str | None], take: Callable[[KeyPair], Any]) -> None:
        """Put a new key in the old one's place, unless that was done before this process began."""
        while True:
            new = self.operation.facts.get("new", {})
            if new.get(role.value) and there() == new[role.value]:
                return
            await self._obtain([role])
            pair = self._pairs[role]
            shown = self._tools.custody.fingerprint(pair)
            if shown == self.operation.facts.get("old", {}).get(role.value, {}).get("fingerprint"):
                error: FortctlError = same_key(role)
            else:
                # Journaled before it is handed over: whoever comes after a crash knows it when it is in place.
                self._note(new={**new, role.value: shown})
                try:
                    await take(pair)
                    return
                except (KeyRejected, KeyPolicy, BadInput) as refused:
                    error = refused
            del self._pairs[role]
            if self.operation.facts.get("issuer") != PERSON or not self._tools.guide.refused(error):
                raise error

    async def _verify(self, resumed: bool) -> dict[str, Any]:
        tools, new = self._tools, self.operation.facts["new"][Role.ROBOT.value]
        passing = ("verifying", "reconciling", "awaiting_key", "unreachable")
        tools.control.bring_up()
        status: Mapping[str, Any] = {}

        def settled() -> bool:
            nonlocal status
            status = tools.watch.status()
            return status["state"] not in passing

        # One look decides: by a second one the robot may be reconciling again, for a reason of its own.
        at_rest = self._wait(SETTLES_WITHIN_S, settled)
        card = tools.keys.robot_card()
        if not at_rest or card is None or card.fingerprint != new or status["state"] == "key_lost":
            raise Conflict(
                f"the robot does not work with the new key: it is {status['state']}"
                f" ({status.get('reason') or 'no reason given'})",
                hint="see 'fortctl robot status' and 'fortctl keys verify', then 'fortctl keys rotate --resume'",
                details={"state": status["state"]},
            )
        return self._gap(status)

    def _gap(self, status: Mapping[str, Any]) -> dict[str, Any]:
        swap = status.get("key_swap")
        if self.operation.mode is Mode.OVERLAP and swap is not None:
            return {"trading_gap_s": float(swap["gap_s"])}
        lost = self.operation.facts.get("lost_since")
        if self.operation.mode is Mode.URGENT and lost is not None and status["state"] == "running":
            return {"trading_gap_s": round((self._now() - milliseconds(lost)) / 1000, 3)}
        return {}

    async def _start(self, resumed: bool) -> dict[str, Any]:
        if self.operation.facts.get("was") not in AT_WORK:
            return {}
        start_again(self._tools)
        return {"trading_gap_s": round((self._now() - int(self.operation.facts["stopped_at"])) / 1000, 3)}

    def _state(self) -> str:
        return str(self._tools.watch.status()["state"])

    async def _delete(self, resumed: bool) -> dict[str, Any]:
        if self.operation.facts.get("issuer") == SUB_ACCOUNT:
            issuer = self._tools.issuer()
            try:
                await self._tools.proofs.delete(issuer, self.operation)
            finally:
                await issuer.close()
            return {}
        # A person may have done it already; whether it is so, the next step proves.
        await self._proved_or_asked(asked=resumed)
        return {}

    async def _prove(self, resumed: bool) -> dict[str, Any]:
        if self.operation.facts.get("issuer") == SUB_ACCOUNT:
            issuer = self._tools.issuer()
            try:
                alive = await self._tools.proofs.prove(self.operation, self._roles, self._note_dead, issuer)
            finally:
                await issuer.close()
            if alive:
                raise self._action_required(alive)
        else:
            await self._proved_or_asked(asked=True)
        # Where the exchange ends the old key's stream, the robot makes its books agree once more: that counts too.
        overlap = self.operation.mode is Mode.OVERLAP and Role.ROBOT in self._roles
        return self._gap(self._tools.watch.status()) if overlap else {}

    async def _proved_or_asked(self, *, asked: bool) -> None:
        """Prove the old keys dead; where they live, ask the person to delete them. Raises ``ActionRequired``."""
        while True:
            alive = await self._tools.proofs.prove(self.operation, self._roles, self._note_dead, None, patient=asked)
            if not alive:
                return
            if not self._tools.guide.deleted(actions.to_delete(self.operation, alive)):
                raise self._action_required(alive)
            asked = True

    def _note_dead(self, role: Role, how: str) -> Operation:
        self._note(dead={**self.operation.facts.get("dead", {}), role.value: how})
        if how == "dead_by_refusal":
            text = f"this exchange tells no more than that it refuses the old {role} key: that counts as its death"
            self.warnings += (("DEATH_BY_REFUSAL", text),)
        return self.operation

    def _action_required(self, alive: Collection[Role]) -> ActionRequired:
        todo = actions.to_delete(self.operation, alive)
        return ActionRequired(
            f"the new key is in use, but the old {' and '.join(alive)} key is not proved dead",
            hint=f"{todo[0]['text']}, then 'fortctl keys rotate --resume'",
            details={"actions": todo, "unproved": [role.value for role in alive]},
            text="\n".join(f"- {one['text']}" for one in todo),
        )


def start_again(tools: StepTools) -> None:
    """Have the robot trade, unless it does."""
    if tools.watch.status()["state"] in AT_WORK:
        return
    try:
        tools.robot.start()
    except Conflict as conflict:
        if conflict.details.get("state") != "running":
            raise
