"""Precision from the CPU's flags, and torch's settings as they were afterwards."""

from __future__ import annotations

import os

import pytest
import torch

from sdali.trainers.core import process as machine

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2", "avx512f"}, "float32"),
        ({"avx512_bf16", "avx512f"}, "bfloat16"),
        ({"amx_bf16"}, "bfloat16"),
        ({"asimd", "bf16"}, "bfloat16"),
        (set(), "float32"),
    ],
)
def test_auto_precision_follows_the_cpu(monkeypatch: pytest.MonkeyPatch, flags: set[str], expected: str) -> None:
    """bfloat16 exactly where the CPU has arithmetic for it; a named precision is taken as it is."""
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset(flags))
    assert machine.resolve_precision("auto", CPU) == expected
    assert machine.resolve_precision("bfloat16", CPU) == "bfloat16"


def test_flags_are_those_that_torch_sees() -> None:
    """What /proc/cpuinfo says agrees with torch's own look at the CPU."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if supported is None:
        pytest.skip("this torch does not say")
    assert ("avx512_bf16" in machine.cpu_flags()) == supported()


def test_autocast_is_bfloat16_or_nothing() -> None:
    """A matrix product within it has the resolved precision."""
    for precision, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with machine.Process(device=CPU, precision=precision).autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_threads_are_shared_by_the_ranks_of_a_machine() -> None:
    """Ranks on one machine divide its cores, and have at least one each; a number asked for is kept."""
    cores = len(os.sched_getaffinity(0))
    assert machine.threads_per_rank(None, 1) == cores
    assert machine.threads_per_rank(None, 2 * cores) == 1
    assert machine.threads_per_rank(3, 8) == 3


def test_settings_are_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, determinism and the random state are the caller's own again, after an error too."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    before, state = torch.get_num_threads(), torch.get_rng_state()
    with (
        pytest.raises(KeyError),
        machine.torch_settings(device=CPU, threads=before + 1, deterministic=True),
    ):
        assert torch.get_num_threads() == before + 1
        assert torch.are_deterministic_algorithms_enabled()
        torch.manual_seed(1)
        raise KeyError
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), state)
