"""Pair an operator with a robot on another host: each side runs ``robot pair``, a person compares the codes."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from fortctl.errors import ConflictError, FortctlError, NotFoundError, RobotTimeoutError
from fortctl.mailbox.crypto import identity_id
from fortctl.mailbox.pairing import (
    NONCE_BYTES,
    PairingShare,
    commitment,
    comparison_code,
    matches_commitment,
    read_commitment,
    read_share,
)
from fortctl.mailbox.payloads import Hello, PairOperator, UnpairOperator
from fortctl.ports import AuditLog, Clock
from fortctl.services.robot.client import RobotClient
from fortctl.services.site_vault import RobotPin, SiteVault

COMMITMENT, ROBOT, OPERATOR = "commitment", "robot", "operator"
VALID_FOR_MS = 3_600_000
T = TypeVar("T")
_POLL_S = 0.1


class PairingBoard(Protocol):
    """Where both sides leave their parts; its administrator is not trusted."""

    def post_pairing(self, account: str, step: str, body: bytes) -> None:
        """Put a step's body, in the place of an earlier one."""

    def pairing(self, account: str, step: str) -> bytes | None: ...

    def clear_pairing(self, account: str) -> None: ...


@dataclass(frozen=True)
class Introduction:
    """The other side, as the mailbox showed it; to be believed only once a person has compared the code.

    Attributes:
        side: ``operator`` (here is an operator) or ``robot`` (here is a robot's host).
        other_id, other_public: the other side's identity.
        code: the comparison code.
        at: milliseconds since the epoch.
    """

    side: str
    other_id: str
    other_public: bytes
    code: str
    at: int

    def as_record(self) -> str:
        body = {
            "side": self.side,
            "other_id": self.other_id,
            "other_public": base64.b64encode(self.other_public).decode(),
            "code": self.code,
            "at": self.at,
        }
        return json.dumps(body, sort_keys=True)

    @classmethod
    def from_record(cls, text: str) -> Introduction:
        body = json.loads(text)
        return cls(**{**body, "other_public": base64.b64decode(body["other_public"])})


class PairingService:
    """Pairs one account's operator and robot.

    Args:
        vault: the site's vault for this account.
        board: where both sides leave their parts.
        control: the line to the robot.
        audit, clock: as named.
        sleep: waits between two reads.
    """

    def __init__(
        self,
        vault: SiteVault,
        board: PairingBoard,
        client: RobotClient,
        audit: AuditLog,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._vault = vault
        self._board = board
        self._client = client
        self._audit = audit
        self._clock = clock
        self._sleep = sleep

    # -- exchanging identities -------------------------------------------------------------------------------------

    def as_operator(self, *, timeout_s: float) -> Introduction:
        """Introduce this operator to the robot's host. Raises ``RobotTimeoutError``: nobody answers there."""
        account = self._vault.account
        mine = PairingShare(os.urandom(8).hex(), self._vault.operator().public_bytes(), os.urandom(NONCE_BYTES))
        self._board.clear_pairing(account)
        self._board.post_pairing(account, COMMITMENT, commitment(mine))

        def answered() -> PairingShare | None:
            body = self._board.pairing(account, ROBOT)
            half = read_share(body) if body is not None else None
            return half if half is not None and half.session == mine.session else None

        theirs = self._await(answered, timeout_s, "on the robot's host run 'fortctl robot pair' too")
        self._board.post_pairing(account, OPERATOR, mine.as_bytes())
        return self._introduced("operator", theirs, comparison_code(account, self._vault.exchange, mine, theirs))

    def as_robot_host(self, *, timeout_s: float) -> Introduction:
        """Introduce this host's robot to an operator. Raises ``RobotTimeoutError``: none comes."""
        account = self._vault.account
        robot = self._own_robot()

        def committed() -> tuple[str, str] | None:
            body = self._board.pairing(account, COMMITMENT)
            return read_commitment(body) if body is not None else None

        hint = "on the operator's host run 'fortctl robot pair' too"
        session, promise = self._await(committed, timeout_s, hint)
        mine = PairingShare(session, robot.public, os.urandom(NONCE_BYTES))
        self._board.post_pairing(account, ROBOT, mine.as_bytes())

        def revealed() -> PairingShare | None:
            body = self._board.pairing(account, OPERATOR)
            half = read_share(body) if body is not None else None
            return half if half is not None and half.session == session else None

        theirs = self._await(revealed, timeout_s, hint)
        if not matches_commitment(theirs, promise):
            raise ConflictError(
                "the operator in the mailbox is not the one who began: somebody changed the mailbox",
                hint="begin again; if it happens again, do not trust this mailbox",
            )
        return self._introduced("robot", theirs, comparison_code(account, self._vault.exchange, theirs, mine))

    def _own_robot(self) -> RobotPin:
        self._client.ensure_running()
        if self._client.card() is None:
            raise NotFoundError("this host's robot has not introduced itself", hint="see 'fortctl robot logs'")
        pin = self._vault.robot()
        assert pin is not None
        return pin

    def _introduced(self, side: str, theirs: PairingShare, code: str) -> Introduction:
        introduction = Introduction(side, identity_id(theirs.public), theirs.public, code, self._clock.now_ms())
        self._vault.store_introduction(introduction.as_record())
        return introduction

    def _await(self, read: Callable[[], T | None], timeout_s: float, hint: str) -> T:
        deadline = self._clock.monotonic() + timeout_s
        while True:
            answer = read()
            if answer is not None:
                return answer
            if self._clock.monotonic() >= deadline:
                raise RobotTimeoutError("nobody answers on the other side", hint=hint)
            self._sleep(_POLL_S)

    # -- once the codes were compared ------------------------------------------------------------------------------

    def pending(self) -> Introduction:
        """Return the pairing whose code is to be compared. Raises ``NotFoundError``."""
        text = self._vault.introduction()
        introduction = Introduction.from_record(text) if text else None
        if introduction is None or self._clock.now_ms() - introduction.at > VALID_FOR_MS:
            raise NotFoundError("no pairing waits for its code", hint="begin one: 'fortctl robot pair'")
        return introduction

    def confirm(self, other: Introduction, *, timeout_s: float) -> None:
        """Believe the other side from now on.

        Raises:
            RobotTimeoutError: the robot gave no answer in time (on its host the code may still have to be confirmed).
        """
        if other.side == "robot":
            self._client.execute(PairOperator(other.other_id, other.other_public))
        else:
            self._vault.pin_robot(RobotPin(other.other_id, other.other_public))
            self._greet(timeout_s)
        self._vault.store_introduction(None)
        self._audit.append("paired", account=self._vault.account, result="done", side=other.side, other=other.other_id)

    def _greet(self, timeout_s: float) -> None:
        """Wait until the robot obeys: on its host a person confirms, too."""
        deadline = self._clock.monotonic() + timeout_s
        while True:
            try:
                self._client.execute(Hello(), wait_s=max(1.0, min(5.0, timeout_s)))
                return
            except FortctlError as error:
                waiting = error.details.get("reason") == "unpaired" or error.code == "ROBOT_TIMEOUT"
                if not waiting or self._clock.monotonic() >= deadline:
                    raise
            self._sleep(1.0)

    def revoke(self, operator_id: str) -> None:
        """Have the robot obey an operator no longer. Raises ``NotFoundError``, ``ConflictError``: it is oneself."""
        if operator_id == self._vault.operator().id:
            raise ConflictError("an operator does not revoke itself", hint="revoke it from another operator's home")
        self._client.execute(UnpairOperator(operator_id))
        self._audit.append("operator revoked", account=self._vault.account, result="done", other=operator_id)
