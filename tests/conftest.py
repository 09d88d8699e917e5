"""What every test may use: the real photographs, and the mark for tests that need a GPU."""

from __future__ import annotations

import functools
import os
import warnings
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

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


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not _has_cuda_device():
        pytest.skip("no CUDA device")
