"""File descriptors: as many as the system lets this process have."""

from __future__ import annotations

import logging
import resource

# More than any daemon needs; some systems have no limit at all, and tables are sized by it.
_ENOUGH = 1 << 20
_SCARCE = 1024
_log = logging.getLogger(__name__)


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one: every camera, viewer and subscriber needs some.

    The soft limit is low for programs that use ``select``, which nothing here does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        wanted = soft
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted != resource.RLIM_INFINITY and wanted < _SCARCE:
        _log.warning(
            "only %d file descriptors are allowed: raise the hard limit (ulimit -Hn, "
            "LimitNOFILE= of systemd) to at least %d",
            wanted,
            _SCARCE,
        )
