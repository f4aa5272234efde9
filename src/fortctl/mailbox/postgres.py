"""The mailbox in PostgreSQL, for operators and robots on different hosts (adapter).

The database's administrator is not trusted: it stores sealed and signed bytes, and every row is authenticated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from fortctl.errors import ConfigError, ConflictError, RobotUnreachableError
from fortctl.mailbox.sqlite import AT_ONCE, NUMBER_LIMIT, bounded_columns, created_at
from fortctl.ports import MailboxRow, PanicRow

if TYPE_CHECKING:
    import psycopg

# The robot trades on the thread that reads the mailbox, so waits are short, and there is a pause after a failure.
CONNECT_S, STATEMENT_MS, PAUSE_S = 2, 2000, 5.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS fortctl_command (
    account TEXT NOT NULL,
    number BIGINT NOT NULL,
    envelope BYTEA NOT NULL,
    sealed BYTEA,
    signature BYTEA NOT NULL,
    claimed_at BIGINT,
    finished_at BIGINT,
    result BYTEA,
    result_signature BYTEA,
    PRIMARY KEY (account, number)
);
CREATE TABLE IF NOT EXISTS fortctl_card (
    account TEXT PRIMARY KEY,
    body BYTEA NOT NULL,
    signature BYTEA NOT NULL,
    published_at BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS fortctl_pairing (
    account TEXT NOT NULL,
    step TEXT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (account, step)
);
CREATE TABLE IF NOT EXISTS fortctl_panic (
    account TEXT NOT NULL,
    nonce TEXT NOT NULL,
    body BYTEA NOT NULL,
    signature BYTEA NOT NULL,
    answer BYTEA,
    answer_signature BYTEA,
    PRIMARY KEY (account, nonce)
);
"""
# CREATE TABLE IF NOT EXISTS may fail when two processes run it at once.
_SCHEMA_LOCK = 0x666F727463746C
_COLUMNS = bounded_columns("''::bytea")
_PANIC_COLUMNS = "nonce, body, signature, answer, answer_signature"
T = TypeVar("T")
_LOCAL_HOSTS = ("", "localhost", "127.0.0.1", "::1")


def check_url(url: str) -> None:
    """Refuse a URL that would reveal the password or allow an unprotected connection.

    The URL is judged by what libpq makes of it and of the environment (PGHOST, PGSERVICE …): ``?host=``, ``hostaddr``
    and a second ``sslmode`` override what the rest of the URL says (PostgreSQL documentation, "Connection URIs").

    Raises:
        ConfigError: the URL contains a password, names a service, or names another host without ``verify-full``; or
            the driver is not installed, or cannot read the URL.
    """
    import_driver()
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.pq import Conninfo

    try:
        given = conninfo_to_dict(url)
    except ProgrammingError:
        raise ConfigError("the mailbox's URL is not a PostgreSQL address", hint="see docs/sealed-mailbox.md") from None
    if "password" in given:
        raise ConfigError(
            "the mailbox's URL contains a password", hint="put it into ~/.pgpass (0600), or use a client certificate"
        )
    if "service" in given:
        raise ConfigError(
            "the mailbox's URL names a service, whose file may send it to any host", hint="name the host in the URL"
        )
    defaults = {option.keyword.decode(): (option.val or b"").decode() for option in Conninfo.get_defaults()}
    in_force = defaults | {name: str(value) for name, value in given.items()}
    addresses = in_force.get("hostaddr") or in_force.get("host") or ""
    is_local = all(host.startswith("/") or host in _LOCAL_HOSTS for host in addresses.split(","))
    if not is_local and in_force.get("sslmode") != "verify-full":
        raise ConfigError(
            "the mailbox is on another host, but its URL does not require a TLS connection to exactly that host",
            hint="add sslmode=verify-full",
        )


