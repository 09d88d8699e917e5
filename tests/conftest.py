"""What every test may use, and what each tier of tests may do.

Tiers are markers: none (the default tier), slow, robustness (all of that folder), perf, gpu. A test of the default tier
trains nothing and starts no process; one that starts a process fails here.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import warnings
from pathlib import Path

import h5py  # noqa: F401 - its first import starts `uname`, which a test of the default tier may not
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

platform.processor()  # starts `uname -p` when it is first asked for, which h5py does when it is imported

# A first example may compile a kernel, so no example has a deadline.
settings.register_profile("sdali", deadline=None)
settings.load_profile("sdali")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs (pets/, ...): SDALI_DATA, else ../shared/data; skips where neither exists."""
    named = os.environ.get("SDALI_DATA")
    candidates = [Path(named)] if named else []
    for folder in [*candidates, ROOT.parent / "shared" / "data"]:
        if folder.is_dir():
            return folder
    pytest.skip("no real photographs: set SDALI_DATA to a folder that holds pets/, or put them in ../shared/data")


@functools.cache
def _has_cuda_device() -> bool:
    import torch

    with warnings.catch_warnings():  # torch warns about a driver it cannot use; the skip says as much
        warnings.simplefilter("ignore")
        return torch.cuda.is_available()


@pytest.hookimpl(tryfirst=True)  # before markers select the tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "robustness" in item.path.relative_to(ROOT).parts:
            item.add_marker(pytest.mark.robustness)
        # A module's fixtures of these names train a network or start ranks, so all that use them are slow.
        if not {"trained", "ranks"}.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not _has_cuda_device():
        pytest.skip("no CUDA device")


@pytest.fixture(autouse=True)
def _default_tier_starts_no_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are what makes a suite slow and dependent on what else the machine does: they belong to other tiers."""
    if any(request.node.get_closest_marker(tier) for tier in ("slow", "robustness", "perf", "gpu")):
        return

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a test of the default tier starts a process; mark it with pytest.mark.slow")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(os, "fork", refuse)
