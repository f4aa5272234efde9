"""Who makes and deletes keys at the exchange: a person on Binance's page, or a master account's key (the issuer).

The master key lies in a vault of its own, with its own slots, and signs nothing but the calls on a sub-account's keys.
Who the issuer is, and of which sub-account, is believed from that vault alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from fortctl.errors import (
    BadInputError,
    ConfigError,
    ExchangeAnswer,
    FortctlError,
    KeyPolicyError,
    KeyRejectedError,
    NotFoundError,
)
from fortctl.keys.fingerprint import fingerprint
from fortctl.keys.policy import (
    REQUIRED,
    check_issuer_policy,
    describe_rejection,
    permission_hint,
    remedy_for,
    unrestricted_error,
    unrestricted_warning,
)
from fortctl.keys.verification import verify_new_key
from fortctl.model import KeyCard, KeyPair, KeyRestrictions, KeyType, KeyVerdict, Role
from fortctl.ports import AuditLog, Clock, Exchange, ExchangeError, IssuedKey, Issuer, NewRecord, Outcome, VaultPort
from fortctl.secret import Secret
from fortctl.services.exchange_errors import to_command_error
from fortctl.timestamps import rfc3339

PERSON, SUB_ACCOUNT = "person", "sub-account"
ATTEMPTS, RETRY_S = 5, 1.0
Named = Callable[[IssuedKey], bool]


@dataclass(frozen=True)
class MasterKey:
    """A master account's key.

    Attributes:
        pair: the key itself.
        email: what its calls name the sub-account by.
        fingerprint: of its API key.
        verified_at: when the exchange accepted it (ms).
        restrictions: its rights then, where the target tells them.
        allow: what the operator accepted: rights that an issuer does not need, ``ip_unrestricted``.
    """

    pair: KeyPair
    email: str
    fingerprint: str
    verified_at: int
    restrictions: KeyRestrictions | None = None
    allow: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return ``issuer{kind, email, key{…}}`` as JSON."""
        rights = self.restrictions
        key = {
            "name": self.pair.name,
            "type": self.pair.type.value,
            "fingerprint": self.fingerprint,
            "tail": self.pair.api_key.reveal()[-4:],
            "permissions": list(rights.permissions()) if rights else [],
            "ip_restricted": rights.ip_restricted if rights else None,
            "created_at": rfc3339(rights.created_at) if rights else None,
            "verified_at": rfc3339(self.verified_at),
        }
        return {"kind": SUB_ACCOUNT, "email": self.email, "key": key}

    @property
    def warnings(self) -> tuple[tuple[str, str], ...]:
        """What is wrong with the stored key, as ``(code, message)`` pairs."""
        rights = self.restrictions
        if rights is None or rights.ip_restricted:
            return ()
        return (unrestricted_warning("master", rights.permissions()),)


NOBODY: dict[str, Any] = {"kind": PERSON, "email": None, "key": None}


def master_id(account: str) -> str:
    """Return the id of an account's record in the issuer's vault."""
    return f"issuer/{account}"