class PostgresMailbox:
    """The command queue of robots; implements :class:`fortctl.ports.Mailbox` and the pairing board.

    Args:
        url: ``postgresql://…``, as libpq accepts it.
        clock: monotonic seconds.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        check_url(url)
        self._url = url
        self._clock = clock
        self._connection: psycopg.Connection[Any] | None = None
        self._paused_until = 0.0

    # -- commands --------------------------------------------------------------------------------------------------

    def append(self, row: MailboxRow) -> None:
        from psycopg.errors import UniqueViolation

        statement = (
            "INSERT INTO fortctl_command (account, number, envelope, sealed, signature) VALUES (%s, %s, %s, %s, %s)",
            (row.account, row.number, row.envelope, row.sealed, row.signature),
        )
        try:
            # Not retried: the first attempt may have stored it, and a command is sent once.
            self._execute(lambda connection: connection.execute(*statement), retry=False)
        except UniqueViolation:
            raise ConflictError(f"command {row.number} of account {row.account} exists already") from None

    def last_number(self, account: str) -> int:
        found = self._one(
            "SELECT MAX(number) FROM fortctl_command WHERE account = %s AND number <= %s", account, NUMBER_LIMIT
        )
        return int(found[0] or 0) if found else 0

    def pending(self, account: str) -> tuple[MailboxRow, ...]:
        statement = (
            f"SELECT {_COLUMNS} FROM fortctl_command WHERE account = %s AND result IS NULL"
            f" AND number BETWEEN 0 AND {NUMBER_LIMIT} ORDER BY number LIMIT {AT_ONCE}"
        )
        rows = self._execute(lambda connection: connection.execute(statement, (account,)).fetchall())
        return tuple(MailboxRow(*row) for row in rows)

    def row(self, account: str, number: int) -> MailboxRow | None:
        found = self._one(f"SELECT {_COLUMNS} FROM fortctl_command WHERE account = %s AND number = %s", account, number)
        return MailboxRow(*found) if found else None

    def claim(self, account: str, number: int, at: int) -> None:
        self._run("UPDATE fortctl_command SET claimed_at = %s WHERE account = %s AND number = %s", at, account, number)

    def finish(self, account: str, number: int, result: bytes, signature: bytes, at: int) -> None:
        self._run(
            "UPDATE fortctl_command SET result = %s, result_signature = %s, finished_at = %s, sealed = NULL"
            " WHERE account = %s AND number = %s",
            *(result, signature, at, account, number),
        )

    def waiting(self, account: str) -> list[tuple[int, int]]:
        """Return ``(number, created at in ms)`` of the commands without an answer."""
        return [(row.number, created_at(row)) for row in self.pending(account)]

    def withdraw(self, account: str, at: int, *, keep_card: bool = False) -> None:
        """Delete the robot's card and erase every sealed payload (panic)."""
        if not keep_card:
            self._run("DELETE FROM fortctl_card WHERE account = %s", account)
        self._run(
            "UPDATE fortctl_command SET sealed = NULL, finished_at = COALESCE(finished_at, %s),"
            " result = COALESCE(result, ''::bytea) WHERE account = %s",
            *(at, account),
        )

    # -- panic orders ----------------------------------------------------------------------------------------------

    def post_panic(self, account: str, nonce: str, body: bytes, signature: bytes) -> None:
        self._run(
            "INSERT INTO fortctl_panic (account, nonce, body, signature) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            *(account, nonce, body, signature),
        )

    def open_panics(self, account: str) -> tuple[PanicRow, ...]:
        statement = f"SELECT {_PANIC_COLUMNS} FROM fortctl_panic WHERE account = %s AND answer IS NULL"
        rows = self._execute(lambda connection: connection.execute(statement, (account,)).fetchall())
        return tuple(PanicRow(*row) for row in rows)

    def panic(self, account: str, nonce: str) -> PanicRow | None:
        statement = f"SELECT {_PANIC_COLUMNS} FROM fortctl_panic WHERE account = %s AND nonce = %s"
        found = self._one(statement, account, nonce)
        return PanicRow(*found) if found else None

    def answer_panic(self, account: str, nonce: str, answer: bytes, signature: bytes) -> None:
        self._run(
            "UPDATE fortctl_panic SET answer = %s, answer_signature = %s WHERE account = %s AND nonce = %s",
            *(answer, signature, account, nonce),
        )

    # -- cards and pairings ----------------------------------------------------------------------------------------

    def publish_card(self, account: str, body: bytes, signature: bytes, at: int) -> None:
        self._run(
            "INSERT INTO fortctl_card (account, body, signature, published_at) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (account) DO UPDATE SET body = excluded.body, signature = excluded.signature,"
            " published_at = excluded.published_at",
            *(account, body, signature, at),
        )

    def card(self, account: str) -> tuple[bytes, bytes] | None:
        found = self._one("SELECT body, signature FROM fortctl_card WHERE account = %s", account)
        return (found[0], found[1]) if found else None

    def post_pairing(self, account: str, step: str, body: bytes) -> None:
        self._run(
            "INSERT INTO fortctl_pairing (account, step, body) VALUES (%s, %s, %s)"
            " ON CONFLICT (account, step) DO UPDATE SET body = excluded.body",
            *(account, step, body),
        )

    def pairing(self, account: str, step: str) -> bytes | None:
        found = self._one("SELECT body FROM fortctl_pairing WHERE account = %s AND step = %s", account, step)
        return bytes(found[0]) if found else None

    def clear_pairing(self, account: str) -> None:
        self._run("DELETE FROM fortctl_pairing WHERE account = %s", account)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- connecting ------------------------------------------------------------------------------------------------

    def _run(self, sql: str, *values: Any) -> None:
        self._execute(lambda connection: connection.execute(sql.encode(), values))

    def _one(self, sql: str, *values: Any) -> Any:
        return self._execute(lambda connection: connection.execute(sql.encode(), values).fetchone())

    def _execute(self, work: Callable[[Any], T], *, retry: bool = True) -> T:
        """Run one statement; if the connection is broken, connect again once."""
        import_driver()
        import psycopg

        if self._clock() < self._paused_until:
            raise _unreachable("it was not reachable a moment ago")
        for last in (False, True):
            try:
                return work(self._connect())
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                self.close()
                if last or not retry or isinstance(error, psycopg.errors.QueryCanceled):
                    self._paused_until = self._clock() + PAUSE_S
                    raise _unreachable(type(error).__name__) from None
        raise AssertionError("unreachable")

    def _connect(self) -> Any:
        import psycopg

        if self._connection is None or self._connection.closed:
            options = f"-c statement_timeout={STATEMENT_MS} -c lock_timeout={STATEMENT_MS}"
            made = psycopg.connect(
                self._url, autocommit=True, connect_timeout=CONNECT_S, options=options, application_name="fortctl"
            )
            with made.transaction():
                made.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
                made.execute(SCHEMA)
            self._connection = made
        return self._connection


def import_driver() -> None:
    """Raise ``ConfigError`` if the driver is not installed."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise ConfigError(
            "a PostgreSQL mailbox needs a driver that is not installed", hint="install 'fortctl[postgres]'"
        ) from None


def _unreachable(why: str) -> RobotUnreachableError:
    # Without the driver's own text, because it may quote the URL.
    return RobotUnreachableError(
        f"the mailbox's database cannot be used: {why}",
        hint="check that it runs, and that URL, TLS and permissions are right",
    )
