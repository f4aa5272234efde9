"""Keep secrets from leaving this process's memory, as far as the system allows (adapter).

Core dumps are switched off (setrlimit(2)); on Linux other processes of the same user may neither attach nor read the
memory (prctl(2), PR_SET_DUMPABLE); a long-lived process is kept out of swap where its limit allows (mlockall(2)).
"""

from __future__ import annotations

import resource
import sys

_PR_SET_DUMPABLE, _MCL_CURRENT, _MCL_FUTURE = 4, 1, 2


def guard_memory(*, lock: bool = False) -> bool:
    """Guard this process's memory; what the system refuses is left out.

    Args:
        lock: also keep it out of swap.

    Returns:
        Whether the memory is locked.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    # Under a limit, a later allocation would fail instead of being swapped.
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == resource.RLIM_INFINITY
    return bool(lock and unlimited and libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) == 0)
