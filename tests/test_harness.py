from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from sdali.benchmarks.harness import cpu_seconds, machine, measure_in_turn


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_each_peer_is_charged_its_own_time() -> None:
    """A peer that works four times as long an image is charged about four times as much; warm-up is left out."""
    passes = {"slow": 0, "quick": 0}

    def stream(name: str, cost: float):
        def one_pass() -> Iterator[int]:
            passes[name] += 1
            for _ in range(2):
                burn(cost if passes[name] > 1 else 0.2)
                yield 5

        return one_pass

    slow, quick = measure_in_turn(
        [("slow", stream("slow", 0.04)), ("quick", stream("quick", 0.01))], rounds=3, images=10
    )
    assert passes == {"slow": 4, "quick": 4}
    result = slow.result()
    assert result["rounds"] == 3 and 7 < result["cpu_ms_per_image"] < 12
    assert 3 < result["cpu_ms_per_image"] / quick.result()["cpu_ms_per_image"] < 5


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


def test_the_machine_is_described() -> None:
    described = machine()
    assert described["cores"] >= 1 and described["memory_gib"] > 0
    assert {"torch", "numpy", "numba"} <= set(described["versions"])
