"""A loader may run long and be made again often; what grows would be seen. The long version is
`scripts/robustness faults long`.
"""

from __future__ import annotations

import mmap
import os
import re

import numpy as np
import pytest
from robustness import long_run as long_module
from robustness.long_run import BYTES_A_BATCH, Sample, failures_of, long_run, summary

from sdali.pipelines.errors import InputError
from sdali.pipelines.io.progress import silent


def test_nothing_grows() -> None:
    """Some epochs of one loader, then loaders made and closed: memory, descriptors and threads stay."""
    record = long_run(600, 20)
    assert record["failures"] == []
    assert record["batches"]["count"] == 600 and record["reopenings"]["count"] == 20
    assert record["reopenings"]["threads"][1] == record["reopenings"]["threads"][0]


def test_counts_are_at_least_one() -> None:
    with pytest.raises(InputError, match="reopenings must be at least 1, got 0"):
        long_run(1, 0)


def samples(**slopes: float) -> list[Sample]:
    """201 samples, 100 steps apart, of values that grow by so much a step; memory jitters by a megabyte."""
    rng, made = np.random.default_rng(0), []
    for done in range(0, 20_001, 100):
        value = {name: slopes.get(name, 0) * done for name in Sample._fields}
        memory = int(4e8 + value["memory"] + rng.integers(1 << 20))
        cpu = 0.001 * done + slopes.get("cpu_seconds", 0) * done**2
        made.append(Sample(done, memory, 7 + int(value["descriptors"]), 9 + int(value["threads"]), cpu, cpu * 2))
    return made


@pytest.mark.parametrize(
    ("slopes", "sentence"),
    [
        ({"memory": 1000}, r"memory grows by [\d,.]+ bytes a batch"),
        ({"descriptors": 0.001}, "descriptors grow from 9 to 27 in 20,000 times a batch"),
        ({"threads": 0.001}, "threads grow from 11 to 29 in 20,000 times a batch"),
        ({"cpu_seconds": 1e-7}, r"a batch takes 1.\d+ ms of CPU at first and \d.\d+ at last"),
    ],
)
def test_what_grows_is_seen(slopes: dict[str, float], sentence: str) -> None:
    (said,) = failures_of(summary(samples(**slopes)), "batch", BYTES_A_BATCH)
    assert re.fullmatch(sentence, said)


def test_the_summary_states_slopes_and_tenths() -> None:
    """Against the numbers that the samples were made of."""
    found = summary(samples(memory=1000))
    assert failures_of(summary(samples()), "batch", BYTES_A_BATCH) == []
    assert found["bytes_a_step"] == pytest.approx(1000, abs=20) and found["count"] == 20_000
    assert found["cpu_ms"] == pytest.approx([1, 1]) and found["ms"] == pytest.approx([2, 2])
    assert found["memory"][0] == pytest.approx(4e8 + 2e6, abs=2e6)


def test_a_leak_of_this_process_is_seen() -> None:
    """Real memory, of no heap that others have left free, and a real descriptor a step, measured as a run's are."""
    held: list[tuple[mmap.mmap, int]] = []

    def step() -> None:
        memory = mmap.mmap(-1, 2_000_000)
        memory.write(b"x" * len(memory))
        held.append((memory, os.open("/dev/null", os.O_RDONLY)))

    found = summary(long_module._sampled(step, 100, silent, ""))
    for memory, descriptor in held:
        memory.close()
        os.close(descriptor)
    assert 1_500_000 < found["bytes_a_step"] < 2_500_000 and found["descriptors"][1] >= found["descriptors"][0] + 85
