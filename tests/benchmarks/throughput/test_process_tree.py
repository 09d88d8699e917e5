from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sdali.benchmarks.throughput.process_tree import cpu_seconds, memory


@pytest.mark.slow
def test_living_and_finished_children_count() -> None:
    """CPU time of worker processes is part of the sum, while they run and after they ended."""
    before = cpu_seconds()
    code = "import time, sys\nwhile time.process_time() < 0.5: pass\nprint('x', flush=True)\nsys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    alive = cpu_seconds() - before
    child.communicate()
    assert alive > 0.4
    assert cpu_seconds() - before > 0.4


@pytest.mark.slow
def test_memory_of_children_counts_and_shared_pages_count_once() -> None:
    before = memory(os.getpid())
    code = (
        "import os, sys\nheld = bytearray(80_000_000)\nheld[:] = b'x' * len(held)\n"
        "if os.fork() == 0: sys.stdin.read(); os._exit(0)\nprint('x', flush=True)\nsys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    grown = memory(os.getpid()) - before
    child.communicate()
    assert 75e6 < grown < 120e6