class IssuerService:
    """The issuer of one account.

    Args:
        account, exchange: the account and its pinned target.
        vault: the issuer's own vault, unlocked.
        held: the keys that the account holds now.
        connect: makes an exchange adapter (to verify the master key).
        open_issuer: makes the issuer adapter of a master key and a sub-account's e-mail address.
        fingerprint_key: of the home.
        clock, audit: as named.
    """

    def __init__(
        self,
        account: str,
        exchange: str,
        vault: VaultPort,
        held: Callable[[], Sequence[KeyCard]],
        connect: Callable[[KeyPair | None], Exchange],
        open_issuer: Callable[[KeyPair, str], Issuer],
        fingerprint_key: bytes,
        clock: Clock,
        audit: AuditLog,
    ) -> None:
        self._account = account
        self._exchange = exchange
        self._vault = vault
        self._held = held
        self._connect = connect
        self._open = open_issuer
        self._fingerprint_key = fingerprint_key
        self._clock = clock
        self._audit = audit

    def master(self) -> MasterKey | None:
        """Return the master key that issues for this account, or None: a person does.

        Raises:
            ConfigError: it was entered for another exchange target.
        """
        return read_master(self._vault, self._account, self._exchange)

    def issuer(self) -> Issuer:
        """Return the issuer's adapter. Raises ``NotFoundError`` where a person issues the keys."""
        master = self.master()
        if master is None:
            raise NotFoundError(
                f"the keys of account {self._account} are made by a person on Binance's page",
                hint="'fortctl issuer set sub-account' hands that to a master account's key",
            )
        return self._open(master.pair, master.email)

    async def set_master_key(
        self, pair: KeyPair, email: str, allow: Collection[str]
    ) -> tuple[MasterKey, tuple[tuple[str, str], ...]]:
        """Have a master account's key issue the keys from now on, once it proved that it can; return it, and warnings.

        Raises:
            KeyRejectedError: the exchange does not accept it.
            KeyPolicyError: its rights are too many or too few, or it works from any IP address.
            BadInputError: the master knows no sub-account of that address, or it is another than this account.
        """
        verdict = await verify_new_key(self._connect, pair, Role.ROBOT)
        warnings = _fit(verdict, allow)
        warnings += await self._expect_sub_account(pair, email)
        key_id = fingerprint(pair.api_key, self._fingerprint_key)
        master = MasterKey(pair, email, key_id, self._clock.now_ms(), verdict.restrictions, tuple(sorted(allow)))
        self._audit.append("issuer set", account=self._account, result="intent", issuer=SUB_ACCOUNT, fingerprint=key_id)
        self._vault.update([_record(master, self._account, self._exchange)])
        self._audit.append("issuer set", account=self._account, result="result", issuer=SUB_ACCOUNT, fingerprint=key_id)
        return master, warnings

    async def _expect_sub_account(self, pair: KeyPair, email: str) -> tuple[tuple[str, str], ...]:
        issuer = self._open(pair, email)
        try:
            return self._expect_ours(await issuer.list_keys(), email)
        except ExchangeError as fault:
            if fault.outcome is Outcome.REFUSED:
                raise BadInputError(
                    f"the master account cannot look at the keys of this sub-account: {fault.message}",
                    hint="check --email, and that the key is the master account's",
                    exchange=ExchangeAnswer(fault.http_status, fault.code, fault.message),
                ) from None
            raise to_command_error(fault, "asking about the sub-account's keys") from None
        finally:
            await issuer.close()

    def _expect_ours(self, listed: Sequence[IssuedKey], email: str) -> tuple[tuple[str, str], ...]:
        """Refuse another account's list: of its silence about our keys a panic would conclude nothing."""
        at_exchange = {fingerprint(key.api_key, self._fingerprint_key) for key in listed}
        held = self._held()
        strange = [f"the {card.role} key '{card.name}'" for card in held if card.fingerprint not in at_exchange]
        if strange and len(strange) == len(held):
            raise BadInputError(
                f"sub-account {email} is not account {self._account}: its keys are not {' and '.join(strange)}",
                hint="check --email; remove a key that was deleted at Binance first: 'fortctl keys delete'",
                details={"reason": "other_account"},
            )
        text = "is not among the sub-account's keys: the issuer cannot delete it"
        return tuple(("KEY_NOT_LISTED", f"{one} {text}") for one in strange)

    def remove_master_key(self) -> bool:
        """Have a person issue the keys again; destroy the master key. Return whether anything changed."""
        if all(meta.record_id != master_id(self._account) for meta in self._vault.records()):
            return False
        self._audit.append("issuer set", account=self._account, result="intent", issuer=PERSON)
        self._vault.update(delete=[master_id(self._account)])
        self._audit.append("issuer set", account=self._account, result="result", issuer=PERSON)
        return True


# -- what is done with an issuer ---------------------------------------------------------------------------------------


async def make_key(
    issuer: Issuer,
    name: str,
    public_key: str,
    role: Role,
    addresses: Sequence[str],
    clock: Clock,
    before: Callable[[], None] = lambda: None,
) -> IssuedKey:
    """Make a key of a public half whose private half is durable already, under a name that was journaled before.

    A lost answer is resolved by listing: a key of that name is this one.

    Args:
        before: called right before the exchange is asked for it; what it raises keeps that from happening.

    Raises:
        FortctlError: no key was made, or it cannot be known yet; nothing is lost by calling again.
    """
    made = await named(issuer, name)
    if made is not None:
        return made
    before()
    try:
        return await issuer.create(name, public_key, REQUIRED[role], addresses)
    except ExchangeError as fault:
        if fault.outcome not in (Outcome.UNKNOWN, Outcome.REFUSED):
            raise _error(fault, f"making the {role} key") from None
        lost = fault
    for attempt in range(ATTEMPTS if lost.outcome is Outcome.UNKNOWN else 1):
        if attempt:
            await clock.sleep(RETRY_S)
        made = await named(issuer, name)
        if made is not None:
            return made
    raise _error(lost, f"making the {role} key")


async def named(issuer: Issuer, name: str) -> IssuedKey | None:
    """Return the sub-account's key of a name, or None. Raises ``FortctlError``."""
    return next((key for key in await keys_of(issuer) if key.name == name), None)


async def keys_of(issuer: Issuer) -> tuple[IssuedKey, ...]:
    """Return the sub-account's keys. Raises ``FortctlError``."""
    try:
        return await issuer.list_keys()
    except ExchangeError as fault:
        raise _error(fault, "listing the sub-account's keys") from None


async def addresses_of(issuer: Issuer, api_key: Secret) -> tuple[str, ...]:
    """Return a key's IP list. Raises ``FortctlError``."""
    try:
        return await issuer.addresses(api_key)
    except ExchangeError as fault:
        raise _error(fault, "asking for the key's IP list") from None


