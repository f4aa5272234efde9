"""The modules that carry the safety rules, in the order of their danger, and the tests that must notice a change.

The tests run in one process and take seconds: a mutant runs those of them that reach its line, the quickest first.
"""

from __future__ import annotations

from dataclasses import dataclass

ROBOT = ("tests/unit/robot/core", "tests/component/robot")
PANIC = ("tests/unit/services/panic", "tests/component/panic")
ROTATION = (
    "tests/unit/services/rotation",
    "tests/component/rotation/test_abort.py",
    "tests/component/rotation/test_deletion_proof.py",
    "tests/component/rotation/test_drain.py",
    "tests/component/rotation/test_late_key.py",
    "tests/component/rotation/test_without_sapi.py",
)
VAULT = ("tests/unit/vault", "tests/component/vault")
# These take minutes; what they alone would notice is to be noticed sooner.
SLOW = frozenset(
    {
        "tests/component/mailbox/test_mailboxes.py",
        "tests/component/rotation/test_kill_matrix.py",
        "tests/component/vault/test_crashes.py",
        "tests/component/vault/test_fuzz.py",
    }
)


@dataclass(frozen=True)
class Subject:
    """A module (or the modules of a package) and its tests.

    Attributes:
        name: the file below ``src/fortctl``, or the package's folder.
        tests: files and folders below the repository.
    """

    name: str
    tests: tuple[str, ...]


SUBJECTS = (
    Subject("services/panic", PANIC),
    Subject("services/rotation/deletion_proof.py", ROTATION),
    Subject("services/rotation/plan.py", ROTATION),
    Subject("robot/core/book.py", ROBOT),
    Subject("robot/core/reconciliation.py", ROBOT),
    Subject("robot/core/lifecycle.py", ROBOT),
    Subject("robot/core/key_loss.py", ROBOT),
    Subject("robot/core/filters.py", (*ROBOT, "tests/unit/robot/strategy/test_grid.py")),
    Subject(
        "robot/strategy/guard.py", ("tests/unit/robot/strategy/test_guard.py", "tests/unit/robot/strategy/test_grid.py")
    ),
    Subject("robot/trading/order_lookup.py", ROBOT),
    Subject(
        "robot/control/command_processor.py",
        ("tests/unit/robot/control", "tests/component/mailbox", "tests/component/panic/test_presigned_orders.py"),
    ),
    Subject(
        "robot/control/panic_listener.py",
        ("tests/unit/robot/control", "tests/component/panic/test_presigned_orders.py"),
    ),
    Subject("robot/storage/latch.py", ("tests/unit/robot/storage", *PANIC)),
    Subject("services/robot/client.py", ("tests/unit/services/robot", "tests/component/robot/test_robot_client.py")),
    Subject("keys/policy.py", ("tests/unit/keys",)),
    Subject("keys/verification.py", ("tests/unit/keys",)),
    Subject("store/audit_log.py", ("tests/unit/store",)),
    Subject("vault/envelope.py", VAULT),
    Subject("vault/file.py", VAULT),
    Subject("vault/format.py", VAULT),
    Subject("vault/slots.py", VAULT),
    Subject("exchange/parsing.py", ("tests/unit/exchange", "tests/component/exchange/test_odd_answers.py")),
    Subject("exchange/rate_limiter.py", ("tests/unit/exchange",)),
)
