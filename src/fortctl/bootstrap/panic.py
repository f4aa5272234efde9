"""Make the ports of a panic. Nothing here may fail as a whole: the panic reports what could not be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fortctl.bootstrap.deadline import BUSY_MS, ImpatientPrompts
from fortctl.bootstrap.emergency import EmergencyReader, destroy_copies, own_prefix
from fortctl.bootstrap.emergency_config import EmergencyConfig
from fortctl.bootstrap.emergency_vaults import EmergencyVaults
from fortctl.bootstrap.panic_rotation import abort_operation, open_operation
from fortctl.bootstrap.presigned_order import PresignedOrderSource
from fortctl.bootstrap.unlock import UnlockSources
from fortctl.config.home import Home
from fortctl.errors import ConfigError
from fortctl.model import KeyPair
from fortctl.robot.core.submission import PROVED_AFTER_MS
from fortctl.robot.process.local_robot import LocalRobot
from fortctl.robot.storage.latch import LatchFile
from fortctl.services.panic.ports import JournaledOrder, PanicPorts, PanicRecord
from fortctl.system.clock import SystemClock
from fortctl.system.users import user_name

if TYPE_CHECKING:
    from fortctl.exchange.targets import ExchangeTarget
    from fortctl.ports import Exchange, Issuer
    from fortctl.services.hooks import Hooks
    from fortctl.services.panic.remote_halt import RemoteHalt
from fortctl.terminal.global_options import Globals


def panic_ports(given: Globals, account: str) -> PanicPorts:
    """Return what can be done for one account; the operator is never asked."""
    home, clock = Home(given.home), SystemClock()
    place = home.robot(account)
    latch = LatchFile(place.path)
    config = EmergencyConfig(home, account)
    vaults = EmergencyVaults(home, account, UnlockSources(ImpatientPrompts(), given, lambda code, message: None))
    orders = PresignedOrderSource(account, place, latch, config, vaults)

    def remote_halt(cancel_orders: bool, timeout_s: float, began_ms: int) -> RemoteHalt:
        from functools import partial

        from fortctl.mailbox.shared import open_shared
        from fortctl.services.panic.remote_halt import RemoteHalt

        return RemoteHalt(
            orders,
            partial(open_shared, busy_timeout_ms=BUSY_MS),
            clock,
            cancel_orders=cancel_orders,
            timeout_s=timeout_s,
            began_ms=began_ms,
        )

    exchange = _ExchangeAccess(home, account, config, vaults)

    def empty_mailbox() -> None:
        mailbox = config.open_mailbox()
        if mailbox is None:
            return
        try:
            # The card of a robot on another host shows whether it came up since it was halted.
            mailbox.withdraw(account, clock.now_ms(), keep_card=config.is_remote())
        finally:
            mailbox.close()

    def audit(record: PanicRecord) -> None:
        from fortctl.store.audit_log import AuditLogFile

        AuditLogFile(home.audit).append("panic", account=account, result="done", best_effort=True, **record.as_json())

    def hooks() -> Hooks:
        from fortctl.bootstrap.container import make_hooks

        read = config.config()
        if read is None:
            raise ConfigError("the configuration cannot be read")
        return make_hooks(account, read.settings_for(account), clock)

    return PanicPorts(
        account=account,
        latch=latch,
        process=LocalRobot(home.path, account, place.path),
        in_flight_ms=PROVED_AFTER_MS,
        remote=lambda: remote_halt if config.is_remote() else None,
        keys=EmergencyReader(home, account, config, vaults, latch),
        own_prefix=lambda: own_prefix(home, account, config),
        journaled_orders=lambda: journaled_orders(home, account),
        destroy=lambda: destroy_copies(home, account),
        empty_mailbox=empty_mailbox,
        abort_operation=lambda: abort_operation(home, account, clock.now_ms()),
        open_operation=lambda: open_operation(home, account),
        load_exchange=exchange.load,
        connect=exchange.connect,
        issuer=exchange.issuer,
        audit=audit,
        fire=lambda event, facts, wait_s: hooks().fire(event, facts, wait_s=wait_s),
        hooks=lambda event: hooks().names(event),
        clock=clock,
        user=user_name(),
    )


class _ExchangeAccess:
    """Reaches the account's exchange, as far as its vaults and the configuration can be read."""

    def __init__(self, home: Home, account: str, config: EmergencyConfig, vaults: EmergencyVaults) -> None:
        self._home = home
        self._account = account
        self._config = config
        self._vaults = vaults

    def load(self) -> None:
        """Load what :meth:`connect` needs, and read the exchange's name."""
        from fortctl.exchange import client  # noqa: F401

        self._target()

    def connect(self, pair: KeyPair) -> Exchange:
        """Make an exchange adapter with a key. Raises ``ConfigError`` if the exchange cannot be read."""
        from fortctl.exchange.client import BinanceExchange

        return BinanceExchange(self._target(), pair)

    def issuer(self) -> Issuer | None:
        """Return the issuer with its master account's key, or None if a person issues keys."""
        from fortctl.bootstrap.issuer import issuer_kind, sub_account_issuer
        from fortctl.services.keys.issuer import SUB_ACCOUNT, read_master

        if issuer_kind(self._home, self._account) != SUB_ACCOUNT:
            return None
        master = read_master(self._vaults.open("issuer"), self._account, None)
        return sub_account_issuer(self._name(), self._home.path, master.pair, master.email) if master else None

    def _target(self) -> ExchangeTarget:
        from fortctl.exchange.targets import resolve

        return resolve(self._name(), self._home.path)

    def _name(self) -> str:
        pinned = self._vaults.pinned_exchange()
        entry = self._config.account_entry() if pinned is None else None
        name = pinned or (entry.exchange if entry is not None else None)
        if name is None:
            raise ConfigError("the account's exchange cannot be read from its vaults or the configuration")
        return name


def journaled_orders(home: Home, account: str) -> tuple[JournaledOrder, ...]:
    """Return the orders that the local robot's journal holds as open; none where there is no journal.

    Raises:
        VaultDamagedError: the journal cannot be read.
    """
    from fortctl.robot.storage.offline_status import offline_orders

    return tuple(JournaledOrder(*order) for order in offline_orders(home.robot(account).journal))
