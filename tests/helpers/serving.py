"""What tests of remote loaders share, and a trainer in a process of its own: python serving.py STORE ADDRESS [POOL]

The trainer says "served" when it has its first batch, then keeps its workers waiting until it is sent a line, and then
trains for ever.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from loading import make

from sdali.benchmarks.throughput.process_tree import descendants
from sdali.pipelines import ImageStore
from sdali.pipelines.remote.loader import RemoteLoader


def ray_processes() -> dict[int, str]:
    """Workers of the cluster that this process has started: process -> what it calls itself."""
    found = {}
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    return {pid: name for pid, name in found.items() if name.startswith("ray::")}


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


if __name__ == "__main__":
    store, address, *pool = sys.argv[1:]
    loader = RemoteLoader(make(ImageStore(store), 4), actors=1, pool=pool[0] if pool else None, address=address)
    batches = iter(loader)
    next(batches)
    print("served", flush=True)
    sys.stdin.readline()
    while True:
        for _ in loader:
            continue
