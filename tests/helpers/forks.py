"""Forked children that are waited for, but not for ever; shared by tests."""

from __future__ import annotations

import os
import signal
import time


def ended_in_time(child: int) -> int | None:
    """Its status; None where Python itself hung in fork, before the child's alarm was set, and it had to be killed.

    That is python/cpython#112275, mended in 3.10.15, 3.11.10 and 3.12: once in some 5,000 forks beside busy threads.
    """
    give_up = time.monotonic() + 40
    while time.monotonic() < give_up:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
