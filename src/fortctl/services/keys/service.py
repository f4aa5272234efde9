"""Add, verify, change and delete the two keys of an account."""

from __future__ import annotations

from collections.abc import Callable, Collection

from fortctl.errors import ConflictError, KeyPolicyError, NotFoundError
from fortctl.keys.generation import generate_pending_key
from fortctl.keys.policy import (
    refuse_key_of_other_account,
    refuse_key_of_other_exchange,
    require_acceptable_key,
)
from fortctl.keys.serialization import KeyCheck
from fortctl.mailbox.payloads import DeliverKey, ForgetKey, GenerateKey, ShowPending, VerifyKey
from fortctl.mailbox.receipts import KeyChecked, KeyDelivered, KeyForgotten, PairWaiting
from fortctl.model import KeyCard, KeyPair, KeyType, KeyVerdict, RobotOrder, Role
from fortctl.model.keys import reads_only
from fortctl.ports import AuditLog, Clock, Exchange
from fortctl.secret import Secret
from fortctl.services.keys.listing import list_keys
from fortctl.services.keys.results import (
    COPY_WARNING,
    NO_COPY_WARNING,
    NO_QUEUED_COPY_WARNING,
    KeyAdded,
    Warnings,
    no_key_after_panic,
    note_destroyed_key,
    same_key,
)
from fortctl.services.robot.client import ANSWER_WITHIN_S, RobotClient
from fortctl.services.site_vault import SiteVault
from fortctl.services.stored_key import StoredKey

Connect = Callable[[KeyPair | None], Exchange]