async def delete_keys(issuer: Issuer, meant: Named) -> tuple[str, ...]:
    """Delete those of the sub-account's keys that are meant; return the names of those that are gone.

    Those that may trade come first. Whatever is refused, every other one is tried, and what is left once more.

    Raises:
        FortctlError: one of them is still listed.
    """
    keys = sorted(filter(meant, await keys_of(issuer)), key=lambda key: "spot_trading" not in key.permissions)
    left, problem = await _delete_each(issuer, keys)
    if problem is not None and left:
        left, problem = await _delete_each(issuer, left)
    if problem is not None and left:
        raise _error(problem, f"deleting the key '{left[0].name}'") from None
    return tuple(key.name for key in keys)


async def _delete_each(issuer: Issuer, keys: Sequence[IssuedKey]) -> tuple[list[IssuedKey], ExchangeError | None]:
    """Delete keys one by one; return what is left of them, and the first refusal."""
    problem = None
    for key in keys:
        try:
            await issuer.delete(key.api_key)
        except ExchangeError as fault:
            problem = problem or fault
    if problem is None:
        return [], None
    # A lost answer, or somebody else deleted it meanwhile: the list knows.
    listed = {one.api_key.reveal() for one in await keys_of(issuer)}
    return [key for key in keys if key.api_key.reveal() in listed], problem


def _error(fault: ExchangeError, doing: str) -> FortctlError:
    """Return the error of a call that the master key signed: that key was refused, none of the account's."""
    error = to_command_error(fault, doing)
    if isinstance(error, KeyRejectedError):
        error.message = f"the exchange does not accept the issuer's master key ({error.message})"
        error.hint = "'fortctl issuer set sub-account' enters another; 'fortctl issuer status' shows this one"
        error.details["role"] = "issuer"
    return error


# -- the record --------------------------------------------------------------------------------------------------------


def read_master(vault: VaultPort, account: str, exchange: str | None) -> MasterKey | None:
    """Return an account's master key out of the issuer's vault, or None.

    Args:
        exchange: the account's target, or None to take the record's own (panic, with the configuration unreadable).

    Raises:
        ConfigError: it was entered for another exchange target.
    """
    meta = next((meta for meta in vault.records() if meta.record_id == master_id(account)), None)
    if meta is None:
        return None
    if exchange is not None and meta.exchange != exchange:
        raise ConfigError(
            f"account {account} is set to {exchange}, but its issuer's key was entered for {meta.exchange}",
            hint="set the exchange back in config.toml, or 'fortctl issuer set' again",
        )
    try:
        body = json.loads(vault.get(meta.record_id).reveal_bytes())
    except NotFoundError:
        return None
    pair = KeyPair(body["name"], KeyType(body["type"]), Secret(body["api_key"]), Secret(body["secret"]))
    rights = KeyRestrictions.from_json(body["restrictions"]) if body["restrictions"] else None
    return MasterKey(pair, body["email"], body["fingerprint"], body["verified_at"], rights, tuple(body["allow"]))


def _record(master: MasterKey, account: str, exchange: str) -> NewRecord:
    rights = master.restrictions
    body = {
        "name": master.pair.name,
        "type": master.pair.type.value,
        "api_key": master.pair.api_key.reveal(),
        "secret": master.pair.secret.reveal(),
        "email": master.email,
        "fingerprint": master.fingerprint,
        "verified_at": master.verified_at,
        "restrictions": rights.to_json() if rights else None,
        "allow": list(master.allow),
    }
    return NewRecord(
        record_id=master_id(account),
        account=account,
        exchange=exchange,
        role="issuer",
        name=master.pair.name,
        type=master.pair.type.value,
        plaintext=Secret(json.dumps(body, sort_keys=True)),
        erasable=True,
        created_at=master.verified_at,
        purpose="master",
    )


def _fit(verdict: KeyVerdict, allow: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Raise what is wrong with a master key; return its warnings."""
    if not verdict.accepted:
        raise KeyRejectedError(
            f"the exchange does not accept the master key: {describe_rejection(verdict.reason)}",
            hint=remedy_for(verdict.reason),
            details={"role": "issuer", "reason": verdict.reason, **verdict.evidence()},
            exchange=ExchangeAnswer(verdict.http_status, verdict.exchange_code, verdict.exchange_message),
        )
    if verdict.restrictions is None:
        return (("RIGHTS_UNKNOWN", "the exchange does not tell the master key's rights: look at them on its page"),)
    policy = check_issuer_policy(verdict.restrictions, allow)
    if not policy.ok:
        wrong = [*(f"missing {name}" for name in policy.missing), *(f"too much: {name}" for name in policy.excess)]
        raise KeyPolicyError(
            f"the exchange accepts the master key, but its permissions are not an issuer's: {', '.join(wrong)}",
            hint=permission_hint(Role.ROBOT, policy.missing, policy.excess),
            details={
                "role": "issuer",
                "reason": "policy",
                "missing": list(policy.missing),
                "excess": list(policy.excess),
            },
        )
    if policy.unrestricted:
        raise unrestricted_error("issuer")
    return policy.warnings
