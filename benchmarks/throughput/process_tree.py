"""What a process and its descendants have used: CPU seconds and memory, from /proc."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def cpu_seconds() -> float:
    """User + system time of this process, its finished children and its living descendants."""
    total = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return total + sum(_process_seconds(pid) for pid in descendants(os.getpid()))


def cpu_seconds_of(pid: int) -> float:
    """User + system time of a process and its living descendants."""
    return sum(_process_seconds(process) for process in (pid, *descendants(pid)))


def kill(pid: int) -> None:
    """Kill a process and its descendants."""
    for process in [pid, *descendants(pid)]:  # listed before the first is gone
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def memory(pid: int) -> int:
    """Bytes of anonymous and shared memory that a process and its descendants hold; shared pages count once.

    Pages of mapped files, such as an LMDB store's, are left out: the system takes them back when it needs them.
    """
    return sum(_process_memory(process) for process in (pid, *descendants(pid)))


def descendants(pid: int) -> Iterator[int]:
    """Living children of a process, and theirs."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # it ended, or there is no /proc
        return
    for child in children:
        yield child
        yield from descendants(child)


def _process_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _process_memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


def resident() -> int:
    """Bytes of this process in memory now, mapped files included."""
    return _status("VmRSS:")


def peak_resident() -> int:
    """The highest `resident` since the last `reset_peak`, or since the process began where the system has no reset."""
    return _status("VmHWM:")


def reset_peak() -> None:
    """Begin a new peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))