class KeyService:
    """The keys of one account.

    Args:
        vault: the site's vault for this account.
        control: the line to the robot.
        connect: makes an exchange adapter for a key pair.
        clock: the clock.
        audit: the audit log.
    """

    def __init__(self, vault: SiteVault, client: RobotClient, connect: Connect, clock: Clock, audit: AuditLog) -> None:
        self._vault = vault
        self._client = client
        self._connect = connect
        self._clock = clock
        self._audit = audit

    @property
    def account(self) -> str:
        return self._vault.account

    # -- listing ---------------------------------------------------------------------------------------------------

    def cards(self) -> tuple[KeyCard, ...]:
        """Return a card for each key that there is; see :func:`~fortctl.services.keys.listing.list_keys`."""
        return list_keys(self._vault, self.robot_card())

    def robot_card(self) -> KeyCard | None:
        """Return the robot's key as it published it, or None."""
        card = self._client.card()
        return card.key if card is not None else None

    # -- making key pairs ------------------------------------------------------------------------------------------

    def generate(self, role: Role, kind: KeyType) -> tuple[str, str]:
        """Make a key pair where it will live; a pair that waited before is destroyed.

        Returns:
            The public half (PEM), to be registered at Binance, and what names the pair.

        Raises:
            ConflictError: the account is latched.
            RobotTimeoutError: the robot gave no answer in time.
        """
        if role is Role.ROBOT:
            pair = PairWaiting.from_json(self._client.execute(GenerateKey(kind)).data)
            self._audit.append(
                "key pair made", account=self.account, result="done", role="robot", pending=pair.pending_id
            )
            return str(pair.public_key), str(pair.pending_id)
        self._client.require_unlatched()
        made = generate_pending_key(kind, self._clock.now_ms())
        self._vault.store_pending(made)
        self._rollback_if_latched(self._vault.destroy_pending)
        return made.public, made.id

    def pending_public_key(self, role: Role) -> str | None:
        """Return the public half (PEM) of the pair that waits for its API key, or None.

        Raises:
            RobotTimeoutError: the robot gave no answer in time.
        """
        if role is Role.ROBOT:
            return PairWaiting.from_json(self._client.execute(ShowPending()).data).public_key
        made = self._vault.pending()
        return made.public if made is not None else None

    def complete_pending(self, role: Role, api_key: Secret, name: str) -> KeyPair:
        """Return the key that an API key completes; the robot's without its private half.

        Raises:
            NotFoundError: no key pair of the site waits.
        """
        if role is Role.ROBOT:
            card = self._client.card()
            kind = card.pending if card is not None else None
            return KeyPair(name, kind or KeyType.ED25519, api_key, Secret(b""))
        made = self._vault.pending()
        if made is None:
            raise NotFoundError(
                "no key pair of the site waits for its API key", hint="'fortctl keys generate --role site' makes one"
            )
        return KeyPair(name, made.type, api_key, Secret(made.secret.reveal_bytes()))

    # -- adding ----------------------------------------------------------------------------------------------------

    async def add_site_key(
        self, pair: KeyPair, *, allow: Collection[str], replacing: bool, force: bool, retire: bool = False
    ) -> KeyAdded:
        """Check a site key at the exchange, then store it.

        Args:
            pair: the key as entered.
            allow: what the operator accepted: rights that the role forbids, ``ip_unrestricted``, ``unknown_rights``.
            replacing: it takes the place of the key that is there (``keys change``).
            force: destroy the old key first.
            retire: keep the old key for the proof of its death (rotation).

        Raises:
            ConflictError, NotFoundError: there is a key already, or none to change; or the account is latched.
            KeyRejectedError, KeyPolicyError, ExchangeUnreachableError, …: what the exchange says of it.
        """
        self._client.require_unlatched()
        old = self._vault.site_key()
        self._expect(Role.SITE, old is not None, replacing)
        replaced = self._vault.fingerprint(old.pair) if old is not None else None
        self._refuse_shared(pair, Role.SITE)
        if retire and replaced == self._vault.fingerprint(pair):
            raise same_key(Role.SITE)
        if old is not None and old.pair == pair and set(old.allow) == set(allow):
            return await self._unchanged(old)
        if force and old is not None:
            self._vault.destroy_site_key()
        with note_destroyed_key(replaced if force else None):
            verdict = await self._accepted(pair, allow)
            refuse_key_of_other_account(verdict.uid, Role.SITE, self._vault.uids_elsewhere())
        now = self._clock.now_ms()
        key = StoredKey.entered(pair, now, verdict.uid, verdict.restrictions, allow)
        had_copy = self._vault.robot_copy() is not None
        what = "key rotated" if retire else "key changed" if replacing else "key added"
        self._vault.store_site_key(key, what, retiring=old if retire else None)
        self._rollback_if_latched(self._vault.destroy_site_key)
        warnings = verdict.warnings
        if had_copy:
            warnings += (("ROBOT_COPY_DESTROYED", "the site's copy of the robot key was destroyed"),)
        return KeyAdded(self._vault.card(Role.SITE, key), replaced, warnings, verdict.latency_ms)

    async def _unchanged(self, key: StoredKey) -> KeyAdded:
        """Ask about the key that is there and was entered once more; nothing takes its place."""
        verdict = await self._accepted(key.pair, key.allow)
        self._vault.record_verdict(verdict, entered=True)
        card = self._vault.card(Role.SITE, key.with_verdict(verdict, self._clock.now_ms()).accepting())
        return KeyAdded(card, None, verdict.warnings, verdict.latency_ms, changed=False)

    async def add_robot_key(
        self,
        pair: KeyPair,
        *,
        allow: Collection[str],
        replacing: bool,
        force: bool,
        wait_s: float = ANSWER_WITHIN_S,
        site_copy: bool = True,
        retire: bool = False,
        overlap: bool = False,
    ) -> KeyAdded:
        """Seal a key to the robot, which alone verifies and stores it; wait for its receipt (0: do not wait).

        Args:
            retire: the robot keeps the old key for the proof of its death (rotation).
            overlap: the old key is good still: the robot swaps between two orders.

        Raises:
            ConflictError, NotFoundError: there is a key already, or none to change; or the robot is latched.
            KeyRejectedError, KeyPolicyError: the robot's verdict.
            RobotTimeoutError: no answer in time; the delivery stays queued.
        """
        self._client.ensure_running()
        old = self.robot_card()
        self._expect(Role.ROBOT, old is not None, replacing)
        self._refuse_shared(pair, Role.ROBOT)
        if force and old is not None:
            self._client.execute(ForgetKey())
        sent = self._client.send(self._delivery(pair, allow, retire=retire, overlap=overlap))
        if wait_s <= 0:
            return self._queued(pair, sent.number, old)
        with note_destroyed_key(old.fingerprint if force and old else None):
            receipt = self._client.await_receipt(sent, wait_s=wait_s)
        delivered = KeyDelivered.from_json(receipt.data)
        self._vault.pin_uid(delivered.uid)
        warnings = delivered.warnings + self._copy_for_reading(pair, delivered, allow, site_copy)
        changed = not delivered.unchanged
        replaced = old.fingerprint if old and changed else None
        return KeyAdded(delivered.key, replaced, warnings, receipt.elapsed_ms, changed=changed)

    async def verify_candidate(self, role: Role, pair: KeyPair, allow: Collection[str] = ()) -> None:
        """Verify a key that a rotation will put in place; store it nowhere.

        Args:
            allow: what the operator accepted for the new key; what was accepted for the old one holds as well.

        Raises:
            KeyRejectedError, KeyPolicyError, ExchangeUnreachableError, …: what will use it would not take it.
            RobotTimeoutError: no answer in time.
        """
        self._refuse_shared(pair, role)
        if role is Role.ROBOT:
            # Its IP list may hold the robot's host alone: only the robot can tell.
            self._client.execute(self._delivery(pair, allow, retire=True, check_only=True))
            return
        old = self._vault.site_key()
        verdict = await self._accepted(pair, (*allow, *(old.allow if old is not None else ())))
        refuse_key_of_other_account(verdict.uid, Role.SITE, self._vault.uids_elsewhere())

    def _queued(self, pair: KeyPair, number: int, old: KeyCard | None) -> KeyAdded:
        """Return what is known of a key whose receipt nobody waits for."""
        card = KeyCard(
            Role.ROBOT, pair.name, pair.type, self._vault.fingerprint(pair), pair.api_key.reveal()[-4:], "queued"
        )
        waiting = (
            "NOT_VERIFIED",
            f"the key is on its way to the robot as command {number}; 'fortctl keys list' shows the result",
        )
        warnings = (waiting,) if self._vault.site_key() is not None else (waiting, NO_QUEUED_COPY_WARNING)
        return KeyAdded(card, old.fingerprint if old else None, warnings)

    def _delivery(
        self,
        pair: KeyPair,
        allow: Collection[str],
        *,
        retire: bool = False,
        overlap: bool = False,
        check_only: bool = False,
    ) -> DeliverKey:
        # A pair that the robot made itself has its private half there, and nowhere else.
        own = bool(pair.secret)
        return DeliverKey(
            name=pair.name,
            api_key=pair.api_key,
            type=pair.type if own else None,
            secret=pair.secret if own else None,
            fingerprint_key=Secret(self._vault.fingerprint_key()),
            allow=tuple(allow),
            elsewhere=self._vault.uids_elsewhere(),
            uid=self._vault.uid(),
            retire=retire,
            overlap=overlap,
            check_only=check_only,
        )

    def _copy_for_reading(
        self, pair: KeyPair, delivered: KeyDelivered, allow: Collection[str], site_copy: bool
    ) -> Warnings:
        had = self._vault.destroy_robot_copy()
        if self._vault.site_key() is not None or not (site_copy or had):
            return ()
        if not pair.secret:
            return (NO_COPY_WARNING,)
        now = self._clock.now_ms()
        copy = StoredKey.entered(pair, now, delivered.uid, delivered.restrictions, allow)
        self._vault.store_robot_copy(copy)
        self._rollback_if_latched(self._vault.destroy_robot_copy)
        return (COPY_WARNING,)

    def _rollback_if_latched(self, destroy: Callable[[], object]) -> None:
        """Destroy what was just written, if a panic came while it was on its way (it has looked already)."""
        if self._client.latched:
            destroy()
            raise ConflictError(
                "a panic came while the key was on its way: the key was destroyed",
                hint="look at the account first, then 'fortctl panic-clear'",
                details={"state": "latched"},
            )

    async def _accepted(self, pair: KeyPair, allow: Collection[str]) -> KeyVerdict:
        return require_acceptable_key(await self._ask(pair, allow), Role.SITE)

    async def _ask(self, pair: KeyPair, allow: Collection[str]) -> KeyVerdict:
        from fortctl.keys.verification import verify_new_key

        return await verify_new_key(self._connect, pair, Role.SITE, allow=allow, pinned_uid=self._vault.uid())

    def require_no_key(self, role: Role) -> None:
        """Raise ``ConflictError`` when there is a key of the role already."""
        if role is Role.ROBOT:
            self._client.ensure_running()
        self._expect(role, any(card.role is role for card in self.cards()), False)

    def _expect(self, role: Role, there: bool, replacing: bool) -> None:
        if there and not replacing:
            raise ConflictError(
                f"account {self.account} has a {role} key already",
                hint=f"'fortctl keys change --role {role}' replaces it",
                details={"role": role.value},
            )
        if replacing and not there:
            raise NotFoundError(
                f"account {self.account} has no {role} key to change", hint=f"'fortctl keys add --role {role}' adds one"
            )

    def _refuse_shared(self, pair: KeyPair, role: Role) -> None:
        """Refuse the other role's key, also under another API key; and one of another exchange, before it is asked."""
        refuse_key_of_other_exchange(self._vault.known_elsewhere(pair), role)
        entered = self._vault.fingerprint(pair)
        site = self._vault.site_key()
        other = (self._vault.fingerprint(site.pair) if site else None) if role is Role.ROBOT else None
        if role is Role.SITE:
            robot, copy = self.robot_card(), self._vault.robot_copy()
            other = robot.fingerprint if robot else (self._vault.fingerprint(copy.pair) if copy else None)
        beside = site if role is Role.ROBOT else self._vault.robot_copy()
        same_secret = beside is not None and bool(pair.secret) and beside.pair.secret == pair.secret
        if entered == other or same_secret:
            raise KeyPolicyError(
                "this key is the other role's key: each role needs a key of its own",
                hint="create a second key on Binance's API management page",
                details={"role": role.value, "reason": "shared_between_roles"},
            )

    # -- asking again ----------------------------------------------------------------------------------------------

    async def verify(self, roles: Collection[Role]) -> tuple[list[KeyCheck], Warnings]:
        """Ask the exchange about the keys now, both at once.

        Returns:
            An entry of ``results[]`` for each key, and warnings.

        Raises:
            NotFoundError: the account has no key of these roles; after a panic it has none at all.
        """
        if self._client.latched:
            # A robot that the panic killed leaves its last card, with the key, in the mailbox.
            raise no_key_after_panic(self.account)
        site = self._vault.site_key() if Role.SITE in roles else None
        robot = self.robot_card() if Role.ROBOT in roles else None
        if site is None and robot is None:
            raise NotFoundError(
                f"account {self.account} has no {' or '.join(sorted(roles))} key", hint="'fortctl keys add' adds one"
            )
        # The robot asks for itself while the site's own question is under way.
        sent = self._client.send(VerifyKey()) if robot is not None else None
        checked = [await self._verify_site(site)] if site is not None else []
        if sent is not None:
            checked.append(KeyChecked.from_json(self._client.await_receipt(sent).data))
        return [one.check for one in checked], tuple(warning for one in checked for warning in one.warnings)

    async def _verify_site(self, key: StoredKey) -> KeyChecked:
        verdict = await self._ask(key.pair, key.allow)
        self._vault.record_verdict(verdict)
        warnings = verdict.warnings
        if verdict.restrictions is not None and reads_only(verdict.restrictions.permissions()):
            # The operator was warned of it once, when the key was added; 'fortctl doctor' repeats it.
            warnings = tuple(warning for warning in warnings if warning[0] != "IP_UNRESTRICTED")
        drift = key.with_verdict(verdict, self._clock.now_ms()).drift
        warnings += tuple(("KEY_DRIFT", f"site key: {one.detail}") for one in drift)
        return KeyChecked(KeyCheck.of(Role.SITE, verdict, drift), warnings)

    # -- deleting --------------------------------------------------------------------------------------------------

    def delete_site(self) -> str:
        """Destroy the site key; return its fingerprint."""
        return self._vault.destroy_site_key()

    def delete_robot(self, *, wait_s: float = ANSWER_WITHIN_S) -> tuple[str, tuple[RobotOrder, ...]]:
        """Destroy the robot's key: the site's copy at once, the robot's at its next contact.

        Returns:
            The fingerprint, and the orders that the robot leaves at the exchange.
        """
        self._client.ensure_running()
        card, copy = self.robot_card(), self._vault.robot_copy()
        if card is None and copy is None:
            raise NotFoundError(f"account {self.account} has no robot key", hint="see 'fortctl keys list'")
        deleted = card.fingerprint if card else self._vault.fingerprint(copy.pair) if copy else ""
        self._vault.destroy_robot_copy()
        if card is None:
            return deleted, ()
        forgotten = KeyForgotten.from_json(self._client.execute(ForgetKey(), wait_s=wait_s).data)
        self._audit.append("key deleted", account=self.account, result="result", role="robot", fingerprint=deleted)
        return deleted, forgotten.orders_left
